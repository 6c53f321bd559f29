// QEMU's monitor protocol: the few commands a live update needs, as typed calls
// over whatever carries them (libvirt's monitor passthrough, a socket, a fake).
//
// Commands and replies are as in QEMU's qapi/*.json of 10.0. Replies are
// foreign bytes: their size is limited, and what is missing or of another type
// is an error, never a default.

#ifndef HOST_UPDATE_QEMU_QMP_H_
#define HOST_UPDATE_QEMU_QMP_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/struct.pb.h"

namespace live_update {

inline constexpr size_t kMaxQmpReplyBytes = 1 << 20;

// May be used by several threads at once.
class QmpChannel {
 public:
  virtual ~QmpChannel() = default;

  // Sends one command to QEMU and returns its reply, both as JSON. Returns by
  // `deadline`; after kDeadlineExceeded the command may still take effect.
  virtual absl::StatusOr<std::string> Execute(const std::string& command,
                                              absl::Time deadline) = 0;
};

// The value of "return" in a reply. An error reply becomes a status with QEMU's
// text: kNotFound for class DeviceNotFound, kUnimplemented for CommandNotFound,
// else kFailedPrecondition. kInternal: not a reply at all.
absl::StatusOr<google::protobuf::Value> ParseQmpReply(absl::string_view reply);

enum class MigrationMode { kNormal, kCprTransfer };

// What query-migrate says.
struct MigrationInfo {
  std::string status;  // "none", "setup", "active", "completed", "failed", ….
  std::string error;   // QEMU's reason, if it failed.
  // Why the VM can't be migrated in the mode that is set now.
  std::vector<std::string> blocked_reasons;

  bool completed() const { return status == "completed"; }
  bool failed() const { return status == "failed" || status == "cancelled"; }
  // Neither ended nor not begun.
  bool under_way() const {
    return !completed() && !failed() && status != "none";
  }
};

// A memory backend as query-memdev has it.
struct MemoryBackend {
  std::string id;  // "pc.ram", "ram-node0", ….
  uint64_t size_bytes = 0;
  bool shared = false;
};

// A RAM block's place in QEMU's address space, of x-query-ramblock.
// Not RamBlock: that is the handover's message, in the same namespace.
struct QemuRamBlock {
  std::string name;
  uint64_t size_bytes = 0;
  uint64_t address = 0;
};

// The texts of the commands, and what their replies say.
std::string SetMigrationModeCommand(MigrationMode mode);
std::string MigrateCommand(absl::string_view main_socket,
                           absl::string_view cpr_socket);
absl::StatusOr<MigrationInfo> ParseMigrationInfo(absl::string_view reply);
absl::StatusOr<std::vector<MemoryBackend>> ParseMemoryBackends(
    absl::string_view reply);
absl::StatusOr<std::vector<QemuRamBlock>> ParseRamBlocks(
    absl::string_view reply);
absl::StatusOr<std::vector<std::string>> ParseBlockJobs(
    absl::string_view reply);
absl::StatusOr<std::string> ParseVersion(absl::string_view reply);

// The value of QEMU's option -incoming that makes it wait at `socket` for the
// cpr channel.
std::string IncomingCprChannel(absl::string_view socket);

// The commands as calls. Does not own the channel. Errors of a call are those
// of the channel, QEMU's own, or kInternal for a reply that can't be
// understood; the command's name stands before the message.
class Qmp {
 public:
  explicit Qmp(QmpChannel* channel) : channel_(channel) {}

  absl::Status SetMigrationMode(MigrationMode mode, absl::Time deadline);

  // Returns when QEMU has sent the cpr channel; the main one follows.
  absl::Status Migrate(absl::string_view main_socket,
                       absl::string_view cpr_socket, absl::Time deadline);
  absl::Status CancelMigration(absl::Time deadline);
  absl::StatusOr<MigrationInfo> QueryMigrate(absl::Time deadline);

  // "running", "paused", "postmigrate", ….
  absl::StatusOr<std::string> QueryStatus(absl::Time deadline);
  // "10.0.2"
  absl::StatusOr<std::string> QueryVersion(absl::Time deadline);
  absl::StatusOr<std::vector<MemoryBackend>> QueryMemoryBackends(
      absl::Time deadline);
  absl::StatusOr<std::vector<QemuRamBlock>> QueryRamBlocks(absl::Time deadline);
  // Of running jobs: "backup of drive-virtio-disk0".
  absl::StatusOr<std::vector<std::string>> QueryBlockJobs(absl::Time deadline);

  // kNotFound or kFailedPrecondition: no such object or property.
  absl::StatusOr<std::string> GetString(absl::string_view path,
                                        absl::string_view property,
                                        absl::Time deadline);
  absl::StatusOr<bool> GetBool(absl::string_view path,
                               absl::string_view property, absl::Time deadline);

  // Five rounds of gratuitous ARP from every NIC, over about one second.
  absl::Status AnnounceSelf(absl::Time deadline);

  // For a guest whose clock was set: ticks of the RTC that it missed are not
  // delivered late. kUnimplemented: a machine without such an RTC.
  absl::Status ForgetMissedRtcTicks(absl::Time deadline);

  // Cancels a migration that is under way and waits until it is over; puts the
  // mode back to normal. What is left: a VM that can be resumed.
  absl::Status EndMigration(absl::Time deadline);

 private:
  absl::StatusOr<std::string> Execute(absl::string_view name,
                                      const std::string& command,
                                      absl::Time deadline);
  absl::Status ExecuteForNothing(absl::string_view name,
                                 const std::string& command,
                                 absl::Time deadline);
  absl::StatusOr<google::protobuf::Value> GetProperty(
      absl::string_view path, absl::string_view property, absl::Time deadline);

  QmpChannel* const channel_;
};

}  // namespace live_update

#endif  // HOST_UPDATE_QEMU_QMP_H_
