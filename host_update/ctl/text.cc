#include "host_update/ctl/text.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "host_update/phase.h"
#include "host_update/report/report_json.h"
#include "host_update/report/report_text.h"

namespace live_update::ctl {
namespace {

using Row = std::vector<std::string>;

// Columns as wide as their widest cell; the last one is not padded.
std::string Table(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows[0].size());
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string text;
  for (const Row& row : rows) {
    for (size_t i = 0; i + 1 < row.size(); ++i) {
      absl::StrAppendFormat(&text, "%-*s  ", static_cast<int>(widths[i]),
                            row[i]);
    }
    absl::StrAppend(&text, row.back(), "\n");
  }
  return text;
}

std::string OneLine(std::string text) {
  for (char& c : text) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) c = ' ';
  }
  return text;
}

std::string Dash(const std::string& text) {
  return text.empty() ? "-" : OneLine(text);
}

std::string KindWord(v1::Operation::Kind kind) {
  return absl::AsciiStrToLower(v1::Operation::Kind_Name(kind));
}

std::string StateWord(v1::Operation::State state) {
  return absl::AsciiStrToLower(v1::Operation::State_Name(state));
}

}  // namespace

std::string HostText(const v1::HostInfo& info) {
  std::string text = StatusText(info.status());
  absl::StrAppend(&text, "Daemon hostupdated ", info.version(), ", ",
                  info.running_operation().empty()
                      ? "no operation runs\n"
                      : absl::StrCat("operation ", info.running_operation(),
                                     " runs: hostupdatectl watch\n"));
  return text;
}

std::string VmsText(const v1::ListVmsResponse& vms) {
  if (vms.vms().empty()) return "No VMs.\n";
  std::vector<Row> rows = {{"NAME", "STATE", "WAY", "UUID"}};
  std::string blockers;
  for (const auto& vm : vms.vms()) {
    rows.push_back(
        {OneLine(vm.name()), vm.state(), Dash(vm.way()), Dash(vm.uuid())});
    for (const Finding& finding : vm.blockers()) {
      absl::StrAppend(&blockers, OneLine(vm.name()), ": ", finding.code(), " ",
                      OneLine(finding.message()),
                      "\n    fix: ", Dash(finding.remedy()), "\n");
    }
  }
  return absl::StrCat(Table(rows), blockers);
}

std::string HistoryText(const v1::ListOperationsResponse& history) {
  if (history.operations().empty()) return "No operations on record.\n";
  std::vector<Row> rows = {
      {"STARTED", "ID", "KIND", "STATE", "EXIT", "BY", "OF", "REASON"}};
  for (const v1::Operation& operation : history.operations()) {
    const bool runs = operation.state() == v1::Operation::RUNNING;
    rows.push_back({operation.started_at(), operation.id(),
                    KindWord(operation.kind()), StateWord(operation.state()),
                    runs ? "-" : absl::StrCat(operation.exit_code()),
                    Dash(operation.requested_by()),
                    Dash(operation.vm().empty() ? operation.target().kernel()
                                                : operation.vm()),
                    Dash(operation.reason())});
  }
  return Table(rows);
}

std::string PhaseText(absl::string_view phase) {
  constexpr int kPhases = static_cast<int>(Phase::kSettle) + 1;
  for (int i = 0; i < kPhases; ++i) {
    if (PhaseName(static_cast<Phase>(i)) == phase) {
      return absl::StrFormat("[%d/%d] %s", i + 1, kPhases, phase);
    }
  }
  return OneLine(std::string(phase));
}

std::string EventText(const v1::Event& event) {
  return absl::StrFormat("%s %-13s %s\n", event.time(),
                         PhaseText(event.phase()), OneLine(event.message()));
}

std::string ProgressText(const v1::Event& event, size_t columns) {
  std::string text = absl::StrFormat("%-13s %s", PhaseText(event.phase()),
                                     OneLine(event.message()));
  size_t end = std::min(columns, text.size());
  // Not in the middle of a UTF-8 sequence.
  while (end > 0 && end < text.size() && (text[end] & 0xc0) == 0x80) --end;
  text.resize(end);
  return text;
}

std::string OperationText(const v1::Operation& operation) {
  if (operation.has_report()) return ReportText(operation.report());
  if (operation.has_restart()) return RestartText(operation.restart());
  std::string text = absl::StrCat(
      "Operation ", operation.id(), " (", KindWord(operation.kind()),
      operation.vm().empty() ? "" : absl::StrCat(" ", operation.vm()),
      "): ", StateWord(operation.state()));
  if (!operation.error().empty()) {
    absl::StrAppend(&text, ": ", operation.error());
  }
  return absl::StrCat(text, "\n");
}

std::string ErrorText(const Error& error) {
  return absl::StrCat("hostupdatectl: ", error.code, ": ", error.message,
                      "\n  VMs now: ", error.vms_now,
                      "\n  next:    ", error.remedy, "\n");
}

std::string JsonLine(const google::protobuf::Message& message) {
  const absl::StatusOr<std::string> json = ToJson(message);
  if (!json.ok()) return absl::StrCat(json.status().message(), "\n");
  // Inside strings JSON has no newlines: what is left out is layout.
  std::string line;
  for (absl::string_view part : absl::StrSplit(*json, '\n')) {
    absl::StrAppend(&line, absl::StripLeadingAsciiWhitespace(part));
  }
  return absl::StrCat(line, "\n");
}

}  // namespace live_update::ctl
