#include "state_preserve/handover_key.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace live_update {
namespace {

// Not the beginning of anything else that a key signs.
constexpr absl::string_view kKeyIdMessage = "HANDOVER-KEY-ID";

}  // namespace

absl::StatusOr<HandoverKey> HandoverKey::FromBytes(absl::string_view bytes) {
  if (bytes.size() < kMinHandoverKeyBytes ||
      bytes.size() > kMaxHandoverKeyBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a handover key of ", bytes.size(), " bytes; it takes ",
                     kMinHandoverKeyBytes, " to ", kMaxHandoverKeyBytes,
                     ": make one with `head -c 32 /dev/urandom`"));
  }
  HandoverKey key(bytes);
  LU_ASSIGN_OR_RETURN(const Mac mac, key.MacOf(kKeyIdMessage));
  std::copy_n(mac.begin(), key.id_.size(), key.id_.begin());
  return key;
}

absl::StatusOr<HandoverKey> HandoverKey::FromFile(const std::string& path) {
  // Without O_NONBLOCK a FIFO in its place would hold us up for good.
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat file {};
  if (!fd.ok() || fstat(fd.get(), &file) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("open handover key ", path));
  }
  if (!S_ISREG(file.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("handover key ", path, ": not a regular file"));
  }
  if ((file.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return absl::PermissionDeniedError(absl::StrFormat(
        "handover key %s has mode %04o, so others may know it: make a new one "
        "with mode 0600",
        path, file.st_mode & 07777));
  }
  if (static_cast<uint64_t>(file.st_size) > kMaxHandoverKeyBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("handover key ", path, ": ", file.st_size,
                     " bytes, more than ", kMaxHandoverKeyBytes));
  }
  absl::StatusOr<std::string> bytes = ReadAll(fd, kMaxHandoverKeyBytes);
  if (!bytes.ok()) {
    return Annotate(bytes.status(), absl::StrCat("handover key ", path));
  }
  absl::StatusOr<HandoverKey> key = FromBytes(*bytes);
  OPENSSL_cleanse(bytes->data(), bytes->size());
  if (!key.ok()) return Annotate(key.status(), path);
  return key;
}

HandoverKey::HandoverKey(HandoverKey&& other) noexcept
    : bytes_(std::move(other.bytes_)), id_(other.id_) {
  // Keys are too long for a string to hold them in itself: nothing of it is
  // left in `other`.
}

HandoverKey& HandoverKey::operator=(HandoverKey&& other) noexcept {
  if (this != &other) {
    Erase();
    bytes_ = std::move(other.bytes_);
    id_ = other.id_;
  }
  return *this;
}

HandoverKey::~HandoverKey() { Erase(); }

void HandoverKey::Erase() {
  OPENSSL_cleanse(bytes_.data(), bytes_.size());
  bytes_.clear();
}

absl::StatusOr<Mac> HandoverKey::MacOf(absl::string_view message) const {
  Mac mac{};
  unsigned int size = 0;
  if (HMAC(EVP_sha256(), bytes_.data(), static_cast<int>(bytes_.size()),
           reinterpret_cast<const uint8_t*>(message.data()), message.size(),
           mac.data(), &size) == nullptr ||
      size != mac.size()) {
    return absl::InternalError("libcrypto can't compute an HMAC-SHA256");
  }
  return mac;
}

std::string ToHex(absl::Span<const uint8_t> bytes) {
  return absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

absl::StatusOr<SectionDigest> Sha256(absl::Span<const uint8_t> bytes) {
  SectionDigest digest{};
  unsigned int size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.sha256, &size, EVP_sha256(),
                 nullptr) != 1 ||
      size != sizeof(digest.sha256)) {
    return absl::InternalError("libcrypto can't compute a SHA-256");
  }
  return digest;
}

bool EqualInConstantTime(absl::Span<const uint8_t> a,
                         absl::Span<const uint8_t> b) {
  return a.size() == b.size() &&
         CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace live_update
