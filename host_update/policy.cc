#include "host_update/policy.h"

#include <fnmatch.h>

#include <algorithm>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"

namespace live_update {
namespace {

constexpr uint64_t kLargestPolicy = 1 << 20;  // Bytes.
constexpr int kMostRules = 4096;
constexpr int kHighestPriority = 1000;
constexpr uint32_t kMostAtOnce = 64;
constexpr uint32_t kLongestShutdown = 3600;  // Seconds.
constexpr absl::Duration kUsualShutdown = absl::Seconds(120);

constexpr std::pair<Policy::Way, absl::string_view> kWays[] = {
    {Policy::IN_PLACE, "in-place"},       {Policy::COPY, "copy"},
    {Policy::MANAGEDSAVE, "managedsave"}, {Policy::SHUTDOWN, "shutdown"},
    {Policy::REFUSE, "refuse"},
};

// Keeps the first error, with its place.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    if (!text_.empty()) return;
    // Both count from 0; a line below 0 is none.
    text_ = line < 0 ? message
                     : absl::StrCat(line + 1, ":", column + 1, ": ", message);
  }

  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

absl::Status CheckRule(const Policy::Rule& rule) {
  const auto is_known = [](int way) {
    return way == Policy::WAY_UNSPECIFIED || Policy::Way_IsValid(way);
  };
  if (!is_known(rule.way()) || !is_known(rule.fallback())) {
    return absl::InvalidArgumentError("a way that is not known here");
  }
  if (rule.fallback() != Policy::WAY_UNSPECIFIED &&
      rule.way() != Policy::WAY_UNSPECIFIED && rule.way() != Policy::IN_PLACE) {
    return absl::InvalidArgumentError(
        absl::StrCat("a fallback is for in-place, not for ",
                     WayName(rule.way()), ": that is done or refused"));
  }
  if (rule.fallback() == Policy::IN_PLACE) {
    return absl::InvalidArgumentError("in-place is no fallback of itself");
  }
  if (rule.restore_priority() < -kHighestPriority ||
      rule.restore_priority() > kHighestPriority) {
    return absl::InvalidArgumentError(
        absl::StrCat("a priority of ", rule.restore_priority(), ", not from -",
                     kHighestPriority, " to ", kHighestPriority));
  }
  if (rule.shutdown_timeout_s() > kLongestShutdown) {
    return absl::InvalidArgumentError(
        absl::StrCat("a time to shut down of ", rule.shutdown_timeout_s(),
                     " s, more than ", kLongestShutdown));
  }
  return absl::OkStatus();
}

absl::Status CheckFileRule(const Policy::Rule& rule) {
  if (rule.name().empty() && rule.uuid().empty()) {
    return absl::InvalidArgumentError(
        "it names no VM: give a name (\"*\" is all) or a uuid");
  }
  return CheckRule(rule);
}

absl::Status SetAttribute(const std::string& name, const std::string& value,
                          Policy::Rule& rule) {
  if (name == "way" || name == "fallback") {
    LU_ASSIGN_OR_RETURN(const Policy::Way way, ParseWay(value));
    name == "way" ? rule.set_way(way) : rule.set_fallback(way);
    return absl::OkStatus();
  }
  if (name == "priority") {
    int32_t priority = 0;
    if (!absl::SimpleAtoi(value, &priority)) {
      return absl::InvalidArgumentError("no number");
    }
    rule.set_restore_priority(priority);
    return absl::OkStatus();
  }
  if (name == "guest-clock") {
    if (value != "set" && value != "leave") {
      return absl::InvalidArgumentError("neither set nor leave");
    }
    rule.set_guest_clock(value == "set" ? Policy::SET : Policy::LEAVE);
    return absl::OkStatus();
  }
  if (name == "shutdown-timeout") {
    uint32_t seconds = 0;
    if (!absl::SimpleAtoi(value, &seconds) || seconds == 0) {
      return absl::InvalidArgumentError("no number of seconds");
    }
    rule.set_shutdown_timeout_s(seconds);
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      "not one of way, fallback, priority, guest-clock, shutdown-timeout");
}

}  // namespace

absl::string_view WayName(Policy::Way way) {
  for (const auto& [known, name] : kWays) {
    if (known == way) return name;
  }
  return "in-place";  // Unspecified.
}

absl::StatusOr<Policy::Way> ParseWay(absl::string_view name) {
  for (const auto& [way, known] : kWays) {
    if (known == name) return way;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", absl::CHexEscape(name.substr(0, 40)),
                   "\" is no way to carry a VM: ",
                   absl::StrJoin(std::begin(kWays), std::end(kWays), ", ",
                                 [](std::string* out, const auto& way) {
                                   absl::StrAppend(out, way.second);
                                 })));
}

absl::Status AddWay(absl::string_view words, WayByVm& ways) {
  const size_t end = words.rfind('=');
  if (end == absl::string_view::npos || end == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", absl::CHexEscape(words), "\" is not VM=WAY"));
  }
  LU_ASSIGN_OR_RETURN(const Policy::Way way, ParseWay(words.substr(end + 1)));
  const std::string vm(words.substr(0, end));
  if (!ways.emplace(vm, WayName(way)).second) {
    return absl::InvalidArgumentError(
        absl::StrCat(absl::CHexEscape(vm), " is given two ways"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Policy> ParsePolicy(absl::string_view text,
                                   absl::string_view name) {
  Policy policy;
  google::protobuf::TextFormat::Parser parser;
  FirstError error;
  parser.RecordErrorsTo(&error);
  parser.SetRecursionLimit(8);
  if (!parser.ParseFromString(std::string(text), &policy)) {
    return absl::InvalidArgumentError(absl::StrCat(name, ":", error.text()));
  }
  if (policy.parallelism() > kMostAtOnce) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": parallelism: ", policy.parallelism(),
                     ", more than ", kMostAtOnce));
  }
  if (policy.vm_size() > kMostRules) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, ": ", policy.vm_size(), " rules, more than ", kMostRules));
  }
  for (int i = 0; i < policy.vm_size(); ++i) {
    LU_RETURN_IF_ERROR(Annotate(CheckFileRule(policy.vm(i)),
                                absl::StrCat(name, ": rule ", i + 1)));
    // As libvirt prints them.
    absl::AsciiStrToLower(policy.mutable_vm(i)->mutable_uuid());
  }
  return policy;
}

absl::StatusOr<Policy> ReadPolicy(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path, kLargestPolicy);
  if (absl::IsNotFound(text.status())) return Policy();
  if (!text.ok()) return text.status();
  return ParsePolicy(*text, path);
}

std::pair<int, const Policy::Rule*> FindRule(const Policy& policy,
                                             const std::string& name,
                                             const std::string& uuid) {
  for (int i = 0; i < policy.vm_size(); ++i) {
    const Policy::Rule& rule = policy.vm(i);
    if (!rule.uuid().empty() && rule.uuid() != uuid) continue;
    if (!rule.name().empty() &&
        fnmatch(rule.name().c_str(), name.c_str(), 0) != 0) {
      continue;
    }
    return {i + 1, &rule};
  }
  return {0, nullptr};
}

absl::StatusOr<Policy::Rule> RuleOfMetadata(
    const std::vector<std::pair<std::string, std::string>>& attributes) {
  Policy::Rule rule;
  for (const auto& [name, value] : attributes) {
    const auto plain = [](absl::string_view text) {
      return absl::CHexEscape(text.substr(0, 40));
    };
    LU_RETURN_IF_ERROR(
        Annotate(SetAttribute(name, value, rule),
                 absl::StrCat(plain(name), "=\"", plain(value), "\"")));
  }
  LU_RETURN_IF_ERROR(CheckRule(rule));
  return rule;
}

absl::Duration ShutdownTimeoutOf(const Policy::Rule& rule) {
  return rule.shutdown_timeout_s() == 0
             ? kUsualShutdown
             : absl::Seconds(rule.shutdown_timeout_s());
}

}  // namespace live_update
