// A QEMU that keeps state: it answers the QMP commands of a save and sends its
// channels over real sockets, well-behaved or broken in one way.

#ifndef HOST_UPDATE_QEMU_FAKE_QEMU_H_
#define HOST_UPDATE_QEMU_FAKE_QEMU_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "host_update/qemu/cpr_stream.h"
#include "host_update/qemu/qmp.h"

namespace live_update {

class FakeQemu : public QmpChannel {
 public:
  // What it sends on a descriptor's turn, and when it stops.
  struct Knobs {
    std::vector<CprStreamPiece> cpr_stream;  // Sent as it is.
    size_t fds_per_piece = 1;                // For pieces with a descriptor.
    size_t most_cpr_bytes =
        std::numeric_limits<size_t>::max();  // Then hangs up.
    std::string device_state = "QEVM device state";
    bool stall_before_cpr = false;
    bool stall_before_main = false;
    bool ignore_cancel = false;
    bool complete = true;        // Else stays in "device" after its last byte.
    std::string migrate_error;   // The command fails with it.
    std::string transfer_error;  // Fails so after the cpr channel.
  };

  FakeQemu();
  explicit FakeQemu(Knobs knobs) : knobs_(std::move(knobs)) {}
  ~FakeQemu() override;

  absl::StatusOr<std::string> Execute(const std::string& command,
                                      absl::Time deadline) override;

  // Makes it answer `command` with `reply` in place of its own answer.
  void Answer(const std::string& command, const std::string& reply);

  // As a user would with stop and cont.
  void SetRunState(const std::string& state);

  std::string mode() const;
  std::string run_state() const;
  std::string migration_status() const;
  std::vector<std::string> commands() const;  // Their names, as they came.

  // RAM blocks as Knobs::cpr_stream has them by default.
  static std::vector<CprFd> RamBlocks();

 private:
  absl::StatusOr<std::string> Migrate(const std::string& main_path,
                                      const std::string& cpr_path);
  void SendMain(const std::string& main_path, UniqueFd cpr);
  void StallUntilEnded();
  void End(const std::string& status, const std::string& error);

  Knobs knobs_;
  std::vector<CprFd> ram_;
  std::thread transfer_;
  mutable absl::Mutex mutex_;
  std::string mode_ ABSL_GUARDED_BY(mutex_) = "normal";
  std::string status_ ABSL_GUARDED_BY(mutex_) = "none";
  std::string error_ ABSL_GUARDED_BY(mutex_);
  std::string run_state_ ABSL_GUARDED_BY(mutex_) = "paused";
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, std::string> answers_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> commands_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace live_update

#endif  // HOST_UPDATE_QEMU_FAKE_QEMU_H_
