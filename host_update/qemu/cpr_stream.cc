#include "host_update/qemu/cpr_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"

namespace live_update {
namespace {

constexpr uint32_t kMagic = 0x51435052;  // "QCPR"
constexpr uint32_t kVersion = 1;
constexpr char kFdByte = 0x20;
constexpr char kSubsectionByte = 0x05;  // QEMU_VM_SUBSECTION

uint32_t GetU32(absl::string_view bytes) {
  uint32_t value = 0;
  for (const char byte : bytes.substr(0, 4)) {
    value = value << 8 | static_cast<uint8_t>(byte);
  }
  return value;
}

void PutU32(uint32_t value, std::string& out) {
  for (const int shift : {24, 16, 8, 0}) {
    out.push_back(static_cast<char>(value >> shift & 0xff));
  }
}

// What follows kSubsectionByte in QEMU >= 10.1 if there is no VFIO device. The
// last byte is the list's "no more".
const std::string& EmptyVfioSubsection() {
  static const auto* const bytes = new std::string(absl::StrCat(
      "\x15", "CprState/vfio devices", absl::string_view("\0\0\0\1\0", 5)));
  return *bytes;
}

bool SameKey(const CprFd& a, const CprFd& b) {
  return a.id == b.id && a.name == b.name;
}

absl::Status CheckName(absl::string_view name) {
  if (name.empty() || name.size() >= kMaxCprNameBytes ||
      name.find('\0') != absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        "cpr stream: bad name of a RAM block, ", name.size(), " bytes"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CprStreamParser::Add(absl::Span<const uint8_t> bytes,
                                  UniqueFd fd) {
  if (bytes.empty() || bytes.size() > BytesWanted()) {
    return absl::InvalidArgumentError(
        absl::StrCat("cpr stream: ", bytes.size(), " bytes at offset ", offset_,
                     " where at most ", BytesWanted(), " are due"));
  }
  if (fd.ok() != FdDue()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "cpr stream: ",
        fd.ok() ? "a file descriptor that is not due"
                : absl::StrCat("no file descriptor with the byte for ",
                               current_.name),
        " at offset ", offset_));
  }
  pending_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  offset_ += bytes.size();
  if (pending_.size() < wanted_) return absl::OkStatus();
  return Step(std::move(fd));
}

void CprStreamParser::Expect(State state, size_t bytes) {
  state_ = state;
  wanted_ = bytes;
  pending_.clear();
}

// Called with all of the `wanted_` bytes of `state_` in `pending_`.
absl::Status CprStreamParser::Step(UniqueFd fd) {
  switch (state_) {
    case State::kHeader:
      if (GetU32(pending_) != kMagic) {
        return absl::InvalidArgumentError(absl::StrFormat(
            "cpr stream: magic %#x, not %#x", GetU32(pending_), kMagic));
      }
      if (const uint32_t version =
              GetU32(absl::string_view(pending_).substr(4));
          version != kVersion) {
        return absl::UnimplementedError(absl::StrCat(
            "cpr stream: version ", version, ", only ", kVersion, " is known"));
      }
      Expect(State::kMore, 1);
      return absl::OkStatus();

    case State::kMore:
      if (pending_[0] == 0) {
        Expect(State::kEndOrSubsection, 1);
        return absl::OkStatus();
      }
      if (pending_[0] != 1) break;
      if (fds_.size() == kMaxCprFds) {
        return absl::InvalidArgumentError(absl::StrCat(
            "cpr stream: more than ", kMaxCprFds, " file descriptors"));
      }
      Expect(State::kNameLength, 4);
      return absl::OkStatus();

    case State::kNameLength:
      return StartName();

    case State::kNameAndId:
      return TakeNameAndId();

    case State::kFd:
      if (pending_[0] != kFdByte) break;
      current_.fd = std::move(fd);
      fds_.push_back(std::exchange(current_, CprFd()));
      Expect(State::kMore, 1);
      return absl::OkStatus();

    case State::kEndOrSubsection:
      if (pending_[0] != kSubsectionByte) break;
      Expect(State::kSubsection, EmptyVfioSubsection().size());
      return absl::OkStatus();

    case State::kSubsection:
      if (pending_ != EmptyVfioSubsection()) {
        return absl::UnimplementedError(
            absl::StrCat("cpr stream: a subsection that is not known (a VFIO "
                         "device?) before "
                         "offset ",
                         offset_));
      }
      Expect(State::kEnd, 1);
      return absl::OkStatus();

    case State::kEnd:
      break;
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("cpr stream: unexpected byte %#x at offset %d",
                      static_cast<uint8_t>(pending_[0]), offset_ - 1));
}

absl::Status CprStreamParser::StartName() {
  const uint32_t length = GetU32(pending_);
  if (length < 2 || length > kMaxCprNameBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("cpr stream: name length ", length, " before offset ",
                     offset_, ", must be 2 to ", kMaxCprNameBytes));
  }
  Expect(State::kNameAndId, size_t{length} + 4);
  return absl::OkStatus();
}

absl::Status CprStreamParser::TakeNameAndId() {
  const size_t name_bytes = wanted_ - 4;
  current_.name = pending_.substr(0, name_bytes - 1);
  current_.id = GetU32(absl::string_view(pending_).substr(name_bytes));
  if (pending_[name_bytes - 1] != '\0') {
    return absl::InvalidArgumentError(absl::StrCat(
        "cpr stream: name without its NUL before offset ", offset_));
  }
  LU_RETURN_IF_ERROR(CheckName(current_.name));
  if (std::any_of(fds_.begin(), fds_.end(),
                  [this](const CprFd& fd) { return SameKey(fd, current_); })) {
    return absl::InvalidArgumentError(
        absl::StrCat("cpr stream: ", current_.name,
                     " comes twice, before offset ", offset_));
  }
  Expect(State::kFd, 1);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<CprFd>> CprStreamParser::Finish() && {
  const bool at_end =
      state_ == State::kEnd || state_ == State::kEndOrSubsection;
  if (!at_end || !pending_.empty()) {
    return absl::DataLossError(
        absl::StrCat("cpr stream: ended at offset ", offset_, " after ",
                     fds_.size(), " file descriptors, before its end"));
  }
  return std::move(fds_);
}

absl::StatusOr<std::vector<CprStreamPiece>> SerializeCprStream(
    absl::Span<const CprFd> fds) {
  if (fds.size() > kMaxCprFds) {
    return absl::InvalidArgumentError(
        absl::StrCat("cpr stream: ", fds.size(), " file descriptors, at most ",
                     kMaxCprFds, " are possible"));
  }
  std::vector<CprStreamPiece> pieces;
  std::string bytes;
  PutU32(kMagic, bytes);
  PutU32(kVersion, bytes);
  for (size_t i = 0; i < fds.size(); ++i) {
    const CprFd& fd = fds[i];
    LU_RETURN_IF_ERROR(CheckName(fd.name));
    if (!fd.fd.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("cpr stream: no file descriptor for ", fd.name));
    }
    if (std::any_of(fds.begin(), fds.begin() + i,
                    [&fd](const CprFd& other) { return SameKey(fd, other); })) {
      return absl::InvalidArgumentError(
          absl::StrCat("cpr stream: ", fd.name, " comes twice"));
    }
    bytes.push_back(1);
    PutU32(static_cast<uint32_t>(fd.name.size() + 1), bytes);
    absl::StrAppend(&bytes, fd.name);
    bytes.push_back('\0');
    PutU32(fd.id, bytes);
    pieces.push_back({.bytes = std::exchange(bytes, std::string())});
    pieces.push_back({.bytes = std::string(1, kFdByte), .fd = fd.fd.get()});
  }
  bytes.push_back(0);
  pieces.push_back({.bytes = std::move(bytes)});
  return pieces;
}

}  // namespace live_update
