#include "host_update/qemu/fake_qemu.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "host_update/qemu/unix_socket.h"

namespace live_update {
namespace {

constexpr char kOk[] = R"({"return": {}, "id": "libvirt-1"})";

std::string ErrorReply(const std::string& text) {
  return absl::StrCat(R"({"error": {"class": "GenericError", "desc": ")", text,
                      R"("}, "id": "libvirt-1"})");
}

const std::string& Text(const google::protobuf::Struct& object,
                        const std::string& key) {
  return object.fields().at(key).string_value();
}

// One sendmsg(2) with `count` copies of `fd`.
bool Send(int socket, absl::string_view bytes, int fd, size_t count) {
  constexpr size_t kMost = 8;
  iovec data = {.iov_base = const_cast<char*>(bytes.data()),
                .iov_len = bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMost)] = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  count = std::min(count, kMost);
  if (fd >= 0 && count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * count);
    for (size_t i = 0; i < count; ++i) {
      std::memcpy(CMSG_DATA(header) + i * sizeof(int), &fd, sizeof(fd));
    }
  }
  pollfd room = {.fd = socket, .events = POLLOUT, .revents = 0};
  (void)poll(&room, 1, 10'000);
  return sendmsg(socket, &message, MSG_NOSIGNAL) ==
         static_cast<ssize_t>(bytes.size());
}

}  // namespace

std::vector<CprFd> FakeQemu::RamBlocks() {
  std::vector<CprFd> blocks;
  for (const char* name : {"/rom@etc/acpi/tables", "pc.bios", "pc.ram"}) {
    CprFd block;
    block.name = name;
    block.fd = UniqueFd(memfd_create(name, MFD_CLOEXEC));
    if (pwrite(block.fd.get(), name, std::strlen(name), 0) < 0) std::abort();
    blocks.push_back(std::move(block));
  }
  return blocks;
}

FakeQemu::FakeQemu() : ram_(RamBlocks()) {
  knobs_.cpr_stream = SerializeCprStream(ram_).value();
}

FakeQemu::~FakeQemu() {
  {
    const absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (transfer_.joinable()) transfer_.join();
}

void FakeQemu::Answer(const std::string& command, const std::string& reply) {
  const absl::MutexLock lock(&mutex_);
  answers_[command] = reply;
}

void FakeQemu::SetRunState(const std::string& state) {
  const absl::MutexLock lock(&mutex_);
  run_state_ = state;
}

std::string FakeQemu::mode() const {
  const absl::MutexLock lock(&mutex_);
  return mode_;
}

std::string FakeQemu::run_state() const {
  const absl::MutexLock lock(&mutex_);
  return run_state_;
}

std::string FakeQemu::migration_status() const {
  const absl::MutexLock lock(&mutex_);
  return status_;
}

std::vector<std::string> FakeQemu::commands() const {
  const absl::MutexLock lock(&mutex_);
  return commands_;
}

absl::StatusOr<std::string> FakeQemu::Execute(const std::string& command,
                                              absl::Time /*deadline*/) {
  google::protobuf::Struct request;
  if (!google::protobuf::util::JsonStringToMessage(command, &request).ok()) {
    return ErrorReply("JSON parse error");
  }
  const std::string& name = Text(request, "execute");
  const auto arguments = request.fields().find("arguments");
  {
    const absl::MutexLock lock(&mutex_);
    commands_.push_back(name);
    if (const auto answer = answers_.find(name); answer != answers_.end()) {
      return answer->second;
    }
    if (name == "query-status") {
      return absl::StrCat(R"({"return": {"running": false, "status": ")",
                          run_state_, R"("}})");
    }
    if (name == "query-migrate") {
      if (status_ == "none") return std::string(R"({"return": {}})");
      return absl::StrCat(
          R"({"return": {"status": ")", status_, "\"",
          error_.empty() ? ""
                         : absl::StrCat(R"(, "error-desc": ")", error_, "\""),
          "}}");
    }
    if (name == "migrate-set-parameters") {
      mode_ = Text(arguments->second.struct_value(), "mode");
      return std::string(kOk);
    }
    if (name == "migrate_cancel") {
      if (!knobs_.ignore_cancel && status_ != "completed") {
        status_ = "cancelled";
      }
      return std::string(kOk);
    }
    if (name != "migrate") {
      return absl::StrCat(R"({"error": {"class": "CommandNotFound", "desc": )",
                          R"("The command )", name,
                          R"( has not been found"}})");
    }
    if (mode_ != "cpr-transfer") return ErrorReply("mode is not cpr-transfer");
    if (!knobs_.migrate_error.empty()) return ErrorReply(knobs_.migrate_error);
    status_ = "setup";
    error_.clear();
  }
  std::map<std::string, std::string> paths;
  for (const auto& channel : arguments->second.struct_value()
                                 .fields()
                                 .at("channels")
                                 .list_value()
                                 .values()) {
    paths[Text(channel.struct_value(), "channel-type")] =
        Text(channel.struct_value().fields().at("addr").struct_value(), "path");
  }
  return Migrate(paths["main"], paths["cpr"]);
}

// The part before the command is answered, as in QEMU.
absl::StatusOr<std::string> FakeQemu::Migrate(const std::string& main_path,
                                              const std::string& cpr_path) {
  if (transfer_.joinable()) transfer_.join();
  if (knobs_.stall_before_cpr) {
    transfer_ = std::thread([this] { StallUntilEnded(); });
    return std::string(kOk);
  }
  absl::StatusOr<UniqueFd> cpr = ConnectUnix(cpr_path);
  if (!cpr.ok()) {
    End("failed", "cpr");
    return ErrorReply("Failed to connect to the cpr channel");
  }
  size_t sent = 0;
  for (const CprStreamPiece& piece : knobs_.cpr_stream) {
    const absl::string_view bytes =
        absl::string_view(piece.bytes).substr(0, knobs_.most_cpr_bytes - sent);
    if (bytes.empty()) break;
    if (!Send(cpr->get(), bytes, piece.fd, knobs_.fds_per_piece)) {
      End("failed", "send");
      return ErrorReply("vmstate_save_state error -1");
    }
    sent += bytes.size();
  }
  shutdown(cpr->get(), SHUT_WR);
  transfer_ =
      std::thread(&FakeQemu::SendMain, this, main_path, std::move(*cpr));
  return std::string(kOk);
}

void FakeQemu::SendMain(const std::string& main_path, UniqueFd cpr) {
  pollfd hang_up = {.fd = cpr.get(), .events = 0, .revents = 0};
  (void)poll(&hang_up, 1, 10'000);
  if (!knobs_.transfer_error.empty()) {
    End("failed", knobs_.transfer_error);
    return;
  }
  if (knobs_.stall_before_main) {
    StallUntilEnded();
    return;
  }
  absl::StatusOr<UniqueFd> main = ConnectUnix(main_path);
  if (!main.ok()) {
    End("failed", "Failed to connect to the main channel");
    return;
  }
  if (!SendWithFd(main->get(), knobs_.device_state, -1, "main", nullptr,
                  absl::Now() + absl::Seconds(10))
           .ok()) {
    End("failed", "Unable to write to socket: Broken pipe");
    return;
  }
  main->Reset();
  End(knobs_.complete ? "completed" : "device", "");
}

void FakeQemu::StallUntilEnded() {
  const absl::MutexLock lock(&mutex_);
  const auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || status_ == "cancelled";
  };
  mutex_.Await(absl::Condition(&ended));
}

void FakeQemu::End(const std::string& status, const std::string& error) {
  const absl::MutexLock lock(&mutex_);
  if (status_ == "cancelled") return;
  status_ = status;
  error_ = error;
  if (status == "completed") run_state_ = "postmigrate";
}

}  // namespace live_update
