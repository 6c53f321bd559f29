#include "host_update/service/operation_store.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_code.h"
#include "base/status_macros.h"
#include "google/protobuf/util/json_util.h"
#include "host_update/history.h"
#include "host_update/identity.h"
#include "host_update/report/report_json.h"

namespace live_update {
namespace {

constexpr uint64_t kLargestFile = 64 << 20;  // Bytes.
constexpr size_t kMostOperations = 200;
// More than the events of one operation between two writes of it.
constexpr uint64_t kReserved = 1000;

std::string NowText() {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(),
                          absl::UTCTimeZone());
}

bool IsPaused(const std::string& phase) {
  return phase == "pause" || phase == "save" || phase == "commit" ||
         phase == "jump";
}

std::string EndMessage(const Ending& ending) {
  switch (ending.state) {
    case v1::Operation::SUCCEEDED:
      return "done";
    case v1::Operation::ABORTED:
      return "aborted on request: VMs run as before";
    default:
      return absl::StrCat("failed: ", ending.error);
  }
}

// Of one host, oldest first; the id settles ties.
bool IsOlder(const v1::Operation& a, const v1::Operation& b) {
  return std::pair(a.started_at(), a.id()) < std::pair(b.started_at(), b.id());
}

absl::Status CheckRequestId(const std::string& id) {
  if (id.empty() || IsUpdateId(id)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "a request id has at most 64 letters, digits and \"-\"");
}

}  // namespace

absl::StatusOr<std::unique_ptr<OperationStore>> OperationStore::Open(
    const std::string& directory) {
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) {
    return absl::NotFoundError(
        absl::StrCat(directory, " is no directory: operations can't be kept"));
  }
  // Its constructor is private.
  std::unique_ptr<OperationStore> store(new OperationStore(directory));
  store->Load();
  return store;
}

void OperationStore::Load() {
  absl::MutexLock lock(&mutex_);
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(directory_, error)) {
    if (entry.path().extension() != ".json") continue;
    StoredOperation stored;
    const absl::StatusOr<std::string> json =
        ReadFile(entry.path().string(), kLargestFile);
    if (!json.ok() ||
        !google::protobuf::util::JsonStringToMessage(*json, &stored).ok() ||
        stored.operation().id() != entry.path().stem().string()) {
      LogWarning(absl::StrCat(entry.path().string(),
                              " can't be read as an operation: left alone"));
      continue;
    }
    // Only what ended has no events that were not written.
    if (stored.operation().state() == v1::Operation::RUNNING) {
      last_sequence_ = std::max(last_sequence_, stored.reserved_sequence());
    }
    for (const v1::Event& event : stored.events()) {
      last_sequence_ = std::max(last_sequence_, event.sequence());
    }
    operations_[stored.operation().id()] = std::move(stored);
  }
}

absl::StatusOr<v1::Operation> OperationStore::Begin(v1::Operation operation,
                                                    bool& is_new) {
  LU_RETURN_IF_ERROR(CheckRequestId(operation.request_id()));
  absl::MutexLock lock(&mutex_);
  is_new = false;
  for (const auto& [id, stored] : operations_) {
    if (!operation.request_id().empty() &&
        stored.operation().request_id() == operation.request_id()) {
      return stored.operation();
    }
  }
  for (const auto& [id, stored] : operations_) {
    if (stored.operation().state() != v1::Operation::RUNNING) continue;
    return WithCode(
        absl::UnavailableError(absl::StrCat("operation ", id, " runs, since ",
                                            stored.operation().started_at())),
        "BUSY");
  }
  operation.set_id(NewUpdateId());
  operation.set_state(v1::Operation::RUNNING);
  operation.set_phase("check");
  operation.set_abortable(operation.kind() == v1::Operation::UPDATE ||
                          operation.kind() == v1::Operation::PREPARE ||
                          operation.kind() == v1::Operation::RESTART_VMM);
  operation.set_started_at(NowText());
  operation.set_boot_id(ThisBootId());
  StoredOperation& stored = operations_[operation.id()];
  *stored.mutable_operation() = operation;
  AddEvent(stored, absl::StrCat("asked for by ", operation.requested_by()));
  if (absl::Status written = Write(stored); !written.ok()) {
    operations_.erase(operation.id());
    return Annotate(written, "keep the operation");
  }
  ForgetOldest();
  is_new = true;
  return operation;
}

void OperationStore::EnterPhase(const std::string& id,
                                const std::string& phase) {
  absl::MutexLock lock(&mutex_);
  const auto found = operations_.find(id);
  if (found == operations_.end()) return;
  v1::Operation& operation = *found->second.mutable_operation();
  if (operation.state() != v1::Operation::RUNNING) return;
  operation.set_phase(phase);
  operation.set_abortable(phase != "jump" && operation.abortable());
  AddEvent(found->second, phase);
  if (IsPaused(phase)) return;
  if (absl::Status written = Write(found->second); !written.ok()) {
    LogWarning(written.message());
  }
}

void OperationStore::End(const std::string& id, const Ending& ending) {
  absl::MutexLock lock(&mutex_);
  const auto found = operations_.find(id);
  if (found == operations_.end()) return;
  v1::Operation& operation = *found->second.mutable_operation();
  if (operation.state() != v1::Operation::RUNNING) return;
  operation.set_state(ending.state);
  operation.set_abortable(false);
  operation.set_exit_code(ending.exit_code);
  operation.set_error(ending.error);
  operation.set_ended_at(NowText());
  if (ending.report.has_value()) *operation.mutable_report() = *ending.report;
  if (ending.restart.has_value()) {
    *operation.mutable_restart() = *ending.restart;
  }
  AddEvent(found->second, EndMessage(ending));
  if (absl::Status written = Write(found->second); !written.ok()) {
    LogWarning(written.message());
  }
}

void OperationStore::AddEvent(StoredOperation& stored,
                              const std::string& message) {
  const v1::Operation& operation = stored.operation();
  v1::Event& event = *stored.add_events();
  event.set_sequence(++last_sequence_);
  event.set_time(NowText());
  event.set_operation_id(operation.id());
  event.set_phase(operation.phase());
  event.set_message(message);
  event.set_state(operation.state());
  event.set_exit_code(operation.exit_code());
}

absl::Status OperationStore::Write(StoredOperation& stored) {
  stored.set_reserved_sequence(last_sequence_ + kReserved);
  LU_ASSIGN_OR_RETURN(const std::string json, ToJson(stored));
  return WriteFileAtomically(
      absl::StrCat(directory_, "/", stored.operation().id(), ".json"), json,
      0600);
}

void OperationStore::ForgetOldest() {
  while (operations_.size() > kMostOperations) {
    auto oldest = operations_.end();
    for (auto it = operations_.begin(); it != operations_.end(); ++it) {
      if (it->second.operation().state() == v1::Operation::RUNNING) continue;
      if (oldest == operations_.end() ||
          IsOlder(it->second.operation(), oldest->second.operation())) {
        oldest = it;
      }
    }
    if (oldest == operations_.end()) return;
    std::error_code error;
    std::filesystem::remove(
        absl::StrCat(directory_, "/", oldest->first, ".json"), error);
    operations_.erase(oldest);
  }
}

std::optional<v1::Operation> OperationStore::Get(const std::string& id) const {
  absl::MutexLock lock(&mutex_);
  const auto found = operations_.find(id);
  if (found == operations_.end()) return std::nullopt;
  return found->second.operation();
}

std::vector<v1::Operation> OperationStore::List(size_t limit) const {
  absl::MutexLock lock(&mutex_);
  std::vector<v1::Operation> all;
  for (const auto& [id, stored] : operations_) {
    all.push_back(stored.operation());
    all.back().clear_report();
    all.back().clear_restart();
  }
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return IsOlder(b, a); });
  if (all.size() > limit) all.resize(limit);
  return all;
}

std::vector<v1::Operation> OperationStore::Running() const {
  absl::MutexLock lock(&mutex_);
  std::vector<v1::Operation> running;
  for (const auto& [id, stored] : operations_) {
    if (stored.operation().state() == v1::Operation::RUNNING) {
      running.push_back(stored.operation());
    }
  }
  return running;
}

std::vector<v1::Event> OperationStore::EventsAfter(uint64_t after,
                                                   const std::string& id,
                                                   absl::Time deadline) const {
  absl::MutexLock lock(&mutex_);
  const auto collect = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::vector<v1::Event> events;
    for (const auto& [operation_id, stored] : operations_) {
      if (!id.empty() && operation_id != id) continue;
      for (const v1::Event& event : stored.events()) {
        if (event.sequence() > after) events.push_back(event);
      }
    }
    return events;
  };
  std::vector<v1::Event> events = collect();
  const auto has_more = [&, seen = last_sequence_]()
                            ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                              return last_sequence_ > seen;
                            };
  if (events.empty() &&
      mutex_.AwaitWithDeadline(absl::Condition(&has_more), deadline)) {
    events = collect();
  }
  std::sort(events.begin(), events.end(), [](const auto& a, const auto& b) {
    return a.sequence() < b.sequence();
  });
  return events;
}

uint64_t OperationStore::last_sequence() const {
  absl::MutexLock lock(&mutex_);
  return last_sequence_;
}

}  // namespace live_update
