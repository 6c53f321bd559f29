// sync(2) with a deadline, which the system call has not.

#ifndef HOST_UPDATE_BOUNDED_SYNC_H_
#define HOST_UPDATE_BOUNDED_SYNC_H_

#include <functional>
#include <future>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace live_update {

class BoundedSync {
 public:
  // Starts `sync` on a thread of its own, which goes on if nobody waits for it.
  explicit BoundedSync(std::function<void()> sync);

  // kDeadlineExceeded: not done within `limit` from now.
  absl::Status Wait(absl::Duration limit);

 private:
  std::future<void> done_;
};

}  // namespace live_update

#endif  // HOST_UPDATE_BOUNDED_SYNC_H_
