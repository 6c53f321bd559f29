#ifndef TESTING_LAB_GUEST_CONSOLE_H_
#define TESTING_LAB_GUEST_CONSOLE_H_

// Prints one line on the guest's serial console, whole, whatever other threads
// print.
__attribute__((format(printf, 1, 2))) void Print(const char* format, ...);

// Prints "FAIL what: reason of errno". The lab looks for this word; the guest
// runs on.
void PrintFailure(const char* what);

#endif  // TESTING_LAB_GUEST_CONSOLE_H_
