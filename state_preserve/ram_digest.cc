#include "state_preserve/ram_digest.h"

#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <memory>
#include <optional>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "state_preserve/format.h"

namespace live_update {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kSampledPages = 64;
constexpr uint64_t kSmallestChunkOfAll = 2 << 20;
constexpr uint64_t kMostChunksOfAll = 1 << 16;
constexpr uint64_t kBufferBytes = 256 << 10;

uint64_t ChunksOf(uint64_t size_bytes, uint64_t chunk_bytes) {
  return size_bytes / chunk_bytes + (size_bytes % chunk_bytes != 0 ? 1 : 0);
}

// The first and the last of `pages`, and others up to `wanted` in all.
std::set<uint64_t> ChoosePages(uint64_t pages, uint64_t wanted,
                               uint64_t random) {
  std::set<uint64_t> chosen = {0, pages - 1};
  while (chosen.size() < std::min(wanted, pages)) {
    random = XXH3_64bits(&random, sizeof(random));
    chosen.insert(random % pages);
  }
  return chosen;
}

void PlanSample(absl::Span<const RamToDigest> blocks, absl::string_view seed,
                RamDigests& plan) {
  plan.set_chunk_bytes(kPageBytes);
  uint64_t total_pages = 0;
  for (const RamToDigest& block : blocks) {
    total_pages += ChunksOf(block.size_bytes, kPageBytes);
  }
  for (const RamToDigest& block : blocks) {
    const uint64_t pages = ChunksOf(block.size_bytes, kPageBytes);
    if (pages == 0) continue;
    // Each block has its share by size. A double is exact enough, and wide.
    const auto share = static_cast<uint64_t>(
        static_cast<double>(kSampledPages) * static_cast<double>(pages) /
        static_cast<double>(total_pages));
    const std::string key = absl::StrCat(seed, "/", block.name);
    RamDigests::Block& planned = *plan.add_blocks();
    planned.set_name(block.name);
    for (const uint64_t page :
         ChoosePages(pages, share, XXH3_64bits(key.data(), key.size()))) {
      planned.add_chunks(page);
    }
  }
}

void PlanAll(absl::Span<const RamToDigest> blocks, RamDigests& plan) {
  uint64_t chunk_bytes = kSmallestChunkOfAll;
  uint64_t chunks = 0;
  while (true) {
    chunks = 0;
    for (const RamToDigest& block : blocks) {
      chunks += ChunksOf(block.size_bytes, chunk_bytes);
    }
    if (chunks <= kMostChunksOfAll || chunk_bytes >= kMaxDigestChunkBytes) {
      break;
    }
    chunk_bytes *= 2;
  }
  plan.set_chunk_bytes(chunk_bytes);
  plan.set_all_chunks(true);
  for (const RamToDigest& block : blocks) {
    if (block.size_bytes > 0) plan.add_blocks()->set_name(block.name);
  }
}

// One digest to be computed, or compared.
struct Task {
  const RamToDigest* block = nullptr;
  uint64_t offset = 0;
  uint64_t size_bytes = 0;
  uint64_t recorded = 0;  // If it is there to be compared.
  uint64_t digest = 0;
  absl::Status status;
};

// kNotFound: a block of `digests` is not among `blocks`.
absl::StatusOr<std::vector<Task>> TasksOf(
    const RamDigests& digests, absl::Span<const RamToDigest> blocks) {
  std::vector<Task> tasks;
  for (const RamDigests::Block& planned : digests.blocks()) {
    const auto block = std::find_if(
        blocks.begin(), blocks.end(),
        [&planned](const RamToDigest& b) { return b.name == planned.name(); });
    if (block == blocks.end()) {
      return absl::NotFoundError(absl::StrCat("RAM block ", planned.name(),
                                              " is not there to be compared"));
    }
    const uint64_t count =
        digests.all_chunks()
            ? ChunksOf(block->size_bytes, digests.chunk_bytes())
            : static_cast<uint64_t>(planned.chunks_size());
    for (uint64_t i = 0; i < count; ++i) {
      const int index = static_cast<int>(i);
      Task task{.block = &*block};
      task.offset = (digests.all_chunks() ? i : planned.chunks(index)) *
                    digests.chunk_bytes();
      if (task.offset >= block->size_bytes) {
        return absl::OutOfRangeError(
            absl::StrFormat("RAM block %s: a digest at %#x, past its %d bytes",
                            block->name, task.offset, block->size_bytes));
      }
      task.size_bytes =
          std::min(digests.chunk_bytes(), block->size_bytes - task.offset);
      if (index < planned.digests_size()) {
        task.recorded = planned.digests(index);
      }
      tasks.push_back(std::move(task));
    }
  }
  return tasks;
}

// Reads and hashes one piece after the other with the same memory.
class Hasher {
 public:
  explicit Hasher(absl::Time deadline)
      : deadline_(deadline),
        state_(XXH3_createState(), XXH3_freeState),
        buffer_(kBufferBytes) {}

  // Returns how many bytes it read; short of all if `task.status` is an error.
  uint64_t Run(Task& task) {
    if (state_ == nullptr) {
      task.status = absl::ResourceExhaustedError("no memory to hash RAM");
      return 0;
    }
    XXH3_64bits_reset(state_.get());
    uint64_t done = 0;
    while (done < task.size_bytes) {
      if (absl::Now() >= deadline_) {
        task.status = absl::DeadlineExceededError("");
        return done;
      }
      const uint64_t wanted = std::min(kBufferBytes, task.size_bytes - done);
      const ssize_t got = pread(task.block->fd->get(), buffer_.data(), wanted,
                                static_cast<off_t>(task.offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        task.status = Unreadable(task, got == 0, errno);
        return done;
      }
      XXH3_64bits_update(state_.get(), buffer_.data(),
                         static_cast<size_t>(got));
      done += static_cast<uint64_t>(got);
    }
    task.digest = XXH3_64bits_digest(state_.get());
    return done;
  }

 private:
  static absl::Status Unreadable(const Task& task, bool at_end, int error) {
    const std::string where =
        absl::StrFormat("RAM block %s at %#x+%#x", task.block->name,
                        task.offset, task.size_bytes);
    if (at_end) return absl::OutOfRangeError(where + ": the memory ends there");
    return absl::ErrnoToStatus(error, absl::StrCat("read ", where));
  }

  const absl::Time deadline_;
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_;
  std::vector<uint8_t> buffer_;
};

// Computes all digests. The first error in the tasks' order.
absl::Status RunAll(std::vector<Task>& tasks, size_t threads,
                    absl::Time deadline) {
  std::atomic<size_t> next = 0;
  std::atomic<uint64_t> done = 0;
  const auto work = [&next, &done, &tasks, deadline] {
    Hasher hasher(deadline);
    for (size_t i = next++; i < tasks.size(); i = next++) {
      done += hasher.Run(tasks[i]);
    }
  };
  if (threads <= 1) {
    work();
  } else {
    std::vector<std::jthread> workers;
    const size_t wanted = std::min(threads, tasks.size());
    workers.reserve(wanted);
    for (size_t i = 0; i < wanted; ++i) workers.emplace_back(work);
  }
  uint64_t wanted = 0;
  for (const Task& task : tasks) wanted += task.size_bytes;
  for (const Task& task : tasks) {
    if (absl::IsDeadlineExceeded(task.status)) {
      return absl::DeadlineExceededError(absl::StrFormat(
          "digests of guest RAM: %d of %d bytes done in the time there was",
          done.load(), wanted));
    }
    LU_RETURN_IF_ERROR(task.status);
  }
  return absl::OkStatus();
}

}  // namespace

RamDigests PlanRamDigests(absl::Span<const RamToDigest> blocks,
                          RamCoverage coverage, absl::string_view seed) {
  RamDigests plan;
  plan.set_hash(RamDigests::XXH3_64);
  plan.set_chunk_bytes(kPageBytes);
  if (coverage == RamCoverage::kSample) PlanSample(blocks, seed, plan);
  if (coverage == RamCoverage::kAll) PlanAll(blocks, plan);
  return plan;
}

absl::StatusOr<RamDigests> DigestRam(absl::Span<const RamToDigest> blocks,
                                     RamCoverage coverage,
                                     absl::string_view seed, size_t threads,
                                     absl::Time deadline) {
  RamDigests digests = PlanRamDigests(blocks, coverage, seed);
  LU_ASSIGN_OR_RETURN(std::vector<Task> tasks, TasksOf(digests, blocks));
  LU_RETURN_IF_ERROR(RunAll(tasks, threads, deadline));
  auto task = tasks.begin();
  for (RamDigests::Block& block : *digests.mutable_blocks()) {
    for (; task != tasks.end() && task->block->name == block.name(); ++task) {
      block.add_digests(task->digest);
    }
  }
  return digests;
}

absl::Status VerifyRam(const RamDigests& digests,
                       absl::Span<const RamToDigest> blocks, size_t threads,
                       absl::Time deadline) {
  if (digests.hash() != RamDigests::XXH3_64) return absl::OkStatus();
  LU_ASSIGN_OR_RETURN(std::vector<Task> tasks, TasksOf(digests, blocks));
  LU_RETURN_IF_ERROR(RunAll(tasks, threads, deadline));
  size_t differ = 0;
  const Task* first = nullptr;
  for (const Task& task : tasks) {
    if (task.digest == task.recorded) continue;
    if (first == nullptr) first = &task;
    ++differ;
  }
  if (first == nullptr) return absl::OkStatus();
  return absl::DataLossError(absl::StrFormat(
      "guest RAM is not what it was at the pause: %d of %d digests differ, the "
      "first of RAM block %s at %#x+%#x (recorded %016x, now %016x)",
      differ, tasks.size(), first->block->name, first->offset,
      first->size_bytes, first->recorded, first->digest));
}

std::string DescribeRamDigests(const RamDigests& digests) {
  if (digests.hash() != RamDigests::XXH3_64) {
    return absl::StrCat("nothing: hash ", static_cast<int>(digests.hash()),
                        " is not known here");
  }
  size_t count = 0;
  for (const RamDigests::Block& block : digests.blocks()) {
    count += static_cast<size_t>(block.digests_size());
  }
  return absl::StrCat(digests.all_chunks() ? "all of it, " : "", count,
                      digests.all_chunks() ? " chunks of " : " pages of ",
                      digests.chunk_bytes(), " bytes");
}

}  // namespace live_update
