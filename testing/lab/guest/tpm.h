// The guest's TPM, by two commands to /dev/tpm0. Register 16 is the one that
// anybody may extend; it is volatile, so it tells whether the emulated TPM
// went on or was started anew.

#ifndef TESTING_LAB_GUEST_TPM_H_
#define TESTING_LAB_GUEST_TPM_H_

#include <string>

// Extends register 16 once. False: there is no TPM, or it refuses.
bool ExtendPcr();

// The first bytes of register 16 in hexadecimal; empty without a TPM.
std::string ReadPcr();

#endif  // TESTING_LAB_GUEST_TPM_H_
