#ifndef TESTING_LAB_GUEST_MODULES_H_
#define TESTING_LAB_GUEST_MODULES_H_

// Loads the kernel modules in /modules, whose names sort in the order they
// depend on each other.
void LoadModules();

#endif  // TESTING_LAB_GUEST_MODULES_H_
