// Debian's Abseil is not built for ThreadSanitizer, so the sanitizer would see
// no order in what absl::Mutex and absl::Notification guard and call all of it
// a race. These stand before the library's own functions, call them, and tell
// the sanitizer. Linked into each program of --config=tsan, and into no other.

#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace {

using absl::Condition;
using absl::Duration;
using absl::Time;

template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

#define MUTEX(name) "_ZN4absl7debian35Mutex" name
#define NOTIFICATION(name) "_ZN4absl7debian312Notification" name
#define CONST_NOTIFICATION(name) "_ZNK4absl7debian312Notification" name

// Takes: what others did before they gave it up has happened before.
#define TAKES(function, symbol)                          \
  void function(void* self) asm(symbol);                 \
  void function(void* self) {                            \
    static auto* const real = Real<void(void*)>(symbol); \
    real(self);                                          \
    __tsan_acquire(self);                                \
  }

#define GIVES(function, symbol)                          \
  void function(void* self) asm(symbol);                 \
  void function(void* self) {                            \
    static auto* const real = Real<void(void*)>(symbol); \
    __tsan_release(self);                                \
    real(self);                                          \
  }

TAKES(MutexLock, MUTEX("4LockEv"))
TAKES(MutexReaderLock, MUTEX("10ReaderLockEv"))
GIVES(MutexUnlock, MUTEX("6UnlockEv"))
GIVES(MutexReaderUnlock, MUTEX("12ReaderUnlockEv"))
GIVES(Notify, NOTIFICATION("6NotifyEv"))
TAKES(WaitForNotification, CONST_NOTIFICATION("19WaitForNotificationEv"))

bool MutexTryLock(void* self) asm(MUTEX("7TryLockEv"));
bool MutexTryLock(void* self) {
  static auto* const real = Real<bool(void*)>(MUTEX("7TryLockEv"));
  const bool taken = real(self);
  if (taken) __tsan_acquire(self);
  return taken;
}

// A condition that is met by what `mutex` guards: whoever holds the mutex,
// perhaps to give it up, looks whether it is.
class Guarded {
 public:
  Guarded(void* mutex, const Condition& until)
      : mutex_(mutex), until_(until), guarded_(this, &Guarded::Met) {}

  const Condition& condition() const { return guarded_; }

 private:
  bool Met() const {
    __tsan_acquire(mutex_);
    const bool met = until_.Eval();
    __tsan_release(mutex_);
    return met;
  }

  void* const mutex_;
  const Condition& until_;
  const Condition guarded_;
};

// Given up while they wait, and taken again.
void MutexAwait(void* self,
                const Condition& until) asm(MUTEX("5AwaitERKNS0_9ConditionE"));
void MutexAwait(void* self, const Condition& until) {
  static auto* const real =
      Real<void(void*, const Condition&)>(MUTEX("5AwaitERKNS0_9ConditionE"));
  const Guarded guarded(self, until);
  __tsan_release(self);
  real(self, guarded.condition());
  __tsan_acquire(self);
}

bool MutexAwaitWithDeadline(
    void* self, const Condition& until,
    Time
        deadline) asm(MUTEX("17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE"));
bool MutexAwaitWithDeadline(void* self, const Condition& until, Time deadline) {
  static auto* const real = Real<bool(void*, const Condition&, Time)>(
      MUTEX("17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE"));
  const Guarded guarded(self, until);
  __tsan_release(self);
  const bool met = real(self, guarded.condition(), deadline);
  __tsan_acquire(self);
  return met;
}

bool MutexAwaitWithTimeout(
    void* self, const Condition& until,
    Duration
        limit) asm(MUTEX("16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE"));
bool MutexAwaitWithTimeout(void* self, const Condition& until, Duration limit) {
  static auto* const real = Real<bool(void*, const Condition&, Duration)>(
      MUTEX("16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE"));
  const Guarded guarded(self, until);
  __tsan_release(self);
  const bool met = real(self, guarded.condition(), limit);
  __tsan_acquire(self);
  return met;
}

bool WaitForNotificationWithTimeout(const void* self, Duration limit) asm(
    CONST_NOTIFICATION("30WaitForNotificationWithTimeoutENS0_8DurationE"));
bool WaitForNotificationWithTimeout(const void* self, Duration limit) {
  static auto* const real = Real<bool(const void*, Duration)>(
      CONST_NOTIFICATION("30WaitForNotificationWithTimeoutENS0_8DurationE"));
  const bool notified = real(self, limit);
  if (notified) __tsan_acquire(const_cast<void*>(self));
  return notified;
}
