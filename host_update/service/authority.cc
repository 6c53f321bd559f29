#include "host_update/service/authority.h"

#include <poll.h>
#include <systemd/sd-bus.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace live_update {
namespace {

constexpr char kAction[] = "org.host-update.manage";
constexpr uint32_t kAllowUserInteraction = 1;  // Of polkit's flags.
// For an answer out of its rules alone, and for reaching the bus.
constexpr absl::Duration kPatience = absl::Seconds(10);
constexpr absl::Duration kLookAround = absl::Milliseconds(500);

struct BusDeleter {
  void operator()(sd_bus* bus) const { sd_bus_close_unref(bus); }
};
using Bus = std::unique_ptr<sd_bus, BusDeleter>;

struct MessageDeleter {
  void operator()(sd_bus_message* message) const {
    sd_bus_message_unref(message);
  }
};
using Message = std::unique_ptr<sd_bus_message, MessageDeleter>;

absl::Status BusError(int negative_errno, const char* what) {
  return absl::UnavailableError(
      absl::StrCat("polkit can't be asked: ", what, ": ",
                   absl::ErrnoToStatus(-negative_errno, "D-Bus").message()));
}

// polkit looks the process up by its pid: it must not have become another's.
absl::Status CheckStillThere(const Caller& caller) {
  if (caller.pid <= 0 || caller.process == nullptr) {
    return absl::PermissionDeniedError("the calling process is not known");
  }
  pollfd ended = {.fd = caller.process->get(), .events = POLLIN, .revents = 0};
  if (poll(&ended, 1, 0) == 0) return absl::OkStatus();
  return absl::PermissionDeniedError("the process that connected has ended");
}

// CheckAuthorization's arguments: subject, action, details, flags, and an id to
// cancel it by.
int AppendQuestion(sd_bus_message* message, const Caller& caller,
                   const AuthorityQuestion& question) {
  // Start time 0: polkit reads it itself, which we can't (ProtectProc=).
  int result = sd_bus_message_append(
      message, "(sa{sv})", "unix-process", 3, "pid", "u",
      static_cast<uint32_t>(caller.pid), "start-time", "t", uint64_t{0}, "uid",
      "i", static_cast<int32_t>(caller.uid));
  if (result < 0) return result;
  return sd_bus_message_append(
      message, "sa{ss}us", kAction, 1, "call", question.call.c_str(),
      question.may_prompt ? kAllowUserInteraction : 0U, "");
}

absl::Status ReadAnswer(sd_bus_message* reply) {
  if (const sd_bus_error* error = sd_bus_message_get_error(reply);
      error != nullptr) {
    const std::string text = error->message == nullptr ? "" : error->message;
    return absl::UnavailableError(absl::StrCat(
        "polkit can't be asked: ", error->name, ": ", text.substr(0, 256)));
  }
  int authorized = 0;
  int challenge = 0;
  int result = sd_bus_message_enter_container(reply, 'r', "bba{ss}");
  if (result > 0) {
    result = sd_bus_message_read(reply, "bb", &authorized, &challenge);
  }
  if (result <= 0) return BusError(result, "read the answer");
  if (authorized != 0) return absl::OkStatus();
  return absl::PermissionDeniedError(
      challenge != 0
          ? absl::StrCat("polkit wants an administrator's password for ",
                         kAction, ", and had nobody to ask for it")
          : absl::StrCat("polkit does not grant ", kAction));
}

int OnAnswer(sd_bus_message* reply, void* answer, sd_bus_error*) {
  *static_cast<std::optional<absl::Status>*>(answer) = ReadAnswer(reply);
  return 1;
}

// Sends `call` and waits for its answer; the bus may still be connecting.
absl::Status Ask(sd_bus* bus, sd_bus_message* call,
                 const AuthorityQuestion& question) {
  const absl::Time deadline =
      absl::Now() + (question.may_prompt
                         ? question.patience
                         : std::min(question.patience, kPatience));
  std::optional<absl::Status> answer;
  int result = sd_bus_call_async(bus, nullptr, call, OnAnswer, &answer,
                                 /*usec=*/UINT64_MAX);
  while (result >= 0 && !answer.has_value()) {
    result = sd_bus_process(bus, nullptr);
    if (result != 0) continue;
    if (question.is_cancelled()) {
      return absl::CancelledError("nobody waits for polkit's answer any more");
    }
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError("polkit has not answered in time");
    }
    result = sd_bus_wait(bus, static_cast<uint64_t>(absl::ToInt64Microseconds(
                                  std::min(left, kLookAround))));
  }
  if (!answer.has_value()) return BusError(result, "wait for its answer");
  return *answer;
}

}  // namespace

absl::Status AskPolkit(const Caller& caller,
                       const AuthorityQuestion& question) {
  if (absl::Status there = CheckStillThere(caller); !there.ok()) return there;
  sd_bus* opened = nullptr;
  int result = sd_bus_open_system(&opened);
  const Bus bus(opened);
  if (result < 0) return BusError(result, "open the system's bus");

  sd_bus_message* made = nullptr;
  result = sd_bus_message_new_method_call(
      bus.get(), &made, "org.freedesktop.PolicyKit1",
      "/org/freedesktop/PolicyKit1/Authority",
      "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization");
  const Message call(made);
  if (result >= 0) result = AppendQuestion(call.get(), caller, question);
  if (result < 0) return BusError(result, "make the question");

  if (absl::Status granted = Ask(bus.get(), call.get(), question);
      !granted.ok()) {
    return granted;
  }
  return CheckStillThere(caller);
}

}  // namespace live_update
