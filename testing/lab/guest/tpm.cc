#include "testing/lab/guest/tpm.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace {

constexpr size_t kHeaderBytes = 10;
constexpr size_t kDigestBytes = 32;
// In the answer to PCR_Read: after header, counter, selection and two counts.
constexpr size_t kDigestOffset = 30;

// TPM2_PCR_Extend of register 16, with an empty password, up to the digest.
constexpr std::array<uint8_t, 33> kExtend = {
    0x80, 0x02, 0, 0,  0,    65,  0, 0, 0x01, 0x82,           // Header.
    0,    0,    0, 16,                                        // Register.
    0,    0,    0, 9,  0x40, 0,   0, 9, 0,    0,    0, 0, 0,  // Password.
    0,    0,    0, 1,  0,    0x0B};  // One SHA-256 digest.

// TPM2_PCR_Read of register 16 by SHA-256.
constexpr std::array<uint8_t, 20> kRead = {
    0x80, 0x01, 0, 0, 0, 20, 0, 0, 0x01, 0x7E, 0, 0, 0, 1, 0, 0x0B, 3, 0, 0, 1};

// The answer; empty if there is none, or it is an error.
std::vector<uint8_t> Ask(const std::vector<uint8_t>& command) {
  const int fd = open("/dev/tpm0", O_RDWR | O_CLOEXEC);
  if (fd < 0) return {};
  std::vector<uint8_t> answer(4096);
  ssize_t got = -1;
  if (write(fd, command.data(), command.size()) ==
      static_cast<ssize_t>(command.size())) {
    got = read(fd, answer.data(), answer.size());
  }
  close(fd);
  if (got < static_cast<ssize_t>(kHeaderBytes)) return {};
  answer.resize(got);
  const bool success =
      answer[6] == 0 && answer[7] == 0 && answer[8] == 0 && answer[9] == 0;
  return success ? answer : std::vector<uint8_t>();
}

}  // namespace

bool ExtendPcr() {
  std::vector<uint8_t> command(kExtend.begin(), kExtend.end());
  command.insert(command.end(), kDigestBytes, 0x5A);
  return !Ask(command).empty();
}

std::string ReadPcr() {
  const std::vector<uint8_t> answer = Ask({kRead.begin(), kRead.end()});
  if (answer.size() < kDigestOffset + kDigestBytes) return "";
  std::string text;
  for (size_t i = 0; i < 8; ++i) {
    std::array<char, 3> digits{};
    std::snprintf(digits.data(), digits.size(), "%02x",
                  unsigned{answer[kDigestOffset + i]});
    text += digits.data();
  }
  return text;
}
