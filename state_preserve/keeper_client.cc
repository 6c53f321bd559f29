#include "state_preserve/keeper_client.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "state_preserve/keeper.h"
#include "state_preserve/keeper_message.h"

namespace live_update {
namespace {

constexpr timeval kTimeout = {10, 0};

// A keeper that ends while we are in its queue hangs up on us; the next try
// finds it gone, or another one.
constexpr int kTries = 3;

absl::Status NoAnswer(int error, const std::string& path) {
  return absl::UnavailableError(absl::StrCat(
      "the keeper at ", path,
      " does not answer: ", error == 0 ? "it hung up" : std::strerror(error)));
}

// kNotFound: nobody listens.
absl::StatusOr<UniqueFd> Connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": too long for a socket's name"));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd.ok()) return absl::ErrnoToStatus(errno, "make a socket");
  // Before connect(), which waits as long if the keeper's queue is full.
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &kTimeout, sizeof(kTimeout));
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kTimeout, sizeof(kTimeout));
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
              sizeof(address)) == 0) {
    return fd;
  }
  if (errno == ENOENT || errno == ECONNREFUSED) {
    return absl::NotFoundError(absl::StrCat("no keeper listens on ", path));
  }
  if (errno == EAGAIN) return NoAnswer(EAGAIN, path);
  return absl::ErrnoToStatus(errno, absl::StrCat("connect to ", path));
}

// False with errno, 0 if the keeper hung up.
bool ReceiveReply(const UniqueFd& socket, KeeperReply& reply, UniqueFd* fd) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec data = {.iov_base = &reply, .iov_len = sizeof(reply)};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t got;
  do {
    got = recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got <= 0) {
    if (got == 0) errno = 0;
    return false;
  }
  UniqueFd received;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_level == SOL_SOCKET &&
      header->cmsg_type == SCM_RIGHTS &&
      header->cmsg_len == CMSG_LEN(sizeof(int))) {
    int raw = -1;
    std::memcpy(&raw, CMSG_DATA(header), sizeof(int));
    received.Reset(raw);
  }
  if (got != sizeof(reply) || reply.magic != kKeeperMagic ||
      (message.msg_flags & MSG_TRUNC) != 0 ||
      reply.name_count > kKeeperNamesPerReply) {
    errno = EPROTO;
    return false;
  }
  if (fd != nullptr) *fd = std::move(received);
  return true;
}

absl::Status ToStatus(int error, absl::string_view name) {
  switch (error) {
    case 0:
      return absl::OkStatus();
    case EMFILE:
    case ENOSPC:
      return absl::ResourceExhaustedError(
          absl::StrCat("the keeper can't hold ", name,
                       ": too many descriptors (", std::strerror(error), ")"));
    case EEXIST:
      return absl::AlreadyExistsError(
          absl::StrCat("the keeper holds a ", name, " already"));
    case ENOENT:
      return absl::NotFoundError(absl::StrCat("the keeper has no ", name));
    default:
      return absl::ErrnoToStatus(error, absl::StrCat("keeper, ", name));
  }
}

}  // namespace

absl::StatusOr<KeeperReply> KeeperClient::Ask(KeeperOperation operation,
                                              absl::string_view name,
                                              int fd_to_send,
                                              UniqueFd* received,
                                              uint32_t first_slot) const {
  KeeperRequest request{};
  request.magic = kKeeperMagic;
  request.operation = operation;
  request.first_slot = first_slot;
  if (name.size() >= sizeof(request.name)) {
    return absl::InvalidArgumentError(
        absl::StrCat("keeper: a name of ", name.size(), " bytes"));
  }
  std::copy(name.begin(), name.end(), request.name);

  int error = 0;
  for (int i = 0; i < kTries; ++i) {
    LU_ASSIGN_OR_RETURN(const UniqueFd socket, Connect(socket_path_));
    KeeperReply reply;
    if (SendWithFd(socket.get(), &request, sizeof(request), fd_to_send) &&
        ReceiveReply(socket, reply, received)) {
      LU_RETURN_IF_ERROR(ToStatus(reply.error, name));
      return reply;
    }
    error = errno;
    if (error != 0 && error != EPIPE && error != ECONNRESET) break;
  }
  return NoAnswer(error, socket_path_);
}

absl::StatusOr<int> KeeperClient::Pid() const {
  LU_ASSIGN_OR_RETURN(const KeeperReply reply, Ask(KeeperOperation::kList, ""));
  return reply.pid;
}

absl::Status KeeperClient::EnsureStarted() const {
  absl::Status running = Pid().status();
  if (!absl::IsNotFound(running)) return running;
  return Annotate(StartKeeper(socket_path_), "start a keeper");
}

absl::Status KeeperClient::Put(absl::string_view name,
                               const UniqueFd& fd) const {
  absl::Status status = Ask(KeeperOperation::kPut, name, fd.get()).status();
  if (absl::IsNotFound(status)) {
    return absl::FailedPreconditionError(status.message());
  }
  return status;
}

absl::StatusOr<UniqueFd> KeeperClient::Get(absl::string_view name) const {
  UniqueFd fd;
  LU_RETURN_IF_ERROR(
      Ask(KeeperOperation::kGet, name, /*fd_to_send=*/-1, &fd).status());
  if (!fd.ok()) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "keeper, ", name, ": no room for another descriptor here"));
  }
  return fd;
}

absl::Status KeeperClient::Drop(absl::string_view name) const {
  const absl::Status status = Ask(KeeperOperation::kDrop, name).status();
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

absl::StatusOr<std::vector<std::string>> KeeperClient::List() const {
  std::vector<std::string> names;
  uint32_t slot = 0;
  while (slot < kKeeperMaxEntries) {
    absl::StatusOr<KeeperReply> reply =
        Ask(KeeperOperation::kList, "", /*fd_to_send=*/-1,
            /*received=*/nullptr, slot);
    if (absl::IsNotFound(reply.status())) break;  // None, or ended since.
    if (!reply.ok()) return reply.status();
    for (uint32_t i = 0; i < reply->name_count; ++i) {
      reply->names[i][kKeeperNameBytes - 1] = '\0';
      names.emplace_back(reply->names[i]);
    }
    if (reply->next_slot <= slot) break;  // It would never end.
    slot = reply->next_slot;
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status KeeperClient::EndIfEmpty() const {
  const absl::Status status = Ask(KeeperOperation::kEndIfEmpty, "").status();
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

}  // namespace live_update
