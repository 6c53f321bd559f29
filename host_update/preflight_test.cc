#include "host_update/preflight.h"

#include <sys/mman.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "loader/test_kernels.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kDaxDevice = 0x10300;
constexpr uint64_t kGiB = uint64_t{1} << 30;

HostFacts GoodHost() {
  HostFacts host;
  host.kernel_release = "6.1.0-47-cloud-amd64";
  host.command_line = "ro memmap=1G!1G";
  host.is_root = true;
  host.has_cap_sys_boot = true;
  host.memory_map =
      loader::ParseIomem("40000000-7fffffff : Persistent Memory (legacy)\n");
  PreservedMount mount;
  mount.directory = "/var/lib/dax";
  mount.mount.mount_point = "/var/lib/dax";
  mount.mount.file_system = "ext4";
  mount.mount.source = "/dev/pmem0";
  mount.dax = PreservedMount::Dax::kAlways;
  mount.device = kDaxDevice;
  mount.total_bytes = kGiB;
  mount.free_bytes = kGiB / 2;
  mount.range = loader::PhysRange{.start = kGiB, .size_bytes = kGiB};
  host.preserved = mount;
  host.kernel_staged = false;
  host.kexec_policy = {
      .lockdown = "none", .load_disabled = "0", .load_limit = "-1"};
  host.memory_available_bytes = 2 * kGiB;
  host.cpu_vendor = "AuthenticAMD";
  host.clocksource = "tsc";
  host.cpu_flags = {"fpu", "constant_tsc", "nonstop_tsc"};
  host.network_interfaces = {"lo", "br0"};
  return host;
}

ExaminedVm GoodVm() {
  VmFacts facts;
  facts.info.ref = {.name = "web-1", .uuid = "u1"};
  facts.info.state = VmState::kRunning;
  facts.qemu_version = "10.0.2";
  facts.machine_type = "pc-q35-10.0";
  facts.aux_ram_share = true;
  facts.ram.push_back(
      {.name = "pc.ram", .size_bytes = kGiB / 4, .shared = true, .fd = {}});
  facts.bridges = {"br0"};
  ExaminedVm vm;
  vm.info = facts.info;
  vm.facts = std::move(facts);
  vm.places.push_back(RamPlace{.device = kDaxDevice, .links = 1, .dax = true});
  return vm;
}

// What a host that runs LUO has in place of the DAX file system.
void MakeLuoHost(HostFacts* host) {
  host->command_line = "ro kho=on liveupdate=on";
  host->memory_map = loader::MemoryMap();
  host->preserved = absl::NotFoundError("/var/lib/dax: none");
  host->luo = {.device = true, .holder = "", .shmem_huge = "advise"};
  loader::RunningKernel running;
  running.facts.abi_strings = {"kho-v4", "luo-v5", "memfd-v2"};
  running.how = "read from /boot/vmlinuz-7.3.4";
  host->running_kernel = running;
}

TargetKernel GoodTarget() {
  const std::string file = loader::MakeBzImage();
  TargetKernel target;
  target.kernel_path = "/boot/vmlinuz-6.1.0-56-cloud-amd64";
  target.initrd_path = "/boot/initrd.img-6.1.0-56-cloud-amd64";
  target.image = loader::ReadKernelImage(
      {reinterpret_cast<const uint8_t*>(file.data()), file.size()});
  target.initrd_bytes = uint64_t{20} << 20;
  target.command_line = "ro memmap=1G!1G";
  target.command_line_status = absl::OkStatus();
  target.facts = loader::KernelFacts();
  target.config = loader::KernelConfig::Parse(
      "CONFIG_KVM_AMD=m\nCONFIG_X86_PMEM_LEGACY=m\nCONFIG_BLK_DEV_PMEM=m\n"
      "CONFIG_FS_DAX=y\nCONFIG_EXT4_FS=y\n");
  target.modules = loader::ModuleSet::Parse(
      "kernel/kvm-amd.ko:\nkernel/nd_e820.ko:\nkernel/nd_pmem.ko:\n", "");
  return target;
}

// A host, a target and one VM that are all right. Tests spoil one thing.
class PreflightTest : public ::testing::Test {
 protected:
  PreflightTest() {
    vms_.push_back(GoodVm());
    versions_ = HypervisorVersions{.libvirt = "11.3.0", .qemu = "10.0.2"};
  }

  CheckReport Check() const {
    return Evaluate({.host = host_,
                     .versions = versions_,
                     .vms = vms_,
                     .target = &target_,
                     .state_area_bytes = uint64_t{64} << 20,
                     .update_interrupted = interrupted_,
                     .unrestored_vms = unrestored_vms_,
                     .backend = backend_,
                     .refused_hooks = refused_hooks_,
                     .overrides = overrides_,
                     .direct_jump = direct_jump_});
  }

  // That there is one finding other than OK, and that it is this.
  void ExpectOnly(Finding::Severity severity, absl::string_view code,
                  absl::string_view subject, absl::string_view message) const {
    const CheckReport report = Check();
    int others = 0;
    for (const Finding& finding : report.findings()) {
      if (finding.severity() == Finding::OK) {
        EXPECT_EQ(finding.remedy(), "") << finding.code();
        continue;
      }
      ++others;
      EXPECT_EQ(finding.code(), std::string(code));
      EXPECT_EQ(finding.severity(), severity) << finding.message();
      EXPECT_EQ(finding.subject(), std::string(subject));
      EXPECT_THAT(finding.message(), HasSubstr(std::string(message)));
      EXPECT_NE(finding.remedy(), "");
    }
    EXPECT_EQ(others, 1) << report.DebugString();
    EXPECT_EQ(report.go(), severity != Finding::ERROR);
  }
  void ExpectHostError(absl::string_view code, absl::string_view message) {
    ExpectOnly(Finding::ERROR, code, "host", message);
  }
  void ExpectKernelError(absl::string_view code, absl::string_view message) {
    ExpectOnly(Finding::ERROR, code, target_.kernel_path, message);
  }
  // That there is such an error, whatever else there is, and a remedy.
  void ExpectKernelErrorAmongOthers(absl::string_view code) const {
    const CheckReport report = Check();
    int found = 0;
    for (const Finding& finding : report.findings()) {
      if (finding.code() != std::string(code)) continue;
      ++found;
      EXPECT_EQ(finding.severity(), Finding::ERROR);
      EXPECT_NE(finding.remedy(), "");
    }
    EXPECT_EQ(found, 1) << report.DebugString();
    EXPECT_FALSE(report.go());
  }
  void ExpectVmError(absl::string_view code, absl::string_view message) {
    ExpectOnly(Finding::ERROR, code, "web-1", message);
  }

  VmFacts& vm() { return *vms_[0].facts; }
  PreservedMount& mount() { return *host_.preserved; }

  HostFacts host_ = GoodHost();
  absl::StatusOr<HypervisorVersions> versions_ = HypervisorVersions();
  std::vector<ExaminedVm> vms_;
  TargetKernel target_ = GoodTarget();
  bool interrupted_ = false;
  std::vector<std::string> refused_hooks_;
  absl::StatusOr<std::vector<std::string>> unrestored_vms_ =
      std::vector<std::string>();
  Backend backend_ = Backend::kDax;
  std::vector<std::string> overrides_;
  std::optional<loader::DirectEntry> direct_jump_;
};

TEST_F(PreflightTest, SaysWhatADirectJumpGivesUp) {
  direct_jump_ = loader::DirectEntry::kVmlinux;
  ExpectOnly(Finding::WARNING, "DIRECT_JUMP", target_.kernel_path, "no KASLR");
  direct_jump_ = loader::DirectEntry::kBzImage;
  ExpectOnly(Finding::WARNING, "DIRECT_JUMP", target_.kernel_path,
             "no signature");
}

TEST_F(PreflightTest, RefusesADirectJumpWhereSignaturesCount) {
  direct_jump_ = loader::DirectEntry::kBzImage;
  host_.kexec_policy.signature_forced = true;
  ExpectKernelError("DIRECT_JUMP", "CONFIG_KEXEC_SIG_FORCE");
  host_.kexec_policy.lockdown = "integrity";
  ExpectKernelErrorAmongOthers("DIRECT_JUMP");
}

TEST_F(PreflightTest, RefusesADirectJumpWithLuo) {
  direct_jump_ = loader::DirectEntry::kVmlinux;
  backend_ = Backend::kLuo;
  ExpectKernelErrorAmongOthers("DIRECT_JUMP");
}

TEST_F(PreflightTest, AHookThatOthersCanWriteIsAnError) {
  refused_hooks_ = {"/hooks/notify/a: others than its owner can write it"};
  ExpectHostError("HOOKS", "/hooks/notify/a: others");
}

TEST_F(PreflightTest, GoesWithAnOkForEachThingLookedAt) {
  const CheckReport report = Check();
  EXPECT_TRUE(report.go());
  std::vector<std::string> codes;
  for (const Finding& finding : report.findings()) {
    EXPECT_EQ(finding.severity(), Finding::OK) << finding.DebugString();
    EXPECT_NE(finding.message(), "") << finding.code();
    codes.push_back(finding.code());
  }
  EXPECT_THAT(codes, ::testing::ElementsAre(
                         "HOST_ROOT", "UPDATE_INTERRUPTED", "UNRESTORED_VMS",
                         "LIBVIRT_VERSION", "QEMU_VERSION", "DAX_MOUNTED",
                         "DAX_RANGE", "DAX_SPACE", "KEXEC_ALLOWED",
                         "KERNEL_STAGED", "CLOCK_TSC", "WATCHDOG", "HOOKS",
                         "TARGET_KERNEL", "TARGET_INITRD", "TARGET_CMDLINE",
                         "TARGET_KVM", "TARGET_DAX", "HOST_MEMORY", "VM_STATE",
                         "VM_QEMU_VERSION", "MACHINE_TYPE", "VM_QEMU_INSTALLED",
                         "RAM_PRESERVABLE", "AUX_RAM_SHARE", "QEMU_BLOCKED",
                         "UNSUPPORTED_DEVICE", "BLOCK_JOB", "BRIDGE_PRESENT"));
}

TEST_F(PreflightTest, GoesWithoutVms) {
  vms_.clear();
  const CheckReport report = Check();
  EXPECT_TRUE(report.go());
  EXPECT_EQ(report.findings().rbegin()->code(), "VMS");
}

// The host.

TEST_F(PreflightTest, NeedsRoot) {
  host_.is_root = false;
  ExpectHostError("HOST_ROOT", "not root");
}

TEST_F(PreflightTest, NeedsTheCapability) {
  host_.has_cap_sys_boot = false;
  ExpectHostError("HOST_ROOT", "without CAP_SYS_BOOT");
}

TEST_F(PreflightTest, RefusesAfterAnInterruptedUpdate) {
  interrupted_ = true;
  ExpectHostError("UPDATE_INTERRUPTED", "cut off");
}

TEST_F(PreflightTest, LeavesVmsThatWaitWhereTheyAre) {
  unrestored_vms_ = std::vector<std::string>{"web-2", "web-3"};
  ExpectOnly(Finding::WARNING, "UNRESTORED_VMS", "host",
             "to be restored: web-2, web-3; they wait on");
}

TEST_F(PreflightTest, RefusesWhereItIsNotKnownWhetherVmsWait) {
  unrestored_vms_ = absl::UnavailableError("a keeper that does not answer");
  ExpectHostError("UNRESTORED_VMS", "a keeper that does not answer");
}

TEST_F(PreflightTest, NeedsLibvirt) {
  versions_ = absl::UnavailableError("connection refused");
  ExpectHostError("LIBVIRT_VERSION", "connection refused");
}

TEST_F(PreflightTest, NeedsANewLibvirt) {
  versions_->libvirt = "11.2.9";
  ExpectHostError("LIBVIRT_VERSION", "libvirt 11.2.9; 11.3");
}

TEST_F(PreflightTest, NeedsANewQemu) {
  versions_->qemu = "9.2.1";
  vm().qemu_version = "10.0.2";
  const CheckReport report = Check();
  EXPECT_FALSE(report.go());
}

TEST_F(PreflightTest, NeedsTheDirectory) {
  host_.preserved = absl::NotFoundError("/var/lib/dax: none");
  ExpectHostError("DAX_MOUNTED", "/var/lib/dax: none");
}

TEST_F(PreflightTest, NeedsDax) {
  mount().dax = PreservedMount::Dax::kNever;
  ExpectHostError("DAX_MOUNTED", "without dax");
}

TEST_F(PreflightTest, NeedsTheReservation) {
  host_.command_line = "ro";
  host_.memory_map = loader::ParseIomem("40000000-7fffffff : System RAM\n");
  ExpectHostError("DAX_RANGE", "nothing reserves the device at 0x40000000");
}

TEST_F(PreflightTest, NeedsTheReservationToBeTheDevices) {
  host_.command_line = "ro memmap=512M!1G";
  ExpectHostError("DAX_RANGE", "only a part");
}

TEST_F(PreflightTest, NeedsAPmemDevice) {
  mount().range = absl::FailedPreconditionError("not a pmem device");
  ExpectHostError("DAX_RANGE", "not a pmem device");
}

TEST_F(PreflightTest, NeedsSpace) {
  mount().free_bytes = uint64_t{10} << 20;
  ExpectHostError("DAX_SPACE",
                  "10 MiB of 1 GiB free; the VMs' state needs 64 MiB");
}

TEST_F(PreflightTest, NeedsKexec) {
  host_.kernel_staged = absl::UnimplementedError("no kexec");
  ExpectHostError("KEXEC_ALLOWED", "no kexec");
}

TEST_F(PreflightTest, NeedsKexecNotDisabled) {
  host_.kexec_policy.load_disabled = "1";
  ExpectHostError("KEXEC_ALLOWED", "kernel.kexec_load_disabled");
}

TEST_F(PreflightTest, NeedsAnotherKexecLoad) {
  host_.kexec_policy.load_limit = "0";
  ExpectHostError("KEXEC_ALLOWED", "kernel.kexec_load_limit_reboot");
}

TEST_F(PreflightTest, WarnsOfLockdown) {
  host_.kexec_policy.lockdown = "integrity";
  ExpectOnly(Finding::WARNING, "KEXEC_ALLOWED", "host", "integrity");
}

TEST_F(PreflightTest, WarnsOfAForeignKernel) {
  host_.kernel_staged = true;
  ExpectOnly(Finding::WARNING, "KERNEL_STAGED", "host", "staged already");
}

TEST_F(PreflightTest, WarnsOfAnotherClock) {
  host_.clocksource = "hpet";
  host_.cpu_flags.erase("nonstop_tsc");
  ExpectOnly(Finding::WARNING, "CLOCK_TSC", "host",
             "clock source hpet, no nonstop_tsc");
}

TEST_F(PreflightTest, WarnsOfAWatchdogThatMayCountOn) {
  host_.watchdogs = {
      {.name = "watchdog0", .identity = "hpwdt", .timeout_s = 30},
      {.name = "ipmi_watchdog", .identity = "if it counts", .timeout_s = 120}};
  ExpectOnly(Finding::WARNING, "WATCHDOG", "host",
             "watchdog0 (hpwdt, 30 s), ipmi_watchdog (if it counts, 120 s)");
}

// The target kernel.

TEST_F(PreflightTest, NeedsAKernel) {
  target_.image = absl::NotFoundError("open /boot/none");
  const CheckReport report = Check();
  EXPECT_FALSE(report.go());
  EXPECT_THAT(report.DebugString(), HasSubstr("open /boot/none"));
}

TEST_F(PreflightTest, NeedsA64BitKernel) {
  target_.image->bzimage->is_64_bit = false;
  ExpectKernelError("TARGET_ARCH", "a kernel for i386");
}

TEST_F(PreflightTest, RefusesAForeignKernelByItsArchitecture) {
  target_.image = absl::FailedPreconditionError("a kernel for aarch64");
  ExpectKernelErrorAmongOthers("TARGET_ARCH");
  std::string file = loader::MakeElfKernel("contents");
  loader::Poke<uint16_t>(&file, 18, 183);  // EM_AARCH64
  target_.image = loader::ReadKernelImage(
      {reinterpret_cast<const uint8_t*>(file.data()), file.size()});
  ExpectKernelErrorAmongOthers("TARGET_ARCH");
}

TEST_F(PreflightTest, RefusesContentsOfWhateverFault) {
  for (const absl::Status& fault :
       {absl::OutOfRangeError("x"), absl::ResourceExhaustedError("x"),
        absl::InternalError("x")}) {
    target_.facts = fault;
    ExpectKernelError("TARGET_KERNEL", "its contents are not: x");
  }
}

TEST_F(PreflightTest, RefusesACrashKernelByItsCommandLine) {
  target_.command_line = "ro memmap=1G!1G reset_devices nr_cpus=1";
  ExpectKernelError("TARGET_CRASH_ONLY",
                    "its command line has reset_devices nr_cpus=1");
}

TEST_F(PreflightTest, LeavesOneCpuToAHostThatHasOne) {
  host_.command_line = "ro memmap=1G!1G nr_cpus=1";
  target_.command_line = host_.command_line;
  EXPECT_TRUE(Check().go());
}

TEST_F(PreflightTest, RefusesACrashKernelByItsName) {
  target_.initrd_path = "/var/lib/kdump/initrd.img-6.1.0-56-cloud-amd64";
  ExpectKernelError("TARGET_CRASH_ONLY", "is kdump's by its name");
}

TEST_F(PreflightTest, RefusesACrashKernelByWhatItIs) {
  target_.image->bzimage->relocatable = false;
  ExpectKernelError("TARGET_CRASH_ONLY", "made to run at 0x1000000 only");
  target_.image->bzimage->relocatable = true;
  EXPECT_TRUE(Check().go());
  target_.config = loader::KernelConfig::Parse(
      "CONFIG_KVM_AMD=m\nCONFIG_X86_PMEM_LEGACY=m\nCONFIG_BLK_DEV_PMEM=m\n"
      "CONFIG_FS_DAX=y\nCONFIG_EXT4_FS=y\nCONFIG_CRASH_DUMP=y\n");
  ExpectKernelError("TARGET_CRASH_ONLY", "CONFIG_CRASH_DUMP and no CONFIG_SMP");
}

TEST_F(PreflightTest, NeedsAWholeKernel) {
  target_.facts = absl::InvalidArgumentError("lz4: corrupt, at offset 0x10");
  ExpectKernelError("TARGET_KERNEL", "at offset 0x10");
}

TEST_F(PreflightTest, GoesWithAKernelItCannotUnpack) {
  target_.facts = absl::UnimplementedError("bzip2");
  EXPECT_TRUE(Check().go());
}

TEST_F(PreflightTest, NeedsAnInitrd) {
  target_.initrd_bytes = absl::InvalidArgumentError("not an initrd");
  ExpectOnly(Finding::ERROR, "TARGET_INITRD", target_.initrd_path,
             "not an initrd");
}

TEST_F(PreflightTest, WarnsOfAnotherKernelsInitrd) {
  target_.initrd_path = "/boot/initrd.img-6.1.0-47-cloud-amd64";
  ExpectOnly(Finding::WARNING, "TARGET_INITRD", target_.initrd_path,
             "than 6.1.0-56-cloud-amd64");
}

TEST_F(PreflightTest, RefusesALostReservation) {
  target_.command_line_status = absl::FailedPreconditionError("memmap=1G!1G");
  ExpectKernelError("TARGET_CMDLINE", "memmap=1G!1G");
}

TEST_F(PreflightTest, NeedsKvmInTheTarget) {
  target_.modules =
      loader::ModuleSet::Parse("kernel/nd_e820.ko:\nkernel/nd_pmem.ko:\n", "");
  ExpectKernelError("TARGET_KVM", "lacks CONFIG_KVM_AMD");
}

TEST_F(PreflightTest, NeedsTheKvmOfThisCpu) {
  host_.cpu_vendor = "GenuineIntel";
  ExpectKernelError("TARGET_KVM", "lacks CONFIG_KVM_INTEL");
}

TEST_F(PreflightTest, TheTargetMustOfferGuestsWhatTheyHave) {
  host_.cpu_flags.insert("ospke");
  ExpectKernelError("TARGET_CPU",
                    "CONFIG_X86_INTEL_MEMORY_PROTECTION_KEYS (ospke)");
  host_.cpu_flags.erase("ospke");
  host_.cpu_flags.insert("pku");  // The running kernel does not use it.
  EXPECT_TRUE(Check().go());
  host_.cpu_flags.insert("ospke");
  overrides_ = {"TARGET_CPU"};
  EXPECT_TRUE(Check().go());
}

TEST_F(PreflightTest, NeedsThePmemDriversInTheTarget) {
  target_.modules = loader::ModuleSet::Parse("kernel/kvm-amd.ko:\n", "");
  ExpectKernelError("TARGET_DAX",
                    "lacks CONFIG_X86_PMEM_LEGACY, CONFIG_BLK_DEV_PMEM");
}

TEST_F(PreflightTest, NeedsTheFileSystemInTheTarget) {
  mount().mount.file_system = "xfs";
  ExpectKernelError("TARGET_DAX", "lacks CONFIG_XFS_FS");
}

TEST_F(PreflightTest, WarnsIfTheTargetIsNotKnown) {
  target_.config = absl::NotFoundError("no config");
  target_.modules = absl::NotFoundError("no modules");
  const CheckReport report = Check();
  EXPECT_TRUE(report.go());
  EXPECT_THAT(report.DebugString(), HasSubstr("/boot/config-6.1.0-56"));
}

TEST_F(PreflightTest, NeedsMemoryForTheTarget) {
  host_.memory_available_bytes = 16 << 20;
  ExpectHostError("HOST_MEMORY",
                  "16 MiB available; kernel and initrd need 52 MiB");
}

// One VM.

TEST_F(PreflightTest, CarriesAPausedVm) {
  vms_[0].info.state = VmState::kPaused;
  EXPECT_TRUE(Check().go());
}

TEST_F(PreflightTest, LeavesAVmThatIsOff) {
  vms_[0].info.state = VmState::kOff;
  vms_[0].facts = absl::UnknownError("not examined");
  EXPECT_TRUE(Check().go());
}

TEST_F(PreflightTest, RefusesOtherStates) {
  vms_[0].info.state = VmState::kOther;
  ExpectVmError("VM_STATE", "can't be carried");
}

TEST_F(PreflightTest, RefusesAVmThatDoesNotAnswer) {
  vms_[0].facts = absl::DeadlineExceededError("no answer in 20 s");
  ExpectVmError("VM_EXAMINED", "no answer in 20 s");
}

TEST_F(PreflightTest, RefusesAVmInAnOldQemu) {
  vm().qemu_version = "7.2.22";
  ExpectVmError("VM_QEMU_VERSION", "runs in QEMU 7.2.22; 10.0");
}

TEST_F(PreflightTest, WarnsOfAnotherQemu) {
  vm().qemu_version = "10.0.1";
  ExpectOnly(Finding::WARNING, "VM_QEMU_VERSION", "web-1",
             "runs in QEMU 10.0.1, would be restored by 10.0.2");
}

TEST_F(PreflightTest, RefusesAMachineWithoutVersion) {
  vm().machine_type = "q35";
  ExpectVmError("MACHINE_TYPE", "q35");
  vm().machine_type = "microvm";
  ExpectVmError("MACHINE_TYPE", "microvm");
}

TEST_F(PreflightTest, RefusesAMachineThatTheInstalledQemuLacks) {
  vms_[0].installed_qemu = absl::InvalidArgumentError(
      "the machine 'pc-q35-10.0' is not supported by emulator");
  ExpectVmError("VM_QEMU_INSTALLED", "pc-q35-10.0' is not supported");
}

TEST_F(PreflightTest, RefusesPrivateRam) {
  vm().ram[0].shared = false;
  vms_[0].places[0] = absl::FailedPreconditionError("none");
  ExpectVmError("RAM_NOT_SHARED",
                "RAM block pc.ram (256 MiB) is private memory");
}

TEST_F(PreflightTest, RefusesRamWithoutBackend) {
  vm().ram.clear();
  vms_[0].places.clear();
  ExpectVmError("RAM_NOT_SHARED", "no memory backend");
}

TEST_F(PreflightTest, RefusesRamElsewhere) {
  vms_[0].places[0]->device = 1;
  ExpectVmError("RAM_NOT_PRESERVABLE", "not in /var/lib/dax");
}

TEST_F(PreflightTest, RefusesRamWhoseFileIsGone) {
  vms_[0].places[0]->links = 0;
  ExpectVmError("RAM_NOT_PRESERVABLE", "removed");
}

TEST_F(PreflightTest, RefusesAFileThatIsNotDax) {
  vms_[0].places[0]->dax = false;
  EXPECT_TRUE(Check().go());  // On a mount where every file is.
  mount().dax = PreservedMount::Dax::kPerFile;
  ExpectVmError("RAM_NOT_PRESERVABLE", "not a DAX file");
}

TEST_F(PreflightTest, NeedsAuxRamShare) {
  vm().aux_ram_share = false;
  ExpectVmError("AUX_RAM_SHARE", "aux-ram-share=on");
}

TEST_F(PreflightTest, GivesQemusOwnReasons) {
  vm().blocked_reasons = {"VFIO is not migratable"};
  ExpectVmError("QEMU_BLOCKED", "QEMU says: VFIO is not migratable");
}

TEST_F(PreflightTest, RefusesUnsupportedDevices) {
  vm().unsupported = {"hostdev pci 0000:3b:00.0"};
  ExpectVmError("UNSUPPORTED_DEVICE", "hostdev pci 0000:3b:00.0");
}

TEST_F(PreflightTest, RefusesBlockJobs) {
  vm().block_jobs = {"vda"};
  ExpectVmError("BLOCK_JOB", "vda");
}

TEST_F(PreflightTest, NeedsTheBridges) {
  vm().bridges = {"br0", "br7"};
  ExpectVmError("BRIDGE_PRESENT", "no bridge br7");
}

TEST_F(PreflightTest, TellsEachVmByName) {
  vms_.push_back(GoodVm());
  vms_[1].info.ref.name = "web-2";
  vms_[1].facts->info.ref.name = "web-2";
  vms_[1].facts->aux_ram_share = false;
  ExpectOnly(Finding::ERROR, "AUX_RAM_SHARE", "web-2", "aux-ram-share=on");
}

// Carried by LUO.

class LuoPreflightTest : public PreflightTest {
 protected:
  LuoPreflightTest() {
    backend_ = Backend::kLuo;
    MakeLuoHost(&host_);
    vms_[0].places[0] = RamPlace{.device = 1, .links = 0, .shmem = true};
    target_.command_line = host_.command_line;
    target_.facts->abi_strings = {"kho-v4", "luo-v5", "memfd-v2"};
    target_.config = loader::KernelConfig::Parse(
        "CONFIG_KVM_AMD=m\nCONFIG_KEXEC_HANDOVER=y\nCONFIG_LIVEUPDATE=y\n");
    target_.modules = loader::ModuleSet::Parse("kernel/kvm-amd.ko:\n", "");
  }
};

TEST_F(LuoPreflightTest, AsksForLuoAndNothingOfDax) {
  const CheckReport report = Check();
  EXPECT_TRUE(report.go());
  std::vector<std::string> codes;
  for (const Finding& finding : report.findings()) {
    EXPECT_EQ(finding.severity(), Finding::OK) << finding.DebugString();
    codes.push_back(finding.code());
  }
  EXPECT_THAT(
      codes, ::testing::ElementsAre(
                 "HOST_ROOT", "UPDATE_INTERRUPTED", "UNRESTORED_VMS",
                 "LIBVIRT_VERSION", "QEMU_VERSION", "LUO_DEVICE", "LUO_ENABLED",
                 "SHMEM_THP", "KEXEC_ALLOWED", "KERNEL_STAGED", "CLOCK_TSC",
                 "WATCHDOG", "HOOKS", "TARGET_KERNEL", "TARGET_INITRD",
                 "TARGET_CMDLINE", "TARGET_KVM", "TARGET_LUO", "TARGET_LUO_ABI",
                 "TARGET_LUO_CMDLINE", "HOST_MEMORY", "VM_STATE",
                 "VM_QEMU_VERSION", "MACHINE_TYPE", "VM_QEMU_INSTALLED",
                 "RAM_PRESERVABLE", "AUX_RAM_SHARE", "QEMU_BLOCKED",
                 "UNSUPPORTED_DEVICE", "BLOCK_JOB", "BRIDGE_PRESENT"));
}

TEST_F(LuoPreflightTest, RefusesWhileVmsWaitToBeRestored) {
  unrestored_vms_ = std::vector<std::string>{"web-2"};
  ExpectHostError("UNRESTORED_VMS", "web-2; the kernel carries nothing");
}

TEST_F(LuoPreflightTest, SaysHowMuchRamLiesInHugePages) {
  GuestRam& ram = vms_[0].facts->ram[0];
  ram.pages = RamPages{.resident_bytes = kGiB / 4, .huge_bytes = kGiB / 8};
  EXPECT_THAT(Check().DebugString(),
              HasSubstr("128 MiB of 256 MiB of resident RAM in huge pages"));
  ram.pages->huge_bytes = kGiB / 16;
  ExpectOnly(Finding::WARNING, "RAM_HUGE_PAGES", "web-1",
             "64 MiB of 256 MiB of resident RAM in huge pages: the blackout");
}

TEST_F(LuoPreflightTest, SaysHowTheRunningKernelWasRead) {
  EXPECT_THAT(Check().DebugString(),
              ::testing::ContainsRegex("kho-v4, luo-v5, memfd-v2 in both; .*"
                                       "read from /boot/vmlinuz-7.3.4"));
}

TEST_F(LuoPreflightTest, NeedsTheDevice) {
  host_.luo.device = false;
  ExpectHostError("LUO_DEVICE", "no /dev/liveupdate");
}

TEST_F(LuoPreflightTest, NeedsTheDeviceFree) {
  host_.luo.holder = "systemd (1)";
  ExpectHostError("LUO_DEVICE", "in use by systemd (1)");
}

TEST_F(LuoPreflightTest, NeedsLuoOnInTheRunningKernel) {
  host_.command_line = "ro kho=on";
  ExpectHostError("LUO_ENABLED", "it has no liveupdate=on");
}

TEST_F(LuoPreflightTest, NeedsNoKhoWhereItIsTheDefault) {
  host_.command_line = "ro liveupdate=on";
  EXPECT_TRUE(Check().go());
  target_.command_line = "ro liveupdate=on";
  ExpectKernelError("TARGET_LUO_CMDLINE", "it has no kho=on");
  target_.config = loader::KernelConfig::Parse(
      "CONFIG_KVM_AMD=m\nCONFIG_KEXEC_HANDOVER=y\nCONFIG_LIVEUPDATE=y\n"
      "CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT=y\n");
  EXPECT_TRUE(Check().go());
}

TEST_F(LuoPreflightTest, WarnsOfSmallPages) {
  host_.luo.shmem_huge = "never";
  ExpectOnly(Finding::WARNING, "SHMEM_THP", "host", "shmem_enabled is never");
}

TEST_F(LuoPreflightTest, NeedsTheWordsOnTheTargetsCommandLine) {
  target_.command_line = "ro";
  ExpectKernelError("TARGET_LUO_CMDLINE", "no kho=on liveupdate=on");
}

TEST_F(LuoPreflightTest, NeedsLuoInTheTarget) {
  for (const char* config : {"CONFIG_KVM_AMD=m\nCONFIG_LIVEUPDATE=y\n",
                             "CONFIG_KVM_AMD=m\nCONFIG_KEXEC_HANDOVER=y\n"}) {
    target_.config = loader::KernelConfig::Parse(config);
    ExpectKernelError("TARGET_LUO", "lacks CONFIG_");
  }
}

TEST_F(LuoPreflightTest, TakesTheImagesWordWithoutAConfiguration) {
  target_.config = absl::NotFoundError("no config");
  EXPECT_TRUE(Check().go());
  target_.facts->abi_strings = {};
  ExpectKernelErrorAmongOthers("TARGET_LUO");
}

TEST_F(LuoPreflightTest, RefusesOtherAbiStrings) {
  target_.facts->abi_strings = {"kho-v4", "luo-v6", "memfd-v2"};
  ExpectKernelError("TARGET_LUO_ABI",
                    "the target speaks kho-v4, luo-v6, memfd-v2; the running "
                    "kernel kho-v4, luo-v5, memfd-v2 (read from /boot/");
  target_.facts->abi_strings = {"kho-v4", "luo-v5", "memfd-v2", "luo-flb-v1"};
  ExpectKernelErrorAmongOthers("TARGET_LUO_ABI");
}

TEST_F(LuoPreflightTest, RefusesATargetWithoutAbiStrings) {
  target_.facts->abi_strings = {"kho-v4", "luo-v5"};
  ExpectKernelError("TARGET_LUO_ABI", "no memfd-v… string in the target");
}

TEST_F(LuoPreflightTest, DoesNotGuessTheRunningKernelsStrings) {
  host_.running_kernel = absl::FailedPreconditionError("/proc/kcore: none");
  ExpectKernelError("TARGET_LUO_ABI", "not comparable: /proc/kcore: none");
  host_.running_kernel = loader::RunningKernel();
  ExpectKernelError("TARGET_LUO_ABI", "string in the running kernel");
}

TEST_F(LuoPreflightTest, RefusesAKernelItCannotUnpack) {
  target_.facts = absl::UnimplementedError("bzip2");
  ExpectKernelError("TARGET_LUO_ABI", "can't be read: bzip2");
}

TEST_F(LuoPreflightTest, NeedsMemfds) {
  vms_[0].places[0]->shmem = false;
  ExpectVmError("RAM_NOT_PRESERVABLE", "not in a memfd");
  EXPECT_THAT(Check().DebugString(),
              ::testing::ContainsRegex("remedy: .*<source type=.*memfd"));
  vms_[0].places[0] = RamPlace{.device = 1, .links = 1, .shmem = true};
  ExpectVmError("RAM_NOT_PRESERVABLE", "its file has 1 name");
}

TEST_F(LuoPreflightTest, NeedsMemfdsThatLuoTakes) {
  vm().ram[0].size_bytes = uint64_t{1} << 40;
  ExpectVmError("RAM_NOT_PRESERVABLE", "1 TiB or larger");
}

TEST_F(LuoPreflightTest, NeedsMemoryForTheVmsState) {
  host_.memory_available_bytes = uint64_t{100} << 20;
  ExpectHostError("HOST_MEMORY",
                  "100 MiB available; kernel, initrd and the VMs' state need "
                  "116 MiB");
}

TEST_F(PreflightTest, RefusesAKexecOutOfADirectory) {
  backend_ = Backend::kDirectory;
  ExpectKernelError("TARGET_BACKEND", "keeps no memory");
}

TEST_F(PreflightTest, DoesNotNeedTheRunningKernelForDax) {
  host_.running_kernel = absl::FailedPreconditionError("not read");
  EXPECT_TRUE(Check().go());
}

// Overridden.

TEST_F(PreflightTest, GoesWithAnOverriddenErrorAndSaysSo) {
  vm().block_jobs = {"vda"};
  overrides_ = {"BLOCK_JOB"};
  const CheckReport report = Check();
  EXPECT_TRUE(report.go());
  int overridden = 0;
  for (const Finding& finding : report.findings()) {
    if (!finding.overridden()) continue;
    ++overridden;
    EXPECT_EQ(finding.code(), "BLOCK_JOB");
    EXPECT_EQ(finding.severity(), Finding::WARNING);
    EXPECT_EQ(finding.message(), "overridden: active block jobs: vda");
    EXPECT_NE(finding.remedy(), "");
  }
  EXPECT_EQ(overridden, 1);
}

TEST_F(PreflightTest, OverridesNothingElse) {
  vm().block_jobs = {"vda"};
  vm().bridges = {"br7"};
  overrides_ = {"BLOCK_JOB"};
  EXPECT_FALSE(Check().go());
}

TEST_F(PreflightTest, LeavesWhatIsNoErrorAsItIs) {
  overrides_ = {"BLOCK_JOB", "TARGET_KVM"};
  const CheckReport report = Check();
  for (const Finding& finding : report.findings()) {
    EXPECT_FALSE(finding.overridden()) << finding.code();
  }
}

TEST_F(PreflightTest, NeverOverridesWhatLosesVms) {
  target_.command_line_status = absl::FailedPreconditionError("memmap=1G!1G");
  vm().ram[0].shared = false;
  overrides_ = {"TARGET_CMDLINE", "RAM_NOT_SHARED"};
  EXPECT_FALSE(Check().go());
  const CheckReport report = Check();
  for (const Finding& finding : report.findings()) {
    EXPECT_FALSE(finding.overridden()) << finding.code();
  }
}

TEST(ParseBackendTest, KnowsThree) {
  EXPECT_EQ(ParseBackend("dax").value_or(Backend::kLuo), Backend::kDax);
  EXPECT_EQ(ParseBackend("luo").value_or(Backend::kDax), Backend::kLuo);
  EXPECT_EQ(ParseBackend("directory").value_or(Backend::kDax),
            Backend::kDirectory);
  EXPECT_THAT(ParseBackend("nvme"),
              testing::StatusIs(absl::StatusCode::kInvalidArgument,
                                HasSubstr("\"nvme\"")));
}

TEST(CheckOverrideTest, NamesWhatCannotBeOverridden) {
  for (const absl::string_view code : kOverridable) {
    EXPECT_THAT(CheckOverride(code), testing::IsOk());
  }
  for (const char* code :
       {"TARGET_CMDLINE", "TARGET_LUO_ABI", "TARGET_LUO", "TARGET_LUO_CMDLINE",
        "RAM_NOT_SHARED", "RAM_NOT_PRESERVABLE", "TARGET_KERNEL",
        "TARGET_CRASH_ONLY", "VM_QEMU_INSTALLED", "block_job", ""}) {
    EXPECT_THAT(CheckOverride(code),
                testing::StatusIs(
                    absl::StatusCode::kInvalidArgument,
                    ::testing::AllOf(HasSubstr(code), HasSubstr("BLOCK_JOB"))));
  }
}

TEST(MakeExaminedVmTest, LooksUpWhereTheRamLies) {
  VmFacts facts;
  facts.ram.push_back({.name = "pc.ram",
                       .size_bytes = 4096,
                       .shared = true,
                       .fd = UniqueFd(memfd_create("ram", MFD_CLOEXEC))});
  facts.ram.push_back(
      {.name = "dimm0", .size_bytes = 4096, .shared = false, .fd = {}});
  const ExaminedVm vm = MakeExaminedVm(VmInfo(), std::move(facts));
  ASSERT_EQ(vm.places.size(), 2u);
  ASSERT_THAT(vm.places[0], testing::IsOk());
  EXPECT_EQ(vm.places[0]->links, 0u);
  EXPECT_FALSE(vm.places[0]->dax);
  EXPECT_TRUE(vm.places[0]->shmem);
  EXPECT_FALSE(vm.places[1].ok());
}

}  // namespace
}  // namespace live_update
