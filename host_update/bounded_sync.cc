#include "host_update/bounded_sync.h"

#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

namespace live_update {

BoundedSync::BoundedSync(std::function<void()> sync) {
  auto promise = std::make_shared<std::promise<void>>();
  done_ = promise->get_future();
  std::thread([sync = std::move(sync), promise = std::move(promise)] {
    sync();
    promise->set_value();
  }).detach();
}

absl::Status BoundedSync::Wait(absl::Duration limit) {
  if (done_.wait_for(absl::ToChronoMilliseconds(limit)) ==
      std::future_status::ready) {
    return absl::OkStatus();
  }
  return absl::DeadlineExceededError(
      absl::StrCat("writing the file systems out (sync) takes more than ",
                   absl::FormatDuration(limit),
                   "; look for a hung disk or network file system"));
}

}  // namespace live_update
