#include "host_update/ctl/follow.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "host_update/ctl/text.h"

namespace live_update::ctl {
namespace {

constexpr char kClearLine[] = "\r\x1b[K";
constexpr size_t kColumns = 79;
constexpr absl::Duration kReportTimeout = absl::Seconds(60);

bool Ended(v1::Operation::State state) {
  return state == v1::Operation::SUCCEEDED || state == v1::Operation::FAILED ||
         state == v1::Operation::ABORTED;
}

// Events as they come: a line each as JSON, one line written over on a
// terminal, else a line for each phase.
class Progress {
 public:
  Progress(const Options& options, const Console& console)
      : options_(options), console_(console) {}

  void Show(const v1::Event& event) {
    if (options_.quiet) return;
    if (options_.json) return console_.out(JsonLine(event));
    if (console_.out_terminal) return Overwrite(ProgressText(event, kColumns));
    if (event.phase() == phase_ && !Ended(event.state())) return;
    phase_ = event.phase();
    console_.out(EventText(event));
  }

  // What is being waited for, on a terminal.
  void Wait(const std::string& text) {
    if (!options_.quiet && !options_.json && console_.out_terminal) {
      Overwrite(text);
    }
  }

  void Note(const std::string& text) {
    Clear();
    if (!options_.quiet) console_.err(text);
  }

  // Leaves the line empty for what comes next.
  void Clear() {
    if (line_shown_) console_.out(kClearLine);
    line_shown_ = false;
  }

 private:
  void Overwrite(const std::string& text) {
    console_.out(absl::StrCat(kClearLine, text));
    line_shown_ = true;
  }

  const Options& options_;
  const Console& console_;
  std::string phase_;
  bool line_shown_ = false;
};

// The error of an operation that ended and has no report to say it.
Error ErrorOf(const v1::Operation& operation, int exit_code) {
  Error error;
  error.exit_code = static_cast<ExitCode>(exit_code);
  error.code = v1::Operation::State_Name(operation.state());
  error.message =
      operation.error().empty()
          ? absl::StrCat("operation ", operation.id(), " did not succeed")
          : operation.error();
  switch (error.exit_code) {
    case ExitCode::kVmNotBack:
      error.vms_now = "not all run that ran before; `hostupdatectl status`";
      error.remedy = "hostupdatectl recover";
      break;
    case ExitCode::kAborted:
      error.vms_now = "every VM runs as before";
      error.remedy = "hostupdatectl check";
      break;
    case ExitCode::kFailedUnharmed:
    case ExitCode::kNoGo:
    case ExitCode::kOverBudget:
    case ExitCode::kBusy:
      error.vms_now = "as before: what had begun was taken back";
      error.remedy = "hostupdatectl check";
      break;
    default:
      error.vms_now = "not known from here; `virsh list --all` shows them";
      error.remedy = "hostupdatectl status";
      break;
  }
  return error;
}

int End(const Options& options, const Console& console,
        const v1::Operation& operation) {
  int exit_code = operation.exit_code();
  if (operation.state() != v1::Operation::SUCCEEDED && exit_code == 0) {
    // It doesn't say, so not less than the worst.
    exit_code = static_cast<int>(ExitCode::kVmNotBack);
  }
  if (options.json) {
    console.out(JsonLine(operation));
  } else if (!options.quiet) {
    console.out(OperationText(operation));
  }
  if (operation.state() != v1::Operation::SUCCEEDED) {
    console.err(ErrorText(ErrorOf(operation, exit_code)));
  }
  return exit_code;
}

// What failed is the following: nothing is said about the operation.
Error NotKnown(const std::string& id, const std::string& why,
               const std::string& code) {
  return {.exit_code = ExitCode::kNoDaemon,
          .code = code,
          .message = absl::StrCat("it is not known how operation ", id,
                                  " ended: ", why),
          .remedy = absl::StrCat("hostupdatectl watch ", id),
          .vms_now =
              "the operation goes on as it would; `virsh list --all` "
              "shows them"};
}

}  // namespace

int Fail(const Options& options, const Console& console, const Error& error) {
  if (options.json) {
    v1::ErrorDetail detail;
    detail.set_code(error.code);
    detail.set_remedy(error.remedy);
    detail.set_vms_now(error.vms_now);
    console.out(JsonLine(detail));
  }
  console.err(ErrorText(error));
  return static_cast<int>(error.exit_code);
}

int Follow(Client& client, const Options& options, const Console& console,
           const std::string& id, absl::Time deadline) {
  Progress progress(options, console);
  v1::WatchRequest watch;
  watch.set_operation_id(id);
  bool lost = false;
  while (true) {
    std::optional<Error> error =
        client.Watch(watch, deadline, [&](const v1::Event& event) {
          if (event.sequence() <= watch.after_sequence()) return true;
          watch.set_after_sequence(event.sequence());
          if (lost) progress.Note("Connected again.\n");
          lost = false;
          progress.Show(event);
          return !Ended(event.state());
        });
    if (!error) {
      v1::GetOperationRequest request;
      request.set_id(id);
      const Reply<v1::Operation> operation =
          client.Call(&Client::Stub::GetOperation, request,
                      std::min(deadline, absl::Now() + kReportTimeout));
      if (operation.ok() && Ended(operation.value.state())) {
        progress.Clear();
        return End(options, console, operation.value);
      }
      error = operation.error;  // None: it runs, and the daemon goes down.
    }
    const absl::Time now = absl::Now();
    if (now >= deadline || (error && !error->transient)) {
      progress.Clear();
      const std::string why =
          now >= deadline ? "the time for it is over" : error->message;
      const std::string code = now >= deadline ? "TIMEOUT" : error->code;
      return Fail(options, console, NotKnown(id, why, code));
    }
    if (!lost) {
      progress.Note(absl::StrFormat(
          "Connection lost (%s), as in a kexec or a restart of the daemon; "
          "trying again until %s.\n",
          error ? error->message : "the daemon ended the stream",
          absl::FormatTime("%H:%M:%S", deadline, absl::LocalTimeZone())));
    }
    lost = true;
    progress.Wait(absl::StrFormat("waiting for hostupdated, for another %d s",
                                  absl::ToInt64Seconds(deadline - now)));
    absl::SleepFor(std::min(console.retry_interval, deadline - now));
  }
}

}  // namespace live_update::ctl
