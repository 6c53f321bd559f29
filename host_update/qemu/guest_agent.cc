#include "host_update/qemu/guest_agent.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "host_update/qemu/qmp_text.h"

namespace live_update {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

constexpr absl::Duration kBetweenLooks = absl::Milliseconds(100);

// What the shell below exits with if there is no hook, as shells do for what
// they don't find.
constexpr uint64_t kNoHook = 127;

// By a shell: an agent that is asked for a file which is not there makes
// libvirt write an error into its log, and most guests have no hook.
std::string ExecCommand(absl::string_view word) {
  Struct arguments;
  SetString(arguments, "path", "/bin/sh");
  auto& list = *(*arguments.mutable_fields())["arg"].mutable_list_value();
  list.add_values()->set_string_value("-c");
  list.add_values()->set_string_value(
      absl::StrCat("[ -x ", kGuestHook, " ] || exit ", kNoHook, "; exec ",
                   kGuestHook, " ", word));
  return QmpCommand("guest-exec", std::move(arguments));
}

}  // namespace

absl::StatusOr<absl::Time> ParseGuestTime(absl::string_view reply) {
  constexpr double kLatest = 9.2e18;  // Nanoseconds that 64 bits hold.
  LU_ASSIGN_OR_RETURN(const Value value, ParseQmpReply(reply));
  if (!value.has_number_value() ||
      !(value.number_value() >= 0 && value.number_value() < kLatest)) {
    return absl::InternalError("the guest agent's reply is no time");
  }
  return absl::FromUnixNanos(static_cast<int64_t>(value.number_value()));
}

absl::StatusOr<uint64_t> ParseGuestExec(absl::string_view reply) {
  LU_ASSIGN_OR_RETURN(const Value value, ParseQmpReply(reply));
  return UintField(value, "pid");
}

absl::StatusOr<std::optional<uint64_t>> ParseGuestExecStatus(
    absl::string_view reply) {
  LU_ASSIGN_OR_RETURN(const Value value, ParseQmpReply(reply));
  LU_ASSIGN_OR_RETURN(const bool exited, BoolField(value, "exited"));
  if (!exited) return std::nullopt;
  const absl::StatusOr<uint64_t> code = UintField(value, "exitcode");
  if (code.ok()) return *code;
  LU_ASSIGN_OR_RETURN(const uint64_t signal, UintField(value, "signal"));
  return 128 + signal;
}

absl::StatusOr<absl::Time> GuestAgent::GetTime(absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(
      const std::string reply,
      channel_->Execute(QmpCommand("guest-get-time"), deadline));
  return ParseGuestTime(reply);
}

absl::Status GuestAgent::SetTime(absl::Time now, absl::Time deadline) {
  // Not by QmpCommand: a double does not hold these nanoseconds.
  LU_ASSIGN_OR_RETURN(
      const std::string reply,
      channel_->Execute(
          absl::StrCat("{\"execute\":\"guest-set-time\",\"arguments\":{"
                       "\"time\":",
                       absl::ToUnixNanos(now), "}}"),
          deadline));
  return Annotate(ParseQmpReply(reply).status(), "guest-set-time");
}

absl::Status GuestAgent::RunHook(absl::string_view word, absl::Time deadline) {
  const absl::StatusOr<std::string> started =
      channel_->Execute(ExecCommand(word), deadline);
  // libvirt gives an agent's own refusal as an internal error.
  if (absl::IsInternal(started.status())) {
    return absl::NotFoundError(started.status().message());
  }
  LU_RETURN_IF_ERROR(started.status());
  const absl::StatusOr<uint64_t> pid = ParseGuestExec(*started);
  if (!pid.ok()) return absl::NotFoundError(pid.status().message());

  Struct arguments;
  SetNumber(arguments, "pid", static_cast<double>(*pid));
  const std::string ask = QmpCommand("guest-exec-status", std::move(arguments));
  while (true) {
    const absl::StatusOr<std::string> reply = channel_->Execute(ask, deadline);
    if (absl::IsDeadlineExceeded(reply.status())) return absl::OkStatus();
    LU_RETURN_IF_ERROR(reply.status());
    LU_ASSIGN_OR_RETURN(const std::optional<uint64_t> code,
                        ParseGuestExecStatus(*reply));
    if (code == kNoHook) {
      return absl::NotFoundError(absl::StrCat("there is no ", kGuestHook));
    }
    if (code.has_value() && *code != 0) {
      return absl::FailedPreconditionError(
          absl::StrCat(kGuestHook, ": exit status ", *code));
    }
    if (code.has_value() || absl::Now() + kBetweenLooks >= deadline) {
      return absl::OkStatus();
    }
    absl::SleepFor(kBetweenLooks);
  }
}

}  // namespace live_update
