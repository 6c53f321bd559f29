// A Live Update Orchestrator for tests: has the kernel's state and rules, on
// real memfds.
//
// A session's descriptor is the write end of a pipe of which the fake has the
// read end. So it can be duplicated and sent to other processes like the real
// one, and the fake sees when the last duplicate is closed, wherever it was.

#ifndef STATE_PRESERVE_LUO_FAKE_KERNEL_H_
#define STATE_PRESERVE_LUO_FAKE_KERNEL_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "state_preserve/luo_device.h"

namespace live_update {

// Devices and sessions must not outlive it.
class LuoFakeKernel final : public LuoKernel {
 public:
  absl::StatusOr<std::unique_ptr<LuoDevice>> OpenDevice() override;
  std::unique_ptr<LuoSession> AdoptSession(UniqueFd fd) override;

  // The next kernel. Outgoing sessions that are held open become incoming ones,
  // their files copies with the same contents: other inodes, as in the real
  // kernel. Incoming ones are not carried on. Devices and sessions from before
  // are of no use after it.
  void Kexec();

  // What the kernel has of sessions, by name, after the closed ones are gone.
  std::vector<std::string> Outgoing();
  std::vector<std::string> Incoming();
  // Files that it holds: of outgoing and unfinished incoming sessions.
  size_t FileCount();
  // Calls to Preserve that reached the kernel.
  int preserve_calls();

  // --- Faults; `error` is an errno ---

  void FailOpen(int error);  // Always; 0: no more.
  void FailNextCreate(int error);
  void FailNextPreserve(int error);
  void FailNextRetrieveSession(const std::string& name, int error);
  // The first retrieve of this file fails, and all later ones do.
  void FailRetrieve(const std::string& session, uint64_t token, int error);

 private:
  class Device;
  class Session;

  struct File {
    UniqueFd fd;
    int sticky_error = 0;
    bool retrieved = false;
  };
  struct SessionState {
    std::string name;
    bool incoming = false;
    bool retrieved = false;  // Incoming: has a pipe.
    bool finished = false;
    UniqueFd pipe;
    std::map<uint64_t, File> files;
  };

  UniqueFd OpenPipe(SessionState& session)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ends the sessions that nobody holds any more.
  void Reap() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Null: not a session of this kernel.
  SessionState* Find(const UniqueFd& fd) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsPreserved(const UniqueFd& file) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<std::string> Names(bool incoming);

  // The calls, as errno values.
  int Create(const std::string& name, UniqueFd& session);
  int RetrieveSession(const std::string& name, UniqueFd& session);
  int Preserve(const UniqueFd& session, const UniqueFd& file, uint64_t token);
  int Retrieve(const UniqueFd& session, uint64_t token, UniqueFd& file);
  int Finish(const UniqueFd& session);
  void CloseDevice(int boot);

  absl::Mutex mutex_;
  int boot_ ABSL_GUARDED_BY(mutex_) = 0;
  bool device_is_open_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<SessionState> sessions_ ABSL_GUARDED_BY(mutex_);
  int preserve_calls_ ABSL_GUARDED_BY(mutex_) = 0;
  int open_error_ ABSL_GUARDED_BY(mutex_) = 0;
  int create_error_ ABSL_GUARDED_BY(mutex_) = 0;
  int preserve_error_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, int> retrieve_session_errors_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<std::string, uint64_t>, int> retrieve_errors_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace live_update

#endif  // STATE_PRESERVE_LUO_FAKE_KERNEL_H_
