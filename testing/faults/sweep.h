// The sweep: an update of a host of fakes (testing/fake_host.h) for each fault
// there is, and what became of the VMs. The preserved memory is a real backend;
// the hypervisor, the kernel's orchestrator and the jump are fakes, and a
// process that is killed is one that never does anything again.

#ifndef TESTING_FAULTS_SWEEP_H_
#define TESTING_FAULTS_SWEEP_H_

#include <string>
#include <vector>

#include "testing/fake_host.h"
#include "testing/faults/fault.h"

namespace live_update::testing {

// How a run ended, as the VMs show it. README.md in this folder has what each
// means.
enum class Outcome {
  kAllOnOld,
  kAllOnNew,
  kReportedRecoverable,
  kReportedLost,
  kLostSilently,
  kUnclear,
};

absl::string_view OutcomeName(Outcome outcome);

struct SweepCase {
  FakeHost::Backend backend = FakeHost::Backend::kDirectory;
  int vms = 1;
  Fault fault;
};

struct SweepRow {
  std::string name;  // "dax/3/save@vm2:eio"
  Outcome outcome = Outcome::kUnclear;
  std::string detail;  // What was said of VMs that were not as before.
};

// Every point with every action that has a meaning there, for one VM and for
// three (and one of another way), with both backends.
std::vector<SweepCase> AllSweepCases();

std::string CaseName(const SweepCase& sweep_case);
SweepRow RunSweepCase(const SweepCase& sweep_case);

}  // namespace live_update::testing

#endif  // TESTING_FAULTS_SWEEP_H_
