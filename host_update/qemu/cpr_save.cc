#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "host_update/qemu/cpr_peer.h"
#include "host_update/qemu/cpr_stream.h"

namespace live_update {
namespace {

// How long one wait on a socket may last before QEMU is asked whether it has
// given up: a transfer that failed inside QEMU may never touch our sockets.
constexpr absl::Duration kAskInterval = absl::Milliseconds(200);

// Part of the time until the deadline that is kept for leaving the VM in order
// after a failure.
constexpr absl::Duration kMostTimeToCleanUp = absl::Seconds(2);

absl::Status ReasonOfFailure(const MigrationInfo& info) {
  if (!info.failed()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the transfer ", info.status,
                   info.error.empty() ? "" : absl::StrCat(": ", info.error)));
}

// One save. Its parts run in the order in which they stand here.
class CprSave {
 public:
  CprSave(QmpChannel& channel, const CprSaveOptions& options, WakeUp wake_up,
          absl::Time deadline)
      : qmp_(&channel),
        options_(options),
        main_path_(absl::StrCat(options.directory, "/main")),
        cpr_path_(absl::StrCat(options.directory, "/cpr")),
        wake_up_(std::move(wake_up)),
        deadline_(deadline) {}

  ~CprSave() {
    if (migrate_.joinable()) migrate_.join();
  }

  absl::StatusOr<SavedVm> Run();

 private:
  absl::Status Listen();
  void StartMigrate();
  absl::StatusOr<UniqueFd> Accept(int listener, absl::string_view what);
  absl::StatusOr<std::vector<CprFd>> ReceiveFds();
  absl::StatusOr<std::string> ReceiveDeviceState();
  absl::Status WaitUntilCompleted();
  absl::StatusOr<Received> Receive(int socket, absl::Span<uint8_t> buffer,
                                   absl::string_view what);
  absl::Status FailIfQemuGaveUp();
  // Waits until QEMU has answered `migrate`.
  absl::Status JoinMigrate();
  // OK unless it was woken by a `migrate` that failed: then why.
  absl::Status WhyWoken(const absl::Status& status);

  Qmp qmp_;
  const CprSaveOptions& options_;
  const std::string main_path_;
  const std::string cpr_path_;
  WakeUp wake_up_;
  const absl::Time deadline_;

  UniqueFd main_listener_;
  UniqueFd cpr_listener_;
  std::thread migrate_;
  absl::Status migrate_status_;  // migrate_'s until it has been joined.
  std::atomic<bool> migrate_answered_ = false;
};

absl::Status CprSave::Listen() {
  LU_ASSIGN_OR_RETURN(main_listener_,
                      ListenUnix(main_path_, options_.uid, options_.gid));
  LU_ASSIGN_OR_RETURN(cpr_listener_,
                      ListenUnix(cpr_path_, options_.uid, options_.gid));
  return absl::OkStatus();
}

// QEMU answers `migrate` after it has written the whole cpr stream, which may
// be more than the socket holds: it must be read meanwhile.
void CprSave::StartMigrate() {
  migrate_ = std::thread([this] {
    migrate_status_ = qmp_.Migrate(main_path_, cpr_path_, deadline_);
    if (!migrate_status_.ok()) wake_up_.Set();
    migrate_answered_ = true;
  });
}

absl::Status CprSave::JoinMigrate() {
  migrate_.join();
  return migrate_status_;
}

absl::Status CprSave::WhyWoken(const absl::Status& status) {
  return absl::IsCancelled(status) ? JoinMigrate() : status;
}

absl::Status CprSave::FailIfQemuGaveUp() {
  LU_ASSIGN_OR_RETURN(const MigrationInfo info, qmp_.QueryMigrate(deadline_));
  return ReasonOfFailure(info);
}

absl::StatusOr<UniqueFd> CprSave::Accept(int listener, absl::string_view what) {
  // Until `migrate` has been answered, its failure wakes us, and QEMU must not
  // be asked: it may be waiting for us to read. After that only asking tells.
  while (true) {
    absl::StatusOr<UniqueFd> connection =
        AcceptUnix(listener, what, &wake_up_,
                   std::min(deadline_, absl::Now() + kAskInterval));
    if (connection.ok()) {
      const absl::Status peer =
          CheckPeer(connection->get(), options_.check_peer);
      if (peer.ok()) return connection;
      main_listener_.Reset();  // As in ReceiveFds: before the hang-up.
      return peer;
    }
    if (!absl::IsDeadlineExceeded(connection.status()) ||
        absl::Now() >= deadline_) {
      return WhyWoken(connection.status());
    }
    if (migrate_answered_) LU_RETURN_IF_ERROR(FailIfQemuGaveUp());
  }
}

absl::StatusOr<Received> CprSave::Receive(int socket,
                                          absl::Span<uint8_t> buffer,
                                          absl::string_view what) {
  absl::StatusOr<Received> received =
      ReceiveWithFds(socket, buffer, what, &wake_up_, deadline_);
  if (!received.ok()) return WhyWoken(received.status());
  return received;
}

absl::StatusOr<std::vector<CprFd>> CprSave::ReceiveFds() {
  LU_ASSIGN_OR_RETURN(
      const UniqueFd connection,
      Accept(cpr_listener_.get(), "QEMU to connect its cpr channel"));
  // On failure QEMU must find the main channel closed when `connection` hangs
  // up, or it would send its state and take the VM for handed over.
  absl::Cleanup refuse_main = [this] { main_listener_.Reset(); };
  CprStreamParser parser;
  std::vector<uint8_t> buffer(kMaxCprNameBytes + 4);
  while (true) {
    LU_ASSIGN_OR_RETURN(Received received,
                        Receive(connection.get(),
                                absl::MakeSpan(buffer).first(std::min(
                                    buffer.size(), parser.BytesWanted())),
                                "QEMU's cpr channel"));
    if (received.bytes == 0) {
      absl::StatusOr<std::vector<CprFd>> fds = std::move(parser).Finish();
      // The hang-up that follows tells QEMU to go on.
      if (fds.ok()) std::move(refuse_main).Cancel();
      return fds;
    }
    if (received.fds.size() > 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("cpr stream: ", received.fds.size(),
                       " file descriptors with one byte"));
    }
    LU_RETURN_IF_ERROR(parser.Add(
        absl::MakeConstSpan(buffer).first(received.bytes),
        received.fds.empty() ? UniqueFd() : std::move(received.fds.front())));
  }
}

absl::StatusOr<std::string> CprSave::ReceiveDeviceState() {
  LU_ASSIGN_OR_RETURN(
      const UniqueFd connection,
      Accept(main_listener_.get(), "QEMU to connect its main channel"));
  std::string state;
  std::vector<uint8_t> buffer(size_t{64} << 10);
  while (true) {
    LU_ASSIGN_OR_RETURN(const Received received,
                        Receive(connection.get(), absl::MakeSpan(buffer),
                                "QEMU's main channel"));
    if (received.bytes == 0) return state;
    if (received.bytes > options_.max_device_state_bytes - state.size()) {
      return absl::ResourceExhaustedError(
          absl::StrCat("device state of more than ",
                       options_.max_device_state_bytes, " bytes"));
    }
    state.append(reinterpret_cast<const char*>(buffer.data()), received.bytes);
  }
}

absl::Status CprSave::WaitUntilCompleted() {
  LU_RETURN_IF_ERROR(JoinMigrate());
  absl::Duration pause = absl::Milliseconds(1);
  while (true) {
    LU_ASSIGN_OR_RETURN(const MigrationInfo info, qmp_.QueryMigrate(deadline_));
    LU_RETURN_IF_ERROR(ReasonOfFailure(info));
    if (info.completed()) return absl::OkStatus();
    if (absl::Now() + pause >= deadline_) {
      return absl::DeadlineExceededError(absl::StrCat(
          "waited for the transfer to complete, it is in state ", info.status));
    }
    absl::SleepFor(pause);
    pause = std::min(2 * pause, absl::Milliseconds(20));
  }
}

absl::StatusOr<SavedVm> CprSave::Run() {
  const absl::Cleanup unlink_sockets = [this] {
    (void)unlink(main_path_.c_str());
    (void)unlink(cpr_path_.c_str());
  };
  LU_RETURN_IF_ERROR(Listen());
  LU_RETURN_IF_ERROR(
      qmp_.SetMigrationMode(MigrationMode::kCprTransfer, deadline_));
  StartMigrate();
  SavedVm saved;
  LU_ASSIGN_OR_RETURN(saved.cpr_fds, ReceiveFds());
  LU_ASSIGN_OR_RETURN(saved.device_state, ReceiveDeviceState());
  LU_RETURN_IF_ERROR(WaitUntilCompleted());
  if (saved.device_state.empty()) {
    return absl::DataLossError("QEMU sent no device state");
  }
  return saved;
}

}  // namespace

absl::StatusOr<SavedVm> SaveOverCpr(QmpChannel& channel,
                                    const CprSaveOptions& options,
                                    absl::Time deadline) {
  const absl::Time transfer_deadline =
      deadline - std::clamp((deadline - absl::Now()) / 4, absl::ZeroDuration(),
                            kMostTimeToCleanUp);
  Qmp qmp(&channel);
  LU_ASSIGN_OR_RETURN(const std::string status,
                      qmp.QueryStatus(transfer_deadline));
  if (status != "paused") {
    return absl::FailedPreconditionError(absl::StrCat(
        "only a paused VM can be saved, QEMU is in state ", status));
  }
  LU_ASSIGN_OR_RETURN(WakeUp wake_up, WakeUp::Create());
  absl::StatusOr<SavedVm> saved = [&] {
    // Its end closes all sockets, which makes QEMU give up, and waits for
    // `migrate`.
    return CprSave(channel, options, std::move(wake_up), transfer_deadline)
        .Run();
  }();
  if (saved.ok()) return saved;
  if (const absl::Status ended = qmp.EndMigration(deadline); !ended.ok()) {
    return Annotate(saved.status(),
                    absl::StrCat("QEMU may still be in cpr-transfer (",
                                 ended.message(), ") after"));
  }
  return saved;
}

}  // namespace live_update
