// What guests are told of an update, and what is put right in them after it:
// through the guest agent, where there is one. Nothing here can fail an update.

#ifndef HOST_UPDATE_GUESTS_H_
#define HOST_UPDATE_GUESTS_H_

#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "host_update/dependencies.h"
#include "host_update/journal.pb.h"
#include "host_update/prepare.h"
#include "host_update/report/report.pb.h"
#include "state_preserve/handover.pb.h"
#include "state_preserve/handover_reader.h"

namespace live_update {

// Has each running guest's own hook run with "notify", all at once, each for no
// longer than deps.limits.guest_hook; notes in `vms` who has an agent and who
// was told, and the latter in `journal`, whose VMs are those of `vms`.
void NotifyGuests(std::vector<PreparedVm>& vms, Journal& journal,
                  const Dependencies& deps);

// The same with "resumed", for those of `journal` that were told.
void TellGuestsOfReturn(const Journal& journal, const Dependencies& deps);

// Puts the wall clock of a restored guest right, unless it is to be left, and
// tells the guest that it runs again. Returns the guest_… fields of its report.
VmReport WakeGuest(const VmRecord& vm, double blackout_s,
                   const Dependencies& deps);

// WakeGuest for all VMs of `report` that are RESTORED, on threads of its own,
// so that a guest that does not answer holds nothing up.
class GuestsWaking {
 public:
  // Begins. `vms`, of which each has the index of its report, and `deps` must
  // outlive this.
  GuestsWaking(const std::vector<std::pair<int, IncomingVm>>& vms,
               const UpdateReport& report, const Dependencies& deps);

  GuestsWaking(const GuestsWaking&) = delete;
  GuestsWaking& operator=(const GuestsWaking&) = delete;

  // Waits for all and adds what came of it to `report`.
  void Finish(UpdateReport& report);

 private:
  std::vector<std::pair<int, VmReport>> guests_;
  std::jthread thread_;
};

}  // namespace live_update

#endif  // HOST_UPDATE_GUESTS_H_
