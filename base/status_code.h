// A stable word for an error, beside its message: what programs look at.

#ifndef BASE_STATUS_CODE_H_
#define BASE_STATUS_CODE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"

namespace live_update {

inline constexpr char kStatusCodeUrl[] = "host-update/code";

// `status`, an error, with `code` ("PLAN_CHANGED") in its payload.
inline absl::Status WithCode(absl::Status status, absl::string_view code) {
  status.SetPayload(kStatusCodeUrl, absl::Cord(code));
  return status;
}

// Empty: it has none.
inline std::string CodeOf(const absl::Status& status) {
  const auto code = status.GetPayload(kStatusCodeUrl);
  return code.has_value() ? std::string(*code) : std::string();
}

}  // namespace live_update

#endif  // BASE_STATUS_CODE_H_
