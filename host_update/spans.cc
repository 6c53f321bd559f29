#include "host_update/spans.h"

#include <algorithm>
#include <string>

#include "host_update/clock.h"

namespace live_update {
namespace {

constexpr double kNanosPerSecond = 1e9;

}  // namespace

SpanClock::SpanClock(const HostRecord& record, const ClockSample& first_line,
                     Clock& clock)
    : clock_(clock),
      started_tsc_(record.started_tsc()),
      tsc_hz_(record.tsc_hz()),
      first_line_boottime_ns_(first_line.boottime_ns()),
      first_line_s_(
          OldKernel(record.committed_at().tsc()) +
          BridgeClocks(record.committed_at(), record.tsc_hz(), first_line)
              .seconds) {}

double SpanClock::OldKernel(uint64_t tsc) const {
  if (tsc_hz_ <= 0 || tsc < started_tsc_) return 0;
  return static_cast<double>(tsc - started_tsc_) / tsc_hz_;
}

double SpanClock::Now() const {
  return first_line_s_ + static_cast<double>(clock_.Sample().boottime_ns() -
                                             first_line_boottime_ns_) /
                             kNanosPerSecond;
}

UpdateReport BeginReport(const HostRecord& record, const HostFacts& host) {
  UpdateReport report;
  report.set_update_id(record.update_id());
  report.set_started_at(record.started_at());
  report.set_kernel_before(record.kernel_release());
  report.set_boot_id_before(record.boot_id());
  report.set_kernel_after(host.kernel_release);
  report.set_boot_id_after(host.boot_id);
  for (const OverriddenFinding& kept : record.overridden()) {
    Finding& finding = *report.add_findings();
    finding.set_code(kept.code());
    finding.set_severity(Finding::WARNING);
    finding.set_overridden(true);
    finding.set_subject(kept.subject());
    finding.set_message(kept.message());
    finding.set_remedy(kept.remedy());
  }
  return report;
}

void AddOldKernelSpans(const HostRecord& record, const SpanClock& clock,
                       UpdateReport& report) {
  const uint64_t committed = record.committed_at().tsc();
  for (const RecordedSpan& span : record.spans()) {
    PhaseSpan& phase = *report.add_phases();
    phase.set_phase(span.phase());
    phase.set_start_s(clock.OldKernel(span.start_tsc()));
    // The phase in which the image was written ends with it.
    const uint64_t end = span.end_tsc() != 0 ? span.end_tsc() : committed;
    phase.set_duration_s(clock.OldKernel(end) - phase.start_s());
  }
  AddSpan(Phase::kJump, clock.OldKernel(committed), clock.FirstLine(), report);
}

void ConcludeReport(UpdateReport& report) {
  // VMs were saved, and so are listed, in the order in which they were ready.
  std::sort(report.mutable_vms()->pointer_begin(),
            report.mutable_vms()->pointer_end(),
            [](const VmReport* a, const VmReport* b) {
              return a->name() < b->name();
            });
  const bool all = std::all_of(
      report.vms().begin(), report.vms().end(),
      [](const VmReport& vm) { return vm.result() == VmReport::RESTORED; });
  report.set_result(all ? UpdateReport::UPDATED : UpdateReport::PARTIAL);
  double start = 0;
  double end = 0;
  for (const PhaseSpan& span : report.phases()) {
    if (span.phase() == PhaseName(Phase::kPause)) start = span.start_s();
    if (span.phase() == PhaseName(Phase::kRestore)) {
      end = span.start_s() + span.duration_s();
    }
  }
  report.set_host_blackout_s(end - start);
}

void AddSpan(Phase phase, double start_s, double end_s, UpdateReport& report) {
  PhaseSpan& span = *report.add_phases();
  span.set_phase(std::string(PhaseName(phase)));
  span.set_start_s(start_s);
  span.set_duration_s(end_s - start_s);
}

}  // namespace live_update
