// One fault, armed by the environment: HOST_UPDATE_FAULT=POINT:ACTION.
//
//   POINT   a phase (prepare, pause, save, commit, jump, restore, resume), met
//           on entering it; or CALL@VM with CALL one of pause, save, end,
//           restore
//   ACTION  error   an absl::InternalError
//           kill    SIGKILL of this process
//           stall   nothing until the deadline (a phase: for ever)
//           delay   nothing for 30 s, then goes on
//
// Only the test build has this (//testing/faults:host-update-faulty).

#ifndef TESTING_FAULTS_FAULT_H_
#define TESTING_FAULTS_FAULT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace live_update::testing {

struct Fault {
  std::string point;  // Empty: no fault.
  std::string action;
};

// kInvalidArgument: not POINT:ACTION.
absl::StatusOr<Fault> ParseFault(absl::string_view text);

// What happens at `point`: OK unless `fault` is armed for it.
absl::Status MeetFault(const Fault& fault, absl::string_view point,
                       absl::Time deadline);

}  // namespace live_update::testing

#endif  // TESTING_FAULTS_FAULT_H_
