// The operator's secret that authenticates a handover, and what is computed
// with it.

#ifndef STATE_PRESERVE_HANDOVER_KEY_H_
#define STATE_PRESERVE_HANDOVER_KEY_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "state_preserve/format.h"

namespace live_update {

inline constexpr uint64_t kMinHandoverKeyBytes = 32;
inline constexpr uint64_t kMaxHandoverKeyBytes = 4096;

using Mac = std::array<uint8_t, sizeof(AuthenticationHead::mac)>;
using KeyId = std::array<uint8_t, sizeof(AuthenticationHead::key_id)>;

// Move-only, erased from memory when it goes. Never printed: the id is.
class HandoverKey {
 public:
  // The bytes as they are, a newline at the end included. kInvalidArgument: not
  // 32 to 4096 of them.
  static absl::StatusOr<HandoverKey> FromBytes(absl::string_view bytes);

  // What a file holds. kPermissionDenied: its mode lets group or others at it;
  // kInvalidArgument: no regular file, or of a wrong size; kNotFound and others
  // by errno. The message has the path, and never anything of the contents.
  static absl::StatusOr<HandoverKey> FromFile(const std::string& path);

  HandoverKey(HandoverKey&& other) noexcept;
  HandoverKey& operator=(HandoverKey&& other) noexcept;
  ~HandoverKey();

  // The first 8 bytes of the key's MAC of a constant: so a message can say that
  // another key was used, not just that a MAC is wrong.
  const KeyId& id() const { return id_; }

  // HMAC-SHA256. kInternal: libcrypto failed.
  absl::StatusOr<Mac> MacOf(absl::string_view message) const;

 private:
  explicit HandoverKey(absl::string_view bytes) : bytes_(bytes) {}
  void Erase();

  std::string bytes_;
  KeyId id_{};
};

// As lower-case hexadecimal digits.
std::string ToHex(absl::Span<const uint8_t> bytes);

// kInternal: libcrypto failed.
absl::StatusOr<SectionDigest> Sha256(absl::Span<const uint8_t> bytes);

// In a time that says nothing of where they differ. Of equal length only.
bool EqualInConstantTime(absl::Span<const uint8_t> a,
                         absl::Span<const uint8_t> b);

}  // namespace live_update

#endif  // STATE_PRESERVE_HANDOVER_KEY_H_
