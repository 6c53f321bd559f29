#include "state_preserve/luo_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/checked_math.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "state_preserve/luo_index.h"
#include "state_preserve/names.h"

namespace live_update {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(20);
constexpr uint64_t kMaxIdBytes = 64;
constexpr uint64_t kMaxNoteBytes = 1024;
constexpr absl::string_view kNoHandover = "none";
constexpr absl::string_view kHandoverTaken = "taken";
constexpr uint64_t kMaxMeminfoBytes = 1 << 16;

}  // namespace

std::string LuoNewName(absl::string_view session) {
  return absl::StrCat("new/", session);
}

std::string LuoLeftName(absl::string_view session) {
  return absl::StrCat("left/", session);
}

LuoStore::LuoStore(const LuoMemoryOptions& options, std::string boot_id)
    : run_dir_(options.run_dir),
      boot_id_(std::move(boot_id)),
      busy_wait_(options.busy_wait),
      own_kernel_(options.kernel == nullptr ? NewLuoKernel(options.device)
                                            : nullptr),
      kernel_(options.kernel == nullptr ? own_kernel_.get() : options.kernel),
      keeper_(absl::StrCat(options.run_dir, "/keeper.sock")) {}

absl::StatusOr<std::shared_ptr<const LuoStore>> LuoStore::Open(
    const LuoMemoryOptions& options) {
  if (options.kernel == nullptr && access(options.device.c_str(), F_OK) != 0) {
    return absl::NotFoundError(absl::StrCat(
        "no ", options.device,
        ": needs Linux 7.3 or newer with CONFIG_LIVEUPDATE, and kho=on "
        "liveupdate=on on its command line"));
  }
  std::error_code error;
  std::filesystem::create_directories(options.run_dir, error);
  if (error) {
    return absl::ErrnoToStatus(error.value(),
                               absl::StrCat("make ", options.run_dir));
  }
  std::string boot_id = options.boot_id;
  if (boot_id.empty()) {
    LU_ASSIGN_OR_RETURN(
        const std::string line,
        ReadFile("/proc/sys/kernel/random/boot_id", kMaxIdBytes));
    boot_id = std::string(absl::StripAsciiWhitespace(line));
  }
  return std::make_shared<const LuoStore>(options, std::move(boot_id));
}

absl::StatusOr<UniqueFd> LuoStore::Lock() const {
  const std::string path = absl::StrCat(run_dir_, "/luo.lock");
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.ok()) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  const absl::Time deadline = absl::Now() + busy_wait_;
  while (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return absl::ErrnoToStatus(errno, absl::StrCat("lock ", path));
    }
    if (absl::Now() > deadline) {
      return absl::UnavailableError(
          absl::StrCat(path, " is held by another host-update: `fuser -v ",
                       path, "` names it"));
    }
    absl::SleepFor(kPollInterval);
  }
  return fd;
}

absl::StatusOr<std::unique_ptr<LuoDevice>> LuoStore::OpenDevice() const {
  const absl::Time deadline = absl::Now() + busy_wait_;
  while (true) {
    absl::StatusOr<std::unique_ptr<LuoDevice>> device = kernel_->OpenDevice();
    if (!absl::IsUnavailable(device.status()) || absl::Now() > deadline) {
      return device;
    }
    absl::SleepFor(kPollInterval);
  }
}

std::string LuoStore::NotePath() const {
  return absl::StrCat(run_dir_, "/luo-handover");
}

std::string LuoStore::ResumeMarkPath(absl::string_view update_id,
                                     absl::string_view vm_uuid) const {
  return absl::StrCat(run_dir_, "/luo-resumed.", EncodeFileName(update_id), ".",
                      vm_uuid);
}

// With the boot's id, should the folder be of another boot after all.
std::string LuoStore::Note(absl::string_view what) const {
  return absl::StrCat(boot_id_, " ", what, "\n");
}

absl::StatusOr<LuoStore::Handover> LuoStore::FindHandover() const {
  LU_ASSIGN_OR_RETURN(const std::vector<std::string> kept, keeper_.List());
  if (absl::c_linear_search(kept, kLuoHandoverSession)) {
    return Handover::kIncoming;
  }
  const std::string fresh = LuoNewName(kLuoHandoverSession);
  if (absl::c_linear_search(kept, fresh)) return Handover::kNew;
  const absl::StatusOr<std::string> note = ReadFile(NotePath(), kMaxNoteBytes);
  if (note.ok() && *note == Note(kNoHandover)) return Handover::kNone;
  if (note.ok() && *note == Note(kHandoverTaken)) {
    LU_RETURN_IF_ERROR(NoteNoHandover());
    return absl::DataLossError(
        "the keeper of the last kernel's handover was killed, and with it the "
        "VMs that waited to be restored are lost: start them afresh");
  }

  // The keeper first: if it can't be started, what is retrieved would be lost.
  LU_RETURN_IF_ERROR(keeper_.EnsureStarted());
  absl::StatusOr<std::unique_ptr<LuoSession>> session;
  {
    LU_ASSIGN_OR_RETURN(const auto device, OpenDevice());
    session = device->RetrieveSession(std::string(kLuoHandoverSession));
  }
  if (absl::IsNotFound(session.status())) {
    LU_RETURN_IF_ERROR(NoteNoHandover());
    LU_RETURN_IF_ERROR(keeper_.EndIfEmpty());
    return Handover::kNone;
  }
  if (!session.ok()) return session.status();
  LU_RETURN_IF_ERROR(Annotate(keeper_.Put(fresh, (*session)->fd()),
                              "the handover was retrieved and can't be kept"));
  if (absl::Status noted =
          WriteFileAtomically(NotePath(), Note(kHandoverTaken));
      !noted.ok()) {
    LogWarning(absl::StrCat("that there is a handover can't be noted: ",
                            noted.message()));
  }
  return Handover::kNew;
}

absl::Status LuoStore::Collect(const std::string& session,
                               LuoDevice& device) const {
  absl::Status kept = keeper_.Get(session).status();
  if (!absl::IsNotFound(kept)) {
    LU_RETURN_IF_ERROR(kept);
    return keeper_.Drop(LuoLeftName(session));
  }
  // The mark first: it also shows that the keeper has room.
  absl::StatusOr<UniqueFd> mark = keeper_.Get(LuoNewName(kLuoHandoverSession));
  if (absl::IsNotFound(mark.status())) mark = keeper_.Get(kLuoHandoverSession);
  if (!mark.ok()) return Annotate(mark.status(), session);
  absl::Status marked = keeper_.Put(LuoLeftName(session), *mark);
  if (!marked.ok() && !absl::IsAlreadyExists(marked)) return marked;

  const absl::StatusOr<std::unique_ptr<LuoSession>> retrieved =
      device.RetrieveSession(session);
  if (!retrieved.ok() && !absl::IsNotFound(retrieved.status())) {
    return retrieved.status();
  }
  if (retrieved.ok()) {
    LU_RETURN_IF_ERROR(Annotate(keeper_.Put(session, (*retrieved)->fd()),
                                "the session was retrieved and can't be kept"));
  }
  LU_RETURN_IF_ERROR(keeper_.Drop(LuoLeftName(session)));
  return retrieved.status();
}

absl::StatusOr<std::unique_ptr<LuoSession>> LuoStore::Kept(
    absl::string_view name) const {
  LU_ASSIGN_OR_RETURN(UniqueFd fd, keeper_.Get(name));
  return kernel_->AdoptSession(std::move(fd));
}

absl::StatusOr<std::unique_ptr<LuoSession>> LuoStore::SessionOf(
    const std::string& session) const {
  auto kept = Kept(session);
  if (!absl::IsNotFound(kept.status())) return kept;
  LU_RETURN_IF_ERROR(keeper_.Get(LuoLeftName(session)).status());
  LU_ASSIGN_OR_RETURN(const UniqueFd lock, Lock());
  LU_ASSIGN_OR_RETURN(const auto device, OpenDevice());
  LU_RETURN_IF_ERROR(Collect(session, *device));
  return Kept(session);
}

absl::Status LuoStore::Finish(const std::string& name) const {
  const auto session = Kept(name);
  if (absl::IsNotFound(session.status())) return absl::OkStatus();
  if (!session.ok()) return session.status();
  // From here on it is ours alone. Should we be killed, its end finishes it: it
  // never is in the keeper and finished, which could not be told apart from
  // waiting.
  LU_RETURN_IF_ERROR(keeper_.Drop(name));
  absl::Status finished = (*session)->Finish();
  if (finished.ok()) return absl::OkStatus();
  absl::Status given_back = keeper_.EnsureStarted();
  if (given_back.ok()) given_back = keeper_.Put(name, (*session)->fd());
  if (!given_back.ok()) {
    LogError(absl::StrCat(name, " ends now: ", given_back.message()));
  }
  return Annotate(std::move(finished), name);
}

absl::Status LuoStore::NoteNoHandover() const {
  return WriteFileAtomically(NotePath(), Note(kNoHandover));
}

absl::StatusOr<uint64_t> LuoStore::FreeBytes() {
  LU_ASSIGN_OR_RETURN(const std::string meminfo,
                      ReadFile("/proc/meminfo", kMaxMeminfoBytes));
  for (absl::string_view line : absl::StrSplit(meminfo, '\n')) {
    if (!absl::ConsumePrefix(&line, "MemAvailable:") ||
        !absl::ConsumeSuffix(&line, "kB")) {
      continue;
    }
    uint64_t kib = 0;
    if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(line), &kib)) break;
    const std::optional<uint64_t> bytes = CheckedMultiply(kib, 1024);
    if (bytes.has_value()) return *bytes;
  }
  return absl::InternalError("/proc/meminfo has no MemAvailable");
}

}  // namespace live_update
