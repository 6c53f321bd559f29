// How long an update of this host will take its VMs' processors away.

#ifndef HOST_UPDATE_PREDICT_H_
#define HOST_UPDATE_PREDICT_H_

#include <string>

#include "absl/container/flat_hash_map.h"
#include "host_update/clock.h"
#include "host_update/dependencies.h"

namespace live_update {

struct BlackoutPrediction {
  double host_s = 0;  // First pause to last VM running. 0: can't be predicted.
  // Of VMs that this host has carried before, by UUID: each one's own.
  absl::flat_hash_map<std::string, double> vms_s;
  std::string basis;  // What `host_s` was taken from, or why it is 0.

  double VmSeconds(const std::string& uuid) const {
    const auto found = vms_s.find(uuid);
    return found == vms_s.end() ? host_s : found->second;
  }
};

// From this host's last successful updates. Where there is none, from how long
// this very boot took to the restorer, and the share that this had in the lab:
// `basis` says so.
BlackoutPrediction PredictBlackout(const Dependencies& deps);

// Keeps, once in a boot, how long it took to `first_line`, the restorer's.
void NoteRestorerStart(const ClockSample& first_line, const Dependencies& deps);

}  // namespace live_update

#endif  // HOST_UPDATE_PREDICT_H_
