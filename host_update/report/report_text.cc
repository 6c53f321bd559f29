#include "host_update/report/report_text.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace live_update {
namespace {

std::string Bytes(uint64_t bytes) {
  if (bytes < 10'000) return absl::StrCat(bytes, " B");
  if (bytes < (uint64_t{10} << 20)) {
    return absl::StrFormat("%.0f KiB", static_cast<double>(bytes) / 1024);
  }
  return absl::StrFormat("%.0f MiB",
                         static_cast<double>(bytes) / (1024 * 1024));
}

const char* SeverityWord(Finding::Severity severity) {
  switch (severity) {
    case Finding::OK:
      return " ok   ";
    case Finding::WARNING:
      return " warn ";
    default:
      return " ERROR";
  }
}

const char* ResultSentence(UpdateReport::Result result) {
  switch (result) {
    case UpdateReport::UPDATED:
      return "updated: every VM runs on";
    case UpdateReport::PARTIAL:
      return "updated, but not every VM is restored";
    case UpdateReport::HANDOVER_REFUSED:
      return "new kernel, but the handover was refused: no VM was restored";
    case UpdateReport::LOST:
      return "the host went down in it, and its VMs are lost";
    case UpdateReport::FAILED_UNHARMED:
      return "failed before the kexec: every VM runs as before";
    case UpdateReport::FAILED_RESUME:
      return "failed before the kexec, and a VM does not run as before";
    case UpdateReport::PREPARED:
      return "prepared, and taken back: nothing stands in the way of an update";
    default:
      return "unknown";
  }
}

// How the guest's wall clock stands. Empty: nothing is known.
std::string GuestClockText(const VmReport& vm) {
  std::string text;
  if (vm.guest_clock() == "set") {
    text = absl::StrFormat("guest clock set: it was %.2f s behind",
                           vm.guest_clock_lag_s());
  } else if (vm.guest_clock() == "right") {
    text = "guest clock is right";
  } else if (vm.guest_clock() == "left") {
    text = "guest clock left as it is, as asked: it lags by the blackout";
  } else if (vm.guest_clock() == "lagging") {
    text = absl::StrFormat("guest clock lags by %.2f s: %s",
                           vm.guest_clock_lag_s(), vm.guest_agent());
  } else {
    return "";
  }
  for (const std::string& word : vm.guest_told()) {
    absl::StrAppend(&text, "; guest's hook ran: ", word);
  }
  return absl::StrCat("      ", text, "\n");
}

const char* ResultSentence(const RestartReport& report) {
  switch (report.result()) {
    case RestartReport::RESTARTED:
      return report.rehearsal() ? "it went over into a new QEMU and runs on"
                                : "every VM runs on in a new QEMU";
    case RestartReport::UNHARMED:
      return "not every VM went into a new QEMU; the others run as before";
    case RestartReport::VM_NOT_BACK:
      return "A VM DOES NOT RUN";
    case RestartReport::STOPPED:
      return "stopped on request; every VM runs";
    default:
      return "unknown";
  }
}

std::string VmText(const VmReport& vm) {
  if (vm.result() != VmReport::RESTORED) {
    return absl::StrCat("  ", vm.name(), ": NOT RESTORED: ", vm.reason(), "\n",
                        "      ", vm.next_step(), "\n");
  }
  if (!vm.way().empty() && vm.way() != "in-place") {
    return absl::StrFormat("  %-16s blackout %7.2f s   by %s, start %.2f\n",
                           vm.name(), vm.blackout_s(), vm.way(),
                           vm.restore_s());
  }
  std::string text = absl::StrFormat(
      "  %-16s blackout %7.2f s   pause %.2f  save %.2f  restore %.2f  resume "
      "%.2f\n      state %s + %s of small blocks; RAM %s, copied: %d B\n",
      vm.name(), vm.blackout_s(), vm.pause_s(), vm.save_s(), vm.restore_s(),
      vm.resume_s(), Bytes(vm.device_state_bytes()),
      Bytes(vm.auxiliary_bytes()), Bytes(vm.ram_bytes()),
      vm.ram_bytes_copied());
  if (vm.ram_resident_bytes() != 0) {
    absl::StrAppend(&text, "      in huge pages: ", Bytes(vm.ram_huge_bytes()),
                    " of ", Bytes(vm.ram_resident_bytes()),
                    " of resident RAM, before the pause\n");
  }
  if (!vm.ram_digests().empty()) {
    absl::StrAppendFormat(
        &text,
        "      RAM as before by its digests: %s; took %.3f s before, %.3f s "
        "after\n",
        vm.ram_digests(), vm.digest_before_s(), vm.digest_after_s());
  }
  for (const std::string& line : vm.ram_proof()) {
    absl::StrAppend(&text, "      ", line, "\n");
  }
  absl::StrAppend(&text, GuestClockText(vm));
  return text;
}

double PercentOf(double part, double whole) {
  return whole > 0 ? 100 * part / whole : 0;
}

std::string RescueText(const UpdateReport& report) {
  const UpdateReport::Rescue& rescue = report.rescue();
  if (!rescue.crashed_kernel().empty()) {
    return absl::StrCat(
        "  RESCUE: ", rescue.crashed_kernel(),
        " crashed before all VMs ran in it; ", rescue.kernel(),
        " has taken over, in no memory but what crashkernel= had set aside: "
        "move or shut down the VMs, then reboot the host cold\n");
  }
  if (!rescue.armed()) {
    return absl::StrCat("  no rescue kernel: ", rescue.reason(), "\n");
  }
  return absl::StrFormat(
      "  a crash would have led back into %s for %.2f s of the %.2f s from the "
      "jump to the last VM's resume (%.0f %%; %.0f %% of the blackout)%s\n",
      rescue.kernel(), rescue.covered_s(), rescue.new_kernel_s(),
      PercentOf(rescue.covered_s(), rescue.new_kernel_s()),
      PercentOf(rescue.covered_s(), report.host_blackout_s()),
      rescue.watchdog_s() > 0
          ? absl::StrCat("; so would a hang of ", rescue.watchdog_s(), " s")
          : "");
}

}  // namespace

std::string CheckText(const CheckReport& check) {
  std::string text;
  int errors = 0;
  int warnings = 0;
  int overridden = 0;
  size_t subject_width = 4;
  for (const Finding& finding : check.findings()) {
    subject_width = std::max(subject_width, finding.subject().size());
  }
  for (const Finding& finding : check.findings()) {
    absl::StrAppendFormat(&text, "%s %-20s %-*s  %s\n",
                          SeverityWord(finding.severity()), finding.code(),
                          static_cast<int>(std::min<size_t>(subject_width, 40)),
                          finding.subject(), finding.message());
    if (!finding.remedy().empty()) {
      absl::StrAppend(&text, "        fix: ", finding.remedy(), "\n");
    }
    errors += finding.severity() == Finding::ERROR ? 1 : 0;
    warnings += finding.severity() == Finding::WARNING ? 1 : 0;
    overridden += finding.overridden() ? 1 : 0;
  }
  absl::StrAppendFormat(&text, "%s: %d errors, %d warnings",
                        check.go() ? "Go" : "No-go", errors, warnings);
  if (overridden > 0) {
    absl::StrAppendFormat(&text, ", %d of them overridden errors", overridden);
  }
  absl::StrAppend(&text, ".\n");
  return text;
}

std::string PlanText(const UpdatePlan& plan) {
  std::string text =
      absl::StrCat("Into ", plan.kernel(), "\n  initrd  ", plan.initrd(),
                   "\n  command line  ", plan.command_line(), "\n");
  for (const auto& vm : plan.vms()) {
    absl::StrAppendFormat(&text, "  %-16s %s, %s", vm.name(), vm.way(),
                          Bytes(vm.ram_bytes()));
    if (vm.predicted_blackout_s() > 0) {
      absl::StrAppendFormat(&text, ", stands still for about %.1f s",
                            vm.predicted_blackout_s());
    }
    absl::StrAppend(&text, vm.why().empty() ? "" : "; ", vm.why(), "\n");
    if (!vm.choices().empty()) {
      absl::StrAppend(&text, "      can be carried by: ",
                      absl::StrJoin(vm.choices(), ", "), "\n");
    }
  }
  for (const std::string& step : plan.steps()) {
    absl::StrAppend(&text, step, "\n");
  }
  for (const UpdatePlan::Hook& hook : plan.hooks()) {
    absl::StrAppendFormat(&text, "Hook %s/%s, at most %.0f s\n", hook.when(),
                          hook.name(), hook.limit_s());
  }
  if (plan.predicted_blackout_s() > 0) {
    absl::StrAppendFormat(&text, "Predicted blackout %.1f s: %s.\n",
                          plan.predicted_blackout_s(), plan.prediction_basis());
  } else {
    absl::StrAppend(&text, "Blackout not predicted: ", plan.prediction_basis(),
                    ".\n");
  }
  absl::StrAppend(&text, "Plan ", plan.plan_hash(), "\n");
  return text;
}

std::string CheckAndPlanText(const UpdatePlan& plan) {
  return absl::StrCat(CheckText(plan.check()), PlanText(plan));
}

std::string ReportText(const UpdateReport& report) {
  std::string text =
      absl::StrFormat("Update %s, begun %s: %s\n", report.update_id(),
                      report.started_at(), ResultSentence(report.result()));
  if (!report.reason().empty()) {
    absl::StrAppend(&text, "  reason: ", report.reason(), "\n");
  }
  if (!report.failed_phase().empty()) {
    absl::StrAppend(&text, "  in phase: ", report.failed_phase(), "\n");
  }
  absl::StrAppendFormat(&text, "  kernel %s -> %s\n  boot   %s -> %s\n",
                        report.kernel_before(), report.kernel_after(),
                        report.boot_id_before(), report.boot_id_after());
  if (report.host_blackout_s() > 0) {
    absl::StrAppendFormat(
        &text,
        "  host blackout %.2f s (first pause to last VM running), clock over "
        "the jump: %s, put right by %+.3f s\n",
        report.host_blackout_s(), report.clock_bridge(), report.clock_step_s());
  }
  for (const PhaseSpan& span : report.phases()) {
    absl::StrAppendFormat(&text, "  %-8s at %8.3f s  took %8.3f s\n",
                          span.phase(), span.start_s(), span.duration_s());
  }
  if (report.handover_version() != 0) {
    absl::StrAppendFormat(
        &text, "  handover of version %d, %s\n", report.handover_version(),
        report.handover_key_id().empty()
            ? "not authenticated"
            : "authenticated with the key of id " + report.handover_key_id());
  }
  for (const Finding& finding : report.findings()) {
    absl::StrAppend(&text, "  ", finding.code(), " ", finding.subject(), ": ",
                    finding.message(), "\n");
  }
  if (report.has_rescue()) absl::StrAppend(&text, RescueText(report));
  for (const VmReport& vm : report.vms()) absl::StrAppend(&text, VmText(vm));
  return text;
}

std::string StatusText(const HostStatus& status) {
  std::string text =
      absl::StrCat("Host   running ", status.kernel(),
                   status.kernel_staged() ? ", A KERNEL IS STAGED FOR KEXEC\n"
                                          : ", no kernel staged\n",
                   "Update ", status.phase(), "\n");
  if (status.interrupted()) {
    absl::StrAppend(&text,
                    "       it was cut off and is not taken back: give "
                    "`host-update abort`\n");
  }
  for (const auto& vm : status.unrestored()) {
    absl::StrAppend(&text, "VM     ", vm.name(),
                    " is not restored: ", vm.next_step(), "\n");
  }
  for (const auto& vm : status.vms()) {
    absl::StrAppendFormat(&text, "VM     %-16s %s\n", vm.name(), vm.state());
  }
  if (status.has_last_update()) {
    const UpdateReport& last = status.last_update();
    absl::StrAppendFormat(&text, "Last   %s %s -> %s  %s\n", last.started_at(),
                          last.kernel_before(), last.kernel_after(),
                          ResultSentence(last.result()));
  } else {
    absl::StrAppend(&text, "Last   no update on record\n");
  }
  return text;
}

std::string RestartText(const RestartReport& report) {
  std::string text = absl::StrFormat(
      "%s %s, begun %s: %s\n", report.rehearsal() ? "Rehearsal" : "Restart",
      report.restart_id(), report.started_at(), ResultSentence(report));
  if (!report.reason().empty()) {
    absl::StrAppend(&text, "  reason: ", report.reason(), "\n");
  }
  for (const RestartedVm& vm : report.vms()) {
    const std::string& name = vm.vm().name();
    switch (vm.result()) {
      case RestartedVm::RESTARTED:
        absl::StrAppend(&text, VmText(vm.vm()));
        absl::StrAppendFormat(
            &text,
            "      QEMU %s, process %d -> QEMU %s, process %d; the old one "
            "took %.2f s to end\n",
            vm.qemu_before(), vm.pid_before(), vm.qemu_after(), vm.pid_after(),
            vm.end_s());
        break;
      case RestartedVm::NOT_BACK:
        absl::StrAppend(&text, "  ", name, ": NOT BACK: ", vm.reason(),
                        "\n      next: ", vm.vm().next_step(), "\n");
        break;
      case RestartedVm::REFUSED:
        absl::StrAppend(&text, "  ", name, ": left alone: ", vm.reason(), "\n");
        break;
      default:
        absl::StrAppend(&text, "  ", name, ": runs on as before: ", vm.reason(),
                        "\n");
        break;
    }
    for (const Finding& finding : vm.findings()) {
      absl::StrAppend(&text, "      ", SeverityWord(finding.severity()), " ",
                      finding.code(), ": ", finding.message(), "\n");
      if (!finding.remedy().empty()) {
        absl::StrAppend(&text, "        fix: ", finding.remedy(), "\n");
      }
    }
  }
  return text;
}

std::string EnableText(const EnableReport& report) {
  return absl::StrCat(report.diff(), report.vm(), ": ", report.takes_effect(),
                      "\n");
}

}  // namespace live_update
