// One function over many VMs at once.

#ifndef HOST_UPDATE_PARALLEL_H_
#define HOST_UPDATE_PARALLEL_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

namespace live_update {

// Calls `body(i)` for each i in [0, count), on at most `parallelism` threads
// (at least one), and returns when all have returned.
inline void ForEachInParallel(size_t count, size_t parallelism,
                              const std::function<void(size_t)>& body) {
  std::atomic<size_t> next = 0;
  std::vector<std::jthread> threads;
  const size_t wanted = std::min(count, std::max<size_t>(parallelism, 1));
  threads.reserve(wanted);
  for (size_t i = 0; i < wanted; ++i) {
    threads.emplace_back([&next, count, &body] {
      for (size_t item = next++; item < count; item = next++) body(item);
    });
  }
}

}  // namespace live_update

#endif  // HOST_UPDATE_PARALLEL_H_
