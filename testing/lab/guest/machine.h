// The guest's machine beyond its RAM, its disk and its NIC.

#ifndef TESTING_LAB_GUEST_MACHINE_H_
#define TESTING_LAB_GUEST_MACHINE_H_

#include <string>

// Leaves marks in the devices that keep them, the TPM and the UEFI variables,
// and then says every few seconds what there is:
//
//   SEE number=… cpus=0-1 nodes=0 memory_kib=… pcr=… efi=… rng=…
//
// pcr, efi, rng: what the TPM, the UEFI variable and the random number
// generator give; "-" where there is none. Never returns.
[[noreturn]] void SeeForever();

// Writes lines "1", "2", … to the terminal at `path`, one a second. Returns
// only if that fails.
void CountOn(const std::string& path);

#endif  // TESTING_LAB_GUEST_MACHINE_H_
