// The Hypervisor against a real libvirt and QEMU. Not part of //...: it needs
// root, a libvirt >= 11.3 with a QEMU >= 10.0, and its URI:
//
//   bazel test --test_env=LIBVIRT_URI=qemu:///system
//     //host_update/libvirt:libvirt_qemu_test
//
// In place of the kexec each test destroys the old QEMU. The guest is a boot
// sector that counts, once in memory and once in a register that it copies to
// memory; both counts must stay equal over the update.

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host_update/libvirt/libvirt_hypervisor.h"
#include "testing/status_matchers.h"

namespace live_update {
namespace {

using ::testing::_;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using ::testing::Not;
using ::testing::SizeIs;
using testing::StatusIs;

constexpr char kName[] = "host-update-test";
constexpr char kUuid[] = "5d0a4bd4-53b4-4d30-9a76-8c6a1f3a2c11";
constexpr size_t kRamBytes = size_t{64} << 20;

// loop: inc dword [0x8000]; inc ebx; mov [0x8004], ebx; jmp loop
constexpr unsigned char kBootSector[] = {
    0x31, 0xc0, 0x8e, 0xd8, 0x66, 0x31, 0xdb, 0x66, 0x89,
    0x1e, 0x00, 0x80, 0x66, 0xff, 0x06, 0x00, 0x80, 0x66,
    0x43, 0x66, 0x89, 0x1e, 0x04, 0x80, 0xeb, 0xf2};

constexpr char kDomain[] = R"(
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>NAME</name>
  <uuid>UUID</uuid>
  <memory unit='MiB'>64</memory>
  <vcpu>2</vcpu>
  MEMORY
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='DISK'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='user'><model type='virtio'/></interface>
    <video><model type='vga' vram='16384'/></video>
    <graphics type='vnc' autoport='yes'/>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-machine'/>
    <qemu:arg value='aux-ram-share=on'/>
  </qemu:commandline>
</domain>)";

constexpr char kMemfd[] =
    "<memoryBacking><source type='memfd'/><access mode='shared'/>"
    "</memoryBacking>";
constexpr char kFile[] =
    "<memoryBacking><source type='file'/><access mode='shared'/>"
    "</memoryBacking>";
constexpr char kTwoCells[] =
    "<memoryBacking><source type='memfd'/></memoryBacking><cpu><numa>"
    "<cell id='0' cpus='0' memory='32' unit='MiB' memAccess='shared'/>"
    "<cell id='1' cpus='1' memory='32' unit='MiB' memAccess='shared'/>"
    "</numa></cpu>";

absl::Time Soon() { return absl::Now() + absl::Seconds(60); }

class LibvirtQemuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* const uri = getenv("LIBVIRT_URI");
    if (uri == nullptr) GTEST_SKIP() << "LIBVIRT_URI names no libvirt";
    connection_ = virConnectOpen(uri);
    ASSERT_NE(connection_, nullptr);
    std::string name = "/var/tmp/host-update-testXXXXXX";
    directory_ = mkdtemp(name.data());
    ASSERT_EQ(chmod(directory_.c_str(), 0755), 0);
    std::string image(size_t{1} << 20, '\0');
    std::copy(std::begin(kBootSector), std::end(kBootSector), image.begin());
    image[510] = '\x55';
    image[511] = '\xaa';
    disk_ = absl::StrCat(directory_, "/boot.img");
    std::ofstream(disk_, std::ios::binary) << image;
    Forget();
    ASSERT_OK_AND_ASSIGN(hypervisor_, ConnectToLibvirt(uri, Soon()));
  }

  void TearDown() override {
    if (connection_ == nullptr) return;
    Forget();
    virConnectClose(connection_);
    std::filesystem::remove_all(directory_);
    EXPECT_FALSE(
        std::filesystem::exists(absl::StrCat("/run/host-update/vm/", kUuid)));
  }

  // Defines the domain, starts it and lets it count.
  void Start(const std::string& memory) {
    const std::string xml = absl::StrReplaceAll(kDomain, {{"NAME", kName},
                                                          {"UUID", kUuid},
                                                          {"DISK", disk_},
                                                          {"MEMORY", memory}});
    domain_ = virDomainDefineXML(connection_, xml.c_str());
    ASSERT_NE(domain_, nullptr) << virGetLastErrorMessage();
    ASSERT_THAT(hypervisor_->Start(vm_, Soon()), IsOk());
    inactive_xml_ = Xml(VIR_DOMAIN_XML_INACTIVE);
    absl::SleepFor(absl::Seconds(3));  // SeaBIOS.
  }

  // Whatever became of it.
  void Forget() {
    virDomain* const domain = virDomainLookupByUUIDString(connection_, kUuid);
    if (domain != nullptr) {
      virDomainDestroy(domain);
      virDomainUndefine(domain);
      virDomainFree(domain);
    }
    if (domain_ != nullptr) virDomainFree(domain_);
    domain_ = nullptr;
  }

  std::string Xml(unsigned flags) {
    char* const text = virDomainGetXMLDesc(domain_, flags);
    std::string xml = text == nullptr ? virGetLastErrorMessage() : text;
    free(text);
    return xml;
  }

  struct State {
    int state = -1;
    int reason = -1;
    bool operator==(const State&) const = default;
  };
  State GetState() {
    State state;
    virDomainGetState(domain_, &state.state, &state.reason, 0);
    return state;
  }

  // Pauses and saves; adds the RAM that is not on the channel, as the update
  // does.
  RestorableVm Take() {
    RestorableVm vm;
    vm.ref = vm_;
    vm.description = hypervisor_->Describe(vm_, Soon()).value();
    VmFacts facts = hypervisor_->Examine(vm_, Soon()).value();
    EXPECT_THAT(facts.blocked_reasons, IsEmpty());
    EXPECT_THAT(hypervisor_->Pause(vm_, Soon()), IsOk());
    const absl::Time start = absl::Now();
    absl::StatusOr<SavedVm> saved = hypervisor_->Save(vm_, Soon());
    EXPECT_THAT(saved, IsOk());
    std::printf("save: %s, %zu fds, %zu bytes\n",
                absl::FormatDuration(absl::Now() - start).c_str(),
                saved->cpr_fds.size(), saved->device_state.size());
    vm.saved = *std::move(saved);
    EXPECT_EQ(hypervisor_->Describe(vm_, Soon())->domain_xml,
              vm.description.domain_xml);
    for (GuestRam& ram : facts.ram) {
      EXPECT_TRUE(ram.fd.ok());
      bool sent = false;
      for (const CprFd& fd : vm.saved.cpr_fds) {
        if (fd.name != ram.name) continue;
        sent = true;
        EXPECT_EQ(Inode(fd.fd), Inode(ram.fd)) << ram.name;
      }
      std::printf("  %s: inode %lu, %s\n", ram.name.c_str(), Inode(ram.fd),
                  sent ? "sent" : "not sent");
      if (!sent) {
        vm.saved.cpr_fds.push_back(
            {.name = ram.name, .id = 0, .fd = std::move(ram.fd)});
      }
    }
    return vm;
  }

  void Kexec() { ASSERT_EQ(virDomainDestroy(domain_), 0); }

  absl::Status Restore(const RestorableVm& vm) {
    const absl::Time start = absl::Now();
    absl::Status status = hypervisor_->Restore(vm, Soon());
    std::printf("restore: %s, %s\n",
                absl::FormatDuration(absl::Now() - start).c_str(),
                status.ToString().c_str());
    return status;
  }

  static ino_t Inode(const UniqueFd& fd) {
    struct stat info {};
    EXPECT_EQ(fstat(fd.get(), &info), 0);
    return info.st_ino;
  }

  static const UniqueFd& Ram(const RestorableVm& vm) {
    for (const CprFd& fd : vm.saved.cpr_fds) {
      if (fd.name == "pc.ram" || fd.name == "ram-node0") return fd.fd;
    }
    ADD_FAILURE() << "no RAM";
    return vm.saved.cpr_fds.front().fd;
  }

  virConnect* connection_ = nullptr;
  virDomain* domain_ = nullptr;
  std::string directory_;
  std::string disk_;
  std::string inactive_xml_;
  const VmRef vm_ = {.name = kName, .uuid = kUuid};
  std::unique_ptr<Hypervisor> hypervisor_;
};

// The guest's low memory, seen from outside.
class Counters {
 public:
  explicit Counters(const UniqueFd& ram)
      : ram_(static_cast<char*>(mmap(nullptr, kRamBytes / 2, PROT_READ,
                                     MAP_SHARED, ram.get(), 0))) {
    EXPECT_NE(ram_, MAP_FAILED);
  }
  ~Counters() { munmap(ram_, kRamBytes / 2); }

  uint32_t in_memory() const { return At(0x8000); }
  uint32_t in_register() const { return At(0x8004); }

  void ExpectGoingOnFrom(uint32_t count) const {
    const absl::Time deadline = Soon();
    while (in_register() < count + 1000) {
      ASSERT_LT(absl::Now(), deadline) << "the guest does not count";
      absl::SleepFor(absl::Milliseconds(5));
    }
  }
  void ExpectEqual() const { EXPECT_LE(in_memory() - in_register(), 1u); }

 private:
  uint32_t At(size_t address) const {
    return *reinterpret_cast<volatile uint32_t*>(ram_ + address);
  }
  char* const ram_;
};

class EachMemory : public LibvirtQemuTest,
                   public ::testing::WithParamInterface<const char*> {};

TEST_P(EachMemory, CrossesTwiceAndStaysTheDomainThatItWas) {
  Start(GetParam());
  for (int round = 0; round < 2; ++round) {
    const RestorableVm vm = Take();
    const Counters counters(Ram(vm));
    const uint32_t count = counters.in_register();
    EXPECT_GT(count, 1000u);
    counters.ExpectEqual();
    Kexec();
    ASSERT_THAT(Restore(vm), IsOk());
    EXPECT_EQ(GetState(),
              (State{VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_RESTORED}));
    counters.ExpectGoingOnFrom(count);
    EXPECT_EQ(Xml(VIR_DOMAIN_XML_INACTIVE), inactive_xml_);
    EXPECT_EQ(virDomainIsPersistent(domain_), 1);
    EXPECT_THAT(hypervisor_->Announce(vm_, Soon()), IsOk());
    // The memory in use is the very same.
    ASSERT_OK_AND_ASSIGN(const VmFacts facts,
                         hypervisor_->Examine(vm_, Soon()));
    for (const GuestRam& ram : facts.ram) {
      bool same = false;
      for (const CprFd& fd : vm.saved.cpr_fds) {
        same |= fd.name == ram.name && Inode(fd.fd) == Inode(ram.fd);
      }
      EXPECT_TRUE(same) << ram.name;
    }
    ASSERT_OK_AND_ASSIGN(const VmDescription description,
                         hypervisor_->Describe(vm_, Soon()));
    EXPECT_THAT(description.domain_xml, Not(HasSubstr("-incoming")));
  }
}

INSTANTIATE_TEST_SUITE_P(Memory, EachMemory,
                         ::testing::Values(kMemfd, kFile, kTwoCells));

TEST_F(LibvirtQemuTest, RunsOnAfterASaveAsOftenAsOneLikes) {
  Start(kMemfd);
  for (int round = 0; round < 3; ++round) {
    const RestorableVm vm = Take();
    const Counters counters(Ram(vm));
    const uint32_t count = counters.in_register();
    ASSERT_THAT(hypervisor_->Resume(vm_, /*run=*/true, Soon()), IsOk());
    EXPECT_EQ(GetState().state, VIR_DOMAIN_RUNNING);
    counters.ExpectGoingOnFrom(count);
    // Again: nothing more to do.
    EXPECT_THAT(hypervisor_->Resume(vm_, /*run=*/true, Soon()), IsOk());
  }
}

TEST_F(LibvirtQemuTest, APausedVmStaysPaused) {
  Start(kMemfd);
  RestorableVm vm = Take();
  vm.was_running = false;
  const Counters counters(Ram(vm));
  const uint32_t count = counters.in_register();
  Kexec();
  ASSERT_THAT(Restore(vm), IsOk());
  EXPECT_EQ(GetState().state, VIR_DOMAIN_PAUSED);
  absl::SleepFor(absl::Milliseconds(200));
  EXPECT_EQ(counters.in_register(), count);
  EXPECT_THAT(hypervisor_->Resume(vm_, /*run=*/true, Soon()), IsOk());
  counters.ExpectGoingOnFrom(count);
}

TEST_F(LibvirtQemuTest, ATornStateIsRefusedAndTheMemoryStays) {
  Start(kMemfd);
  RestorableVm vm = Take();
  const Counters counters(Ram(vm));
  const uint32_t count = counters.in_register();
  Kexec();
  const std::string whole = vm.saved.device_state;
  for (const size_t size : {size_t{0}, size_t{100}, whole.size() / 2}) {
    vm.saved.device_state = whole.substr(0, size);
    const absl::Status status = Restore(vm);
    EXPECT_FALSE(status.ok());
    EXPECT_FALSE(absl::IsAborted(status));  // It can't have run.
    EXPECT_EQ(GetState().state, VIR_DOMAIN_SHUTOFF);
    EXPECT_EQ(counters.in_register(), count);
  }
  vm.saved.device_state = whole;
  ASSERT_THAT(Restore(vm), IsOk());
  counters.ExpectGoingOnFrom(count);
}

TEST_F(LibvirtQemuTest, AMissingDiskIsReportedAtOnceAndCanBePutBack) {
  Start(kMemfd);
  const RestorableVm vm = Take();
  Kexec();
  std::filesystem::rename(disk_, disk_ + ".away");
  const absl::Time start = absl::Now();
  const absl::Status status = Restore(vm);
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
  EXPECT_THAT(status, StatusIs(status.code(), HasSubstr("boot.img")));
  EXPECT_FALSE(absl::IsAborted(status));
  std::filesystem::rename(disk_ + ".away", disk_);
  EXPECT_THAT(Restore(vm), IsOk());
}

TEST_F(LibvirtQemuTest, NeverStartsWithAnEmptyBlock) {
  Start(kMemfd);
  RestorableVm vm = Take();
  Kexec();
  const CprFd ram = std::move(vm.saved.cpr_fds.back());
  ASSERT_EQ(ram.name, "pc.ram");
  vm.saved.cpr_fds.pop_back();
  EXPECT_THAT(Restore(vm), StatusIs(absl::StatusCode::kDataLoss,
                                    HasSubstr("pc.ram is missing")));
  vm.saved.cpr_fds.push_back(
      {.name = "pc.ram", .id = 0, .fd = UniqueFd(memfd_create("x", 0))});
  EXPECT_THAT(Restore(vm), StatusIs(absl::StatusCode::kDataLoss,
                                    HasSubstr("pc.ram is empty")));
}

TEST_F(LibvirtQemuTest, GivesUpAtTheDeadlineAndLeavesNoQemu) {
  Start(kMemfd);
  const RestorableVm vm = Take();
  Kexec();
  const absl::Status status =
      hypervisor_->Restore(vm, absl::Now() + absl::Milliseconds(400));
  std::printf("%s\n", status.ToString().c_str());
  absl::SleepFor(absl::Seconds(3));
  EXPECT_EQ(GetState().state, VIR_DOMAIN_SHUTOFF);
}

TEST_F(LibvirtQemuTest, DoesNotTouchAVmThatRunsAlready) {
  Start(kMemfd);
  const RestorableVm vm = Take();
  EXPECT_THAT(Restore(vm), StatusIs(absl::StatusCode::kAlreadyExists, _));
  EXPECT_THAT(hypervisor_->Resume(vm_, /*run=*/true, Soon()), IsOk());
}

TEST_F(LibvirtQemuTest, SaysWhyAVmCannotBeCarried) {
  Start("");
  ASSERT_OK_AND_ASSIGN(const VmFacts facts, hypervisor_->Examine(vm_, Soon()));
  for (const std::string& reason : facts.blocked_reasons) {
    std::printf("blocked: %s\n", reason.c_str());
  }
  EXPECT_THAT(facts.blocked_reasons, Not(IsEmpty()));
  ASSERT_THAT(facts.ram, SizeIs(1));
  EXPECT_FALSE(facts.ram[0].shared);
  EXPECT_TRUE(facts.aux_ram_share);
  EXPECT_EQ(GetState().state, VIR_DOMAIN_RUNNING);
}

}  // namespace
}  // namespace live_update
