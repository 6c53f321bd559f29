#include "host_update/libvirt/qemu_process.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "host_update/libvirt/ram_pages.h"

namespace live_update {
namespace {

constexpr uint64_t kMostProcBytes = uint64_t{16} << 20;

std::string ProcPath(pid_t pid, absl::string_view name) {
  return absl::StrCat("/proc/", pid, "/", name);
}

bool RunsVm(absl::string_view command_line, absl::string_view uuid) {
  const std::vector<absl::string_view> words =
      absl::StrSplit(command_line, '\0');
  for (size_t i = 1; i < words.size(); ++i) {
    if (words[i - 1] == "-uuid" && absl::EqualsIgnoreCase(words[i], uuid)) {
      return true;
    }
  }
  return false;
}

// The effective one of "Uid:" or "Gid:" in /proc/PID/status.
absl::StatusOr<uint32_t> EffectiveId(absl::string_view status,
                                     absl::string_view key) {
  for (const absl::string_view line : absl::StrSplit(status, '\n')) {
    if (!absl::StartsWith(line, key)) continue;
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar("\t "), absl::SkipEmpty());
    uint32_t id = 0;
    if (words.size() == 5 && absl::SimpleAtoi(words[2], &id)) return id;
  }
  return absl::InternalError(absl::StrCat("/proc/PID/status has no ", key));
}

// Field 22 of /proc/PID/stat. Field 2, the program's name, may have blanks and
// parentheses in it.
absl::StatusOr<uint64_t> StartTime(absl::string_view stat) {
  const size_t name_end = stat.rfind(')');
  if (name_end != absl::string_view::npos) {
    const std::vector<absl::string_view> fields =
        absl::StrSplit(stat.substr(name_end + 1), ' ', absl::SkipEmpty());
    constexpr size_t kStartTime = 22 - 3;  // fields[0] is number 3.
    uint64_t started = 0;
    if (fields.size() > kStartTime &&
        absl::SimpleAtoi(fields[kStartTime], &started)) {
      return started;
    }
  }
  return absl::InternalError("/proc/PID/stat has no start time");
}

// "start-end" as in /proc/PID/maps and map_files. kNotFound: nothing there.
absl::StatusOr<std::string> FindMapping(absl::string_view maps,
                                        uint64_t address) {
  for (const absl::string_view line : absl::StrSplit(maps, '\n')) {
    const absl::string_view range = line.substr(0, line.find(' '));
    const std::vector<absl::string_view> ends = absl::StrSplit(range, '-');
    uint64_t start = 0;
    uint64_t end = 0;
    if (ends.size() == 2 && absl::SimpleHexAtoi(ends[0], &start) &&
        absl::SimpleHexAtoi(ends[1], &end) && address >= start &&
        address < end) {
      return std::string(range);
    }
  }
  return absl::NotFoundError(
      absl::StrFormat("nothing is mapped at %#x", address));
}

// A memory backend's RAM block: its id, or its path if QEMU was told so
// (host_memory_backend_get_name() in backends/hostmem.c).
absl::StatusOr<std::string> BlockName(Qmp& qmp, const std::string& backend,
                                      absl::Time deadline) {
  const std::string path = absl::StrCat("/objects/", backend);
  LU_ASSIGN_OR_RETURN(
      const bool canonical,
      qmp.GetBool(path, "x-use-canonical-path-for-ramblock-id", deadline));
  return canonical ? path : backend;
}

absl::StatusOr<uint64_t> AddressOf(
    const std::string& name,
    const absl::StatusOr<std::vector<QemuRamBlock>>& blocks) {
  LU_RETURN_IF_ERROR(blocks.status());
  const auto block =
      std::find_if(blocks->begin(), blocks->end(),
                   [&name](const QemuRamBlock& b) { return b.name == name; });
  if (block == blocks->end()) {
    return absl::NotFoundError("QEMU's list of RAM blocks has it not");
  }
  return block->address;
}

// Opens the memory of `block`, and looks up what it consists of in `smaps`.
absl::Status OpenBlock(pid_t pid,
                       const absl::StatusOr<std::vector<QemuRamBlock>>& blocks,
                       const absl::StatusOr<std::string>& smaps,
                       GuestRam& block) {
  LU_ASSIGN_OR_RETURN(const uint64_t address, AddressOf(block.name, blocks));
  LU_ASSIGN_OR_RETURN(block.fd, OpenMappedFile(pid, address, block.size_bytes));
  if (!smaps.ok()) return absl::OkStatus();
  const absl::StatusOr<RamPages> pages =
      ParseRamPages(*smaps, address, block.size_bytes);
  if (pages.ok()) block.pages = *pages;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<QemuProcess> FindQemuProcess(const VmRef& vm,
                                            absl::string_view pid_directory) {
  const std::string pid_file =
      absl::StrCat(pid_directory, "/", vm.name, ".pid");
  absl::StatusOr<std::string> text = ReadFile(pid_file, 64);
  if (!text.ok()) {
    return Annotate(text.status(), absl::StrCat("QEMU of ", vm.name));
  }
  QemuProcess process;
  if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &process.pid) ||
      process.pid <= 0) {
    return absl::InternalError(absl::StrCat(pid_file, " holds no pid"));
  }
  const absl::StatusOr<std::string> command_line =
      ReadFile(ProcPath(process.pid, "cmdline"), kMostProcBytes);
  if (!command_line.ok() || !RunsVm(*command_line, vm.uuid)) {
    return absl::NotFoundError(absl::StrCat("QEMU of ", vm.name, ": process ",
                                            process.pid, " of ", pid_file,
                                            " is not it"));
  }
  LU_ASSIGN_OR_RETURN(
      const std::string status,
      ReadFile(ProcPath(process.pid, "status"), kMostProcBytes));
  LU_ASSIGN_OR_RETURN(process.uid, EffectiveId(status, "Uid:"));
  LU_ASSIGN_OR_RETURN(process.gid, EffectiveId(status, "Gid:"));
  LU_ASSIGN_OR_RETURN(const std::string stat,
                      ReadFile(ProcPath(process.pid, "stat"), kMostProcBytes));
  LU_ASSIGN_OR_RETURN(process.started, StartTime(stat));
  return process;
}

absl::StatusOr<UniqueFd> OpenMappedFile(pid_t pid, uint64_t address,
                                        uint64_t size_bytes) {
  LU_ASSIGN_OR_RETURN(const std::string maps,
                      ReadFile(ProcPath(pid, "maps"), kMostProcBytes));
  LU_ASSIGN_OR_RETURN(const std::string range, FindMapping(maps, address));
  const std::string path = ProcPath(pid, absl::StrCat("map_files/", range));
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.ok() && errno == ENOENT) {
    return absl::FailedPreconditionError(
        "is private memory, of which there is no file");
  }
  if (!fd.ok()) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return absl::ErrnoToStatus(errno, "fstat");
  if (info.st_size < 0 || static_cast<uint64_t>(info.st_size) < size_bytes) {
    return absl::FailedPreconditionError(absl::StrCat(
        "its file has ", info.st_size, " bytes, not ", size_bytes));
  }
  return fd;
}

absl::StatusOr<std::vector<GuestRam>> FindGuestRam(
    Qmp& qmp, pid_t pid, std::vector<std::string>& problems,
    absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(const std::vector<MemoryBackend> backends,
                      qmp.QueryMemoryBackends(deadline));
  // An error matters only if there is shared memory to be found.
  const absl::StatusOr<std::vector<QemuRamBlock>> blocks =
      qmp.QueryRamBlocks(deadline);
  // What pages there are is worth telling, but no reason to fail.
  const absl::StatusOr<std::string> smaps =
      ReadFile(ProcPath(pid, "smaps"), kMostProcBytes);
  std::vector<GuestRam> ram;
  for (const MemoryBackend& backend : backends) {
    GuestRam block;
    LU_ASSIGN_OR_RETURN(block.name, BlockName(qmp, backend.id, deadline));
    block.size_bytes = backend.size_bytes;
    block.shared = backend.shared;
    if (block.shared) {
      const absl::Status opened = OpenBlock(pid, blocks, smaps, block);
      if (!opened.ok()) {
        problems.push_back(
            absl::StrCat("RAM block ", block.name,
                         " can't be found in QEMU: ", opened.message()));
      }
    }
    ram.push_back(std::move(block));
  }
  return ram;
}

}  // namespace live_update
