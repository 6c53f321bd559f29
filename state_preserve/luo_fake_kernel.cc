#include "state_preserve/luo_fake_kernel.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "state_preserve/luo_errors.h"
#include "state_preserve/luo_uapi.h"

namespace live_update {
namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::perror(what);
  std::abort();
}

UniqueFd Duplicate(const UniqueFd& fd) {
  UniqueFd copy(fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  Require(copy.ok(), "dup");
  return copy;
}

UniqueFd CopyMemory(const UniqueFd& from) {
  struct stat stat {};
  Require(fstat(from.get(), &stat) == 0, "fstat");
  UniqueFd copy(memfd_create("carried", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  Require(copy.ok(), "memfd_create");
  Require(ftruncate(copy.get(), stat.st_size) == 0, "ftruncate");
  off_t offset = 0;
  while (offset < stat.st_size) {
    const ssize_t sent = sendfile(copy.get(), from.get(), &offset,
                                  static_cast<size_t>(stat.st_size - offset));
    Require(sent > 0, "sendfile");
  }
  const int seals = fcntl(from.get(), F_GET_SEALS);
  if (seals > 0) {
    Require(fcntl(copy.get(), F_ADD_SEALS, seals) == 0, "seal");
  }
  return copy;
}

bool SameFile(const UniqueFd& a, const UniqueFd& b) {
  struct stat first {};
  struct stat second {};
  return fstat(a.get(), &first) == 0 && fstat(b.get(), &second) == 0 &&
         first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

}  // namespace

class LuoFakeKernel::Session final : public LuoSession {
 public:
  Session(LuoFakeKernel* kernel, UniqueFd fd)
      : kernel_(kernel), fd_(std::move(fd)) {}
  const UniqueFd& fd() const override { return fd_; }
  absl::Status Preserve(const UniqueFd& file, uint64_t token) override {
    const int error = kernel_->Preserve(fd_, file, token);
    if (error == 0) return absl::OkStatus();
    return LuoPreserveError(error, token, file);
  }
  absl::StatusOr<UniqueFd> Retrieve(uint64_t token) override {
    UniqueFd file;
    const int error = kernel_->Retrieve(fd_, token, file);
    if (error != 0) return LuoRetrieveError(error, token);
    return file;
  }
  absl::Status Finish() override {
    const int error = kernel_->Finish(fd_);
    return error == 0 ? absl::OkStatus() : LuoFinishError(error);
  }

 private:
  LuoFakeKernel* const kernel_;
  const UniqueFd fd_;
};

class LuoFakeKernel::Device final : public LuoDevice {
 public:
  Device(LuoFakeKernel* kernel, int boot) : kernel_(kernel), boot_(boot) {}
  ~Device() override { kernel_->CloseDevice(boot_); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  absl::StatusOr<std::unique_ptr<LuoSession>> CreateSession(
      const std::string& name) override {
    UniqueFd fd;
    const int error = kernel_->Create(name, fd);
    if (error != 0) return LuoCreateError(error, name);
    return std::make_unique<Session>(kernel_, std::move(fd));
  }
  absl::StatusOr<std::unique_ptr<LuoSession>> RetrieveSession(
      const std::string& name) override {
    UniqueFd fd;
    const int error = kernel_->RetrieveSession(name, fd);
    if (error != 0) return LuoRetrieveSessionError(error, name);
    return std::make_unique<Session>(kernel_, std::move(fd));
  }

 private:
  LuoFakeKernel* const kernel_;
  const int boot_;
};

absl::StatusOr<std::unique_ptr<LuoDevice>> LuoFakeKernel::OpenDevice() {
  absl::MutexLock lock(&mutex_);
  const int error = open_error_ != 0  ? open_error_
                    : device_is_open_ ? EBUSY
                                      : 0;
  if (error != 0) return LuoOpenError(error, "/dev/liveupdate");
  device_is_open_ = true;
  return std::make_unique<Device>(this, boot_);
}

std::unique_ptr<LuoSession> LuoFakeKernel::AdoptSession(UniqueFd fd) {
  return std::make_unique<Session>(this, std::move(fd));
}

void LuoFakeKernel::CloseDevice(int boot) {
  absl::MutexLock lock(&mutex_);
  if (boot == boot_) device_is_open_ = false;
}

void LuoFakeKernel::Kexec() {
  absl::MutexLock lock(&mutex_);
  Reap();
  std::vector<SessionState> carried;
  for (SessionState& session : sessions_) {
    if (session.incoming) continue;
    SessionState next{.name = session.name, .incoming = true};
    for (const auto& [token, file] : session.files) {
      next.files[token].fd = CopyMemory(file.fd);
    }
    carried.push_back(std::move(next));
  }
  sessions_ = std::move(carried);
  ++boot_;
  device_is_open_ = false;
}

UniqueFd LuoFakeKernel::OpenPipe(SessionState& session) {
  int ends[2];
  Require(pipe2(ends, O_CLOEXEC) == 0, "pipe");
  session.pipe.Reset(ends[0]);
  return UniqueFd(ends[1]);
}

void LuoFakeKernel::Reap() {
  for (size_t i = sessions_.size(); i-- > 0;) {
    const SessionState& session = sessions_[i];
    if (session.incoming && !session.retrieved) continue;
    pollfd end = {.fd = session.pipe.get(), .events = 0, .revents = 0};
    if (poll(&end, 1, 0) == 1 && (end.revents & POLLHUP) != 0) {
      sessions_.erase(sessions_.begin() + static_cast<ptrdiff_t>(i));
    }
  }
}

LuoFakeKernel::SessionState* LuoFakeKernel::Find(const UniqueFd& fd) {
  for (SessionState& session : sessions_) {
    if (session.pipe.ok() && SameFile(session.pipe, fd)) return &session;
  }
  return nullptr;
}

bool LuoFakeKernel::IsPreserved(const UniqueFd& file) const {
  for (const SessionState& session : sessions_) {
    for (const auto& [token, held] : session.files) {
      if (SameFile(held.fd, file)) return true;
    }
  }
  return false;
}

int LuoFakeKernel::Create(const std::string& name, UniqueFd& session) {
  absl::MutexLock lock(&mutex_);
  Reap();
  if (const int error = std::exchange(create_error_, 0); error != 0) {
    return error;
  }
  if (name.empty() || name.size() >= kLuoNameBytes) return EINVAL;
  for (const SessionState& other : sessions_) {
    if (!other.incoming && other.name == name) return EEXIST;
  }
  SessionState& created = sessions_.emplace_back();
  created.name = name;
  session = OpenPipe(created);
  return 0;
}

int LuoFakeKernel::RetrieveSession(const std::string& name, UniqueFd& session) {
  absl::MutexLock lock(&mutex_);
  Reap();
  if (const auto fault = retrieve_session_errors_.find(name);
      fault != retrieve_session_errors_.end()) {
    const int error = fault->second;
    retrieve_session_errors_.erase(fault);
    return error;
  }
  for (SessionState& incoming : sessions_) {
    if (!incoming.incoming || incoming.name != name) continue;
    if (incoming.retrieved) return EINVAL;
    incoming.retrieved = true;
    session = OpenPipe(incoming);
    return 0;
  }
  return ENOENT;
}

int LuoFakeKernel::Preserve(const UniqueFd& session, const UniqueFd& file,
                            uint64_t token) {
  absl::MutexLock lock(&mutex_);
  Reap();
  ++preserve_calls_;
  if (const int error = std::exchange(preserve_error_, 0); error != 0) {
    return error;
  }
  SessionState* state = Find(session);
  if (state == nullptr || state->incoming) return EINVAL;
  struct stat stat {};
  struct statfs file_system {};
  if (fstat(file.get(), &stat) != 0) return EBADF;
  if (state->files.contains(token)) return EEXIST;
  if (!S_ISREG(stat.st_mode) || stat.st_nlink != 0 ||
      fstatfs(file.get(), &file_system) != 0 ||
      file_system.f_type != TMPFS_MAGIC) {
    return ENOENT;
  }
  if (IsPreserved(file)) return EBUSY;
  state->files[token].fd = Duplicate(file);
  return 0;
}

int LuoFakeKernel::Retrieve(const UniqueFd& session, uint64_t token,
                            UniqueFd& file) {
  absl::MutexLock lock(&mutex_);
  Reap();
  SessionState* state = Find(session);
  if (state == nullptr || !state->incoming) return EINVAL;
  const auto found = state->files.find(token);
  if (found == state->files.end()) return ENOENT;
  File& held = found->second;
  if (!held.retrieved && held.sticky_error == 0) {
    const auto fault = retrieve_errors_.find({state->name, token});
    if (fault != retrieve_errors_.end()) held.sticky_error = fault->second;
  }
  if (held.sticky_error != 0) return held.sticky_error;
  held.retrieved = true;
  file = Duplicate(held.fd);
  return 0;
}

int LuoFakeKernel::Finish(const UniqueFd& session) {
  absl::MutexLock lock(&mutex_);
  Reap();
  SessionState* state = Find(session);
  if (state == nullptr || !state->incoming) return EINVAL;
  state->finished = true;
  state->files.clear();
  return 0;
}

std::vector<std::string> LuoFakeKernel::Names(bool incoming) {
  absl::MutexLock lock(&mutex_);
  Reap();
  std::vector<std::string> names;
  for (const SessionState& session : sessions_) {
    if (session.incoming == incoming && !session.finished) {
      names.push_back(session.name);
    }
  }
  return names;
}

std::vector<std::string> LuoFakeKernel::Outgoing() { return Names(false); }
std::vector<std::string> LuoFakeKernel::Incoming() { return Names(true); }

size_t LuoFakeKernel::FileCount() {
  absl::MutexLock lock(&mutex_);
  Reap();
  size_t count = 0;
  for (const SessionState& session : sessions_) count += session.files.size();
  return count;
}

int LuoFakeKernel::preserve_calls() {
  absl::MutexLock lock(&mutex_);
  return preserve_calls_;
}

void LuoFakeKernel::FailOpen(int error) {
  absl::MutexLock lock(&mutex_);
  open_error_ = error;
}
void LuoFakeKernel::FailNextCreate(int error) {
  absl::MutexLock lock(&mutex_);
  create_error_ = error;
}
void LuoFakeKernel::FailNextPreserve(int error) {
  absl::MutexLock lock(&mutex_);
  preserve_error_ = error;
}
void LuoFakeKernel::FailNextRetrieveSession(const std::string& name,
                                            int error) {
  absl::MutexLock lock(&mutex_);
  retrieve_session_errors_[name] = error;
}
void LuoFakeKernel::FailRetrieve(const std::string& session, uint64_t token,
                                 int error) {
  absl::MutexLock lock(&mutex_);
  retrieve_errors_[{session, token}] = error;
}

}  // namespace live_update
