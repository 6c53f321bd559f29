#include "loader/load_plan.h"

#include <algorithm>
#include <bit>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "loader/e820.h"

namespace live_update::loader {
namespace {

constexpr uint64_t kLowMemory = uint64_t{1} << 20;
constexpr uint64_t kOldDevices = uint64_t{16} << 20;
// Physical addresses have 52 bits on x86-64; sums of two sizes below do not
// wrap.
constexpr uint64_t kMaxBytes = uint64_t{1} << 52;

// `ranges` without `hole`.
std::vector<PhysRange> Without(const std::vector<PhysRange>& ranges,
                               const PhysRange& hole) {
  std::vector<PhysRange> left;
  for (const PhysRange& range : ranges) {
    if (!range.Overlaps(hole)) {
      left.push_back(range);
      continue;
    }
    if (range.start < hole.start) {
      left.push_back(
          {.start = range.start, .size_bytes = hole.start - range.start});
    }
    if (hole.end() < range.end()) {
      left.push_back(
          {.start = hole.end(), .size_bytes = range.end() - hole.end()});
    }
  }
  return left;
}

// The whole pages in `range`; none: of no size.
PhysRange WholePages(const PhysRange& range) {
  const uint64_t start =
      CheckedAlignUp(range.start, kPageBytes).value_or(range.end());
  const uint64_t end = range.end() / kPageBytes * kPageBytes;
  return {.start = start, .size_bytes = end > start ? end - start : 0};
}

// Places one thing after the other in memory that is free.
class Placer {
 public:
  Placer(const LoadInput& input, const std::vector<E820Range>& e820) {
    std::vector<PhysRange> ram;
    for (const E820Range& range : e820) {
      if (range.type == E820Type::kRam) ram.push_back(range.range);
    }
    ram = Without(ram, {.start = 0, .size_bytes = kLowMemory});
    for (const PhysRange& range : input.untouched) ram = Without(ram, range);
    for (const PhysRange& range : RangesNamed(input.map, "Crash kernel")) {
      ram = Without(ram, range);
    }
    for (const PhysRange& range : ram) {
      const PhysRange pages = WholePages(range);
      if (pages.size_bytes != 0) free_.push_back(pages);
    }
  }

  // Exactly there.
  absl::StatusOr<PhysRange> TakeAt(absl::string_view what, uint64_t start,
                                   uint64_t bytes) {
    LU_ASSIGN_OR_RETURN(const PhysRange range, Rounded(what, start, bytes));
    for (const PhysRange& free : free_) {
      if (free.Contains(range)) return Take(range);
    }
    return absl::ResourceExhaustedError(absl::StrFormat(
        "%s must lie at %s, which is not all free memory (%s); as a bzImage it "
        "can lie elsewhere, and kexec_file_load finds a place by itself",
        what, range.ToString(), Largest()));
  }

  // At the lowest multiple of `alignment` from `lowest` on.
  absl::StatusOr<PhysRange> TakeFrom(absl::string_view what, uint64_t lowest,
                                     uint64_t bytes, uint64_t alignment) {
    for (const PhysRange& free : free_) {
      const std::optional<uint64_t> start =
          CheckedAlignUp(std::max(free.start, lowest), alignment);
      if (!start.has_value()) continue;
      LU_ASSIGN_OR_RETURN(const PhysRange range, Rounded(what, *start, bytes));
      if (free.Contains(range)) return Take(range);
    }
    return absl::ResourceExhaustedError(absl::StrFormat(
        "no free memory of %#x bytes from %#x on for %s (%s); make the initrd "
        "smaller (MODULES=dep), or leave it to kexec_file_load",
        bytes, lowest, what, Largest()));
  }

 private:
  static absl::StatusOr<PhysRange> Rounded(absl::string_view what,
                                           uint64_t start, uint64_t bytes) {
    const std::optional<uint64_t> size = CheckedAlignUp(bytes, kPageBytes);
    if (bytes == 0 || !size.has_value() || *size > kMaxBytes ||
        start > kMaxBytes) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s of %#x bytes at %#x: no such memory", what, bytes, start));
    }
    return PhysRange{.start = start, .size_bytes = *size};
  }

  PhysRange Take(const PhysRange& range) {
    free_ = Without(free_, range);
    return range;
  }

  std::string Largest() const {
    const auto largest = std::max_element(
        free_.begin(), free_.end(), [](const PhysRange& a, const PhysRange& b) {
          return a.size_bytes < b.size_bytes;
        });
    return largest == free_.end() ? "none is free"
                                  : absl::StrCat("the largest free range is ",
                                                 largest->ToString());
  }

  std::vector<PhysRange> free_;  // Whole pages.
};

absl::Status CheckNeeds(const LoadInput& input) {
  const KernelNeeds& kernel = input.kernel;
  if (kernel.file_bytes == 0 || kernel.file_bytes > kernel.memory_bytes ||
      kernel.entry_offset >= kernel.file_bytes ||
      !std::has_single_bit(kernel.alignment) ||
      kernel.lowest_address % kPageBytes != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a kernel of %#x bytes in %#x of memory at %#x, aligned to %#x, "
        "entered at +%#x",
        kernel.file_bytes, kernel.memory_bytes, kernel.lowest_address,
        kernel.alignment, kernel.entry_offset));
  }
  if (input.command_line.size() > kernel.command_line_bytes) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the kernel takes a command line of ", kernel.command_line_bytes,
        " characters; it would get ", input.command_line.size()));
  }
  if (input.five_level_paging && !kernel.five_level_paging) {
    return absl::FailedPreconditionError(
        "this CPU uses 5-level page tables and the kernel can't be entered "
        "with them (or is a vmlinux, which does not say so): give a bzImage "
        "with CONFIG_X86_5LEVEL=y");
  }
  return absl::OkStatus();
}

// That the next kernel, by the map it gets, leaves alone what must not be
// touched.
absl::Status CheckKept(absl::Span<const PhysRange> untouched,
                       const std::vector<E820Range>& e820) {
  for (const PhysRange& range : untouched) {
    for (const E820Range& entry : e820) {
      if (entry.type == E820Type::kRam && entry.range.Overlaps(range)) {
        return absl::FailedPreconditionError(absl::StrFormat(
            "%s is not to be touched, but %s of it is ordinary memory by "
            "/proc/iomem: the next kernel would use it",
            range.ToString(), entry.range.ToString()));
      }
    }
  }
  return absl::OkStatus();
}

// kexec_load(2) refuses (EINVAL) an image of more than half of all memory.
absl::Status CheckSize(const LoadPlan& plan,
                       const std::vector<E820Range>& e820) {
  uint64_t ram = 0;
  uint64_t used = 0;
  for (const E820Range& range : e820) {
    if (range.type == E820Type::kRam) ram += range.range.size_bytes;
  }
  for (const PhysRange& segment : plan.Segments()) used += segment.size_bytes;
  if (used <= ram / 2) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrFormat(
      "kernel and initrd need %#x bytes of memory, more than half of the "
      "host's %#x; make the initrd smaller (MODULES=dep)",
      used, ram));
}

}  // namespace

std::vector<PhysRange> LoadPlan::Segments() const {
  std::vector<PhysRange> segments = {kernel, boot};
  if (initrd.has_value()) segments.push_back(*initrd);
  return segments;
}

absl::StatusOr<LoadPlan> MakeLoadPlan(const LoadInput& input) {
  LU_RETURN_IF_ERROR(CheckNeeds(input));
  const std::vector<E820Range> e820 = E820Of(input.map);
  LU_RETURN_IF_ERROR(CheckKept(input.untouched, e820));

  const KernelNeeds& kernel = input.kernel;
  Placer placer(input, e820);
  LoadPlan plan;
  LU_ASSIGN_OR_RETURN(
      plan.kernel,
      kernel.movable
          ? placer.TakeFrom(
                "the kernel", std::max(kernel.lowest_address, kOldDevices),
                kernel.memory_bytes, std::max(kernel.alignment, kPageBytes))
          : placer.TakeAt("the kernel", kernel.lowest_address,
                          kernel.memory_bytes));
  std::optional<PhysRange> initrd;  // To the byte.
  if (input.initrd_bytes != 0) {
    LU_ASSIGN_OR_RETURN(plan.initrd,
                        placer.TakeFrom("the initrd", kOldDevices,
                                        input.initrd_bytes, kPageBytes));
    initrd = {.start = plan.initrd->start, .size_bytes = input.initrd_bytes};
  }
  LU_ASSIGN_OR_RETURN(plan.boot,
                      placer.TakeFrom("boot_params", kOldDevices,
                                      BootPagesBytes(input.boot), kPageBytes));
  LU_RETURN_IF_ERROR(CheckSize(plan, e820));
  LU_ASSIGN_OR_RETURN(
      plan.boot_pages,
      MakeBootPages({.setup_header = kernel.setup_header,
                     .command_line = input.command_line,
                     .e820 = e820,
                     .initrd = initrd,
                     .entry = plan.kernel.start + kernel.entry_offset},
                    input.boot, plan.boot.start));
  plan.entry = plan.boot.start + kTrampolineOffset;
  return plan;
}

}  // namespace live_update::loader
