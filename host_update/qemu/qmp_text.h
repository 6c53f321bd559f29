// Building and taking apart the JSON of QMP. Private to qmp.

#ifndef HOST_UPDATE_QEMU_QMP_TEXT_H_
#define HOST_UPDATE_QEMU_QMP_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/struct.pb.h"

namespace live_update {

void SetString(google::protobuf::Struct& object, absl::string_view key,
               absl::string_view value);
void SetNumber(google::protobuf::Struct& object, absl::string_view key,
               double value);

// {"execute": name, "arguments": arguments}
std::string QmpCommand(absl::string_view name,
                       google::protobuf::Struct arguments = {});

// A field that must be there. kInternal: `object` is no object, or has no such
// field of that type.
absl::StatusOr<std::string> StringField(const google::protobuf::Value& object,
                                        absl::string_view key);
absl::StatusOr<bool> BoolField(const google::protobuf::Value& object,
                               absl::string_view key);
// A whole number that a double holds exactly.
absl::StatusOr<uint64_t> UintField(const google::protobuf::Value& object,
                                   absl::string_view key);

}  // namespace live_update

#endif  // HOST_UPDATE_QEMU_QMP_TEXT_H_
