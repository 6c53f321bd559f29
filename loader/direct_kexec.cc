#include "loader/direct_kexec.h"

#include <linux/kexec.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/mapped_region.h"
#include "base/status_macros.h"
#include "loader/boot_facts.h"
#include "loader/byte_reader.h"
#include "loader/direct_image.h"
#include "loader/kernel_image.h"
#include "loader/load_plan.h"
#include "loader/memory_map.h"

namespace live_update::loader {
namespace {

constexpr uint64_t kMaxKernelBytes = uint64_t{256} << 20;
constexpr uint64_t kMaxText = uint64_t{4} << 20;

absl::StatusOr<DirectImage> ReadImage(const UniqueFd& file, DirectEntry entry) {
  if (lseek(file.get(), 0, SEEK_SET) != 0) {
    return absl::ErrnoToStatus(errno, "seek in the kernel");
  }
  LU_ASSIGN_OR_RETURN(const std::string bytes, ReadAll(file, kMaxKernelBytes));
  LU_ASSIGN_OR_RETURN(const KernelImage image, ReadKernelImage(AsBytes(bytes)));
  return MakeDirectImage(AsBytes(bytes), image, entry);
}

// Nothing if there is no initrd. Only the kernel reads it: a file that is cut
// off meanwhile is its EFAULT, and no SIGBUS of ours.
absl::StatusOr<MappedRegion> MapInitrd(const UniqueFd& file) {
  if (!file.ok()) return MappedRegion();
  struct stat info {};
  if (fstat(file.get(), &info) != 0) {
    return absl::ErrnoToStatus(errno, "stat the initrd");
  }
  return MappedRegion::MapReadOnly(file, static_cast<uint64_t>(info.st_size));
}

absl::StatusOr<LoadPlan> PlanHere(const DirectImage& image,
                                  uint64_t initrd_bytes,
                                  const std::string& command_line,
                                  const std::vector<PhysRange>& untouched) {
  LU_ASSIGN_OR_RETURN(const std::string iomem,
                      ReadFile("/proc/iomem", kMaxText));
  LU_ASSIGN_OR_RETURN(const MemoryMap map, ParseIomem(iomem));
  LU_ASSIGN_OR_RETURN(const std::string cpuinfo,
                      ReadFile("/proc/cpuinfo", kMaxText));
  LU_ASSIGN_OR_RETURN(const BootFacts boot, ReadBootFacts(""));
  return MakeLoadPlan({.kernel = image.needs,
                       .initrd_bytes = initrd_bytes,
                       .command_line = command_line,
                       .map = map,
                       .untouched = untouched,
                       .boot = boot,
                       .five_level_paging = UsesFiveLevelPaging(cpuinfo)});
}

kexec_segment Segment(const void* bytes, uint64_t size,
                      const PhysRange& where) {
  return {.buf = bytes,
          .bufsz = size,
          .mem = std::bit_cast<const void*>(where.start),
          .memsz = where.size_bytes};
}

}  // namespace

absl::Status CheckDirectAllowed(const KexecPolicy& policy) {
  constexpr char kRemedy[] =
      "; leave --direct-jump out (kexec_file_load takes a signed kernel)";
  if (IsLockedDown(policy)) {
    return absl::PermissionDeniedError(absl::StrCat(
        "kexec_load: locked down (", policy.lockdown, ")", kRemedy));
  }
  if (policy.signature_forced) {
    return absl::PermissionDeniedError(absl::StrCat(
        "kexec_load: the running kernel is built to take signed kernels only "
        "(CONFIG_KEXEC_SIG_FORCE)",
        kRemedy));
  }
  return absl::OkStatus();
}

absl::Status DirectStageError(int error, const KexecPolicy& policy) {
  switch (error) {
    case EPERM:
      LU_RETURN_IF_ERROR(CheckDirectAllowed(policy));
      return NotPermitted("kexec_load", policy);
    case EACCES:
      return absl::PermissionDeniedError(
          "kexec_load: the host's integrity policy (IMA) wants a signed file; "
          "leave --direct-jump out");
    case EINVAL:
    case EADDRNOTAVAIL:
      return absl::InvalidArgumentError(absl::StrCat(
          "kexec_load: refused the placement (",
          error == EINVAL ? "EINVAL" : "EADDRNOTAVAIL",
          "): beyond half of the memory, or of what it can address; leave "
          "--direct-jump out"));
    case ENOMEM:
      return absl::ResourceExhaustedError(
          "kexec_load: not enough free memory for the kernel and initrd; free "
          "some (see MemAvailable in /proc/meminfo)");
    case EBUSY:
      return absl::UnavailableError(
          "kexec_load: another load or a crash dump set-up is under way "
          "(EBUSY); try again");
    case ENOSYS:
      return absl::UnimplementedError(
          "kexec_load: the running kernel has none (CONFIG_KEXEC); leave "
          "--direct-jump out");
    default:
      return absl::ErrnoToStatus(error, "kexec_load");
  }
}

absl::Status StageByKexecLoad(const UniqueFd& kernel, const UniqueFd& initrd,
                              const std::string& command_line,
                              DirectEntry entry,
                              const std::vector<PhysRange>& untouched) {
  LU_RETURN_IF_ERROR(CheckDirectAllowed(ReadKexecPolicy("")));
  LU_ASSIGN_OR_RETURN(const DirectImage image, ReadImage(kernel, entry));
  LU_ASSIGN_OR_RETURN(const MappedRegion initrd_bytes, MapInitrd(initrd));
  LU_ASSIGN_OR_RETURN(
      const LoadPlan plan,
      PlanHere(image, initrd_bytes.bytes().size(), command_line, untouched));
  std::vector<kexec_segment> segments = {
      Segment(image.contents.data(), image.contents.size(), plan.kernel),
      Segment(plan.boot_pages.data(), plan.boot_pages.size(), plan.boot)};
  if (plan.initrd.has_value()) {
    segments.push_back(Segment(initrd_bytes.bytes().data(),
                               initrd_bytes.bytes().size(), *plan.initrd));
  }
  if (syscall(SYS_kexec_load, plan.entry, segments.size(), segments.data(),
              uint64_t{KEXEC_ARCH_DEFAULT}) != 0) {
    const int error = errno;
    return DirectStageError(error, ReadKexecPolicy(""));
  }
  return absl::OkStatus();
}

}  // namespace live_update::loader
