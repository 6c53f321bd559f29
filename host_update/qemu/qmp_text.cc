#include "host_update/qemu/qmp_text.h"

#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "google/protobuf/util/json_util.h"
#include "host_update/qemu/qmp.h"

namespace live_update {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

// Appends `value` with the keys of objects in order: protobuf's own printer
// takes them in the order of a hash map, another one in each process.
void AppendJson(const Value& value, std::string& out) {
  if (value.has_list_value()) {
    absl::string_view separator = "[";
    for (const Value& element : value.list_value().values()) {
      absl::StrAppend(&out, std::exchange(separator, ","));
      AppendJson(element, out);
    }
    absl::StrAppend(&out, separator == "[" ? "[]" : "]");
  } else if (value.has_struct_value()) {
    const auto& fields = value.struct_value().fields();
    const std::map<std::string, Value> sorted(fields.begin(), fields.end());
    absl::string_view separator = "{";
    for (const auto& [key, field] : sorted) {
      absl::StrAppend(&out, std::exchange(separator, ","), "\"", key, "\":");
      AppendJson(field, out);
    }
    absl::StrAppend(&out, separator == "{" ? "{}" : "}");
  } else {
    std::string scalar;
    // Fails only for what we never send: numbers that are not finite.
    (void)google::protobuf::util::MessageToJsonString(value, &scalar);
    absl::StrAppend(&out, scalar);
  }
}

std::string ToJson(Struct object) {
  Value value;
  *value.mutable_struct_value() = std::move(object);
  std::string json;
  AppendJson(value, json);
  return json;
}

Struct SocketChannel(absl::string_view type, absl::string_view path) {
  Struct channel;
  SetString(channel, "channel-type", type);
  Struct& address = *(*channel.mutable_fields())["addr"].mutable_struct_value();
  SetString(address, "transport", "socket");
  SetString(address, "type", "unix");
  SetString(address, "path", path);
  return channel;
}

const Value* FindField(const Value& object, absl::string_view key) {
  if (!object.has_struct_value()) return nullptr;
  const auto& fields = object.struct_value().fields();
  const auto field = fields.find(std::string(key));
  return field == fields.end() ? nullptr : &field->second;
}

absl::Status NoField(absl::string_view key) {
  return absl::InternalError(
      absl::StrCat("QEMU's reply has no usable field ", key));
}

// The list that a reply returns.
absl::StatusOr<std::vector<Value>> ParseList(absl::string_view reply) {
  LU_ASSIGN_OR_RETURN(const Value value, ParseQmpReply(reply));
  if (!value.has_list_value()) {
    return absl::InternalError("QEMU's reply is not a list");
  }
  const auto& values = value.list_value().values();
  return std::vector<Value>(values.begin(), values.end());
}

absl::StatusCode CodeOfErrorClass(absl::string_view error_class) {
  if (error_class == "CommandNotFound") return absl::StatusCode::kUnimplemented;
  if (error_class == "DeviceNotFound") return absl::StatusCode::kNotFound;
  return absl::StatusCode::kFailedPrecondition;
}

}  // namespace

void SetString(Struct& object, absl::string_view key, absl::string_view value) {
  (*object.mutable_fields())[std::string(key)].set_string_value(
      std::string(value));
}

void SetNumber(Struct& object, absl::string_view key, double value) {
  (*object.mutable_fields())[std::string(key)].set_number_value(value);
}

std::string QmpCommand(absl::string_view name, Struct arguments) {
  Struct command;
  SetString(command, "execute", name);
  if (arguments.fields_size() != 0) {
    *(*command.mutable_fields())["arguments"].mutable_struct_value() =
        std::move(arguments);
  }
  return ToJson(std::move(command));
}

absl::StatusOr<std::string> StringField(const Value& object,
                                        absl::string_view key) {
  const Value* const field = FindField(object, key);
  if (field == nullptr || !field->has_string_value()) return NoField(key);
  return field->string_value();
}

absl::StatusOr<bool> BoolField(const Value& object, absl::string_view key) {
  const Value* const field = FindField(object, key);
  if (field == nullptr || !field->has_bool_value()) return NoField(key);
  return field->bool_value();
}

absl::StatusOr<uint64_t> UintField(const Value& object, absl::string_view key) {
  constexpr double kLimit = 9007199254740992.0;  // 2^53
  const Value* const field = FindField(object, key);
  if (field == nullptr || !field->has_number_value()) return NoField(key);
  const double number = field->number_value();
  if (!(number >= 0 && number < kLimit) || std::floor(number) != number) {
    return NoField(key);
  }
  return static_cast<uint64_t>(number);
}

absl::StatusOr<Value> ParseQmpReply(absl::string_view reply) {
  if (reply.size() > kMaxQmpReplyBytes) {
    return absl::InternalError(absl::StrCat("QEMU's reply has ", reply.size(),
                                            " bytes, more than ",
                                            kMaxQmpReplyBytes));
  }
  Value root;
  if (const auto status = google::protobuf::util::JsonStringToMessage(
          std::string(reply), root.mutable_struct_value());
      !status.ok()) {
    return absl::InternalError(
        absl::StrCat("QEMU's reply is not JSON: ", status.ToString()));
  }
  if (const Value* const error = FindField(root, "error"); error != nullptr) {
    LU_ASSIGN_OR_RETURN(const std::string error_class,
                        StringField(*error, "class"));
    LU_ASSIGN_OR_RETURN(const std::string text, StringField(*error, "desc"));
    return absl::Status(CodeOfErrorClass(error_class),
                        absl::StrCat("QEMU: ", text));
  }
  const Value* const value = FindField(root, "return");
  if (value == nullptr) {
    return absl::InternalError("QEMU's reply has neither return nor error");
  }
  return *value;
}

std::string SetMigrationModeCommand(MigrationMode mode) {
  Struct arguments;
  SetString(arguments, "mode",
            mode == MigrationMode::kCprTransfer ? "cpr-transfer" : "normal");
  return QmpCommand("migrate-set-parameters", std::move(arguments));
}

std::string MigrateCommand(absl::string_view main_socket,
                           absl::string_view cpr_socket) {
  Struct arguments;
  auto& channels =
      *(*arguments.mutable_fields())["channels"].mutable_list_value();
  *channels.add_values()->mutable_struct_value() =
      SocketChannel("main", main_socket);
  *channels.add_values()->mutable_struct_value() =
      SocketChannel("cpr", cpr_socket);
  return QmpCommand("migrate", std::move(arguments));
}

std::string IncomingCprChannel(absl::string_view socket) {
  return ToJson(SocketChannel("cpr", socket));
}

absl::StatusOr<MigrationInfo> ParseMigrationInfo(absl::string_view reply) {
  LU_ASSIGN_OR_RETURN(const Value value, ParseQmpReply(reply));
  if (!value.has_struct_value()) {
    return absl::InternalError("QEMU's reply to query-migrate is no object");
  }
  MigrationInfo info;
  info.status = "none";
  // QEMU leaves the status out before the first migration.
  if (FindField(value, "status") != nullptr) {
    LU_ASSIGN_OR_RETURN(info.status, StringField(value, "status"));
  }
  if (FindField(value, "error-desc") != nullptr) {
    LU_ASSIGN_OR_RETURN(info.error, StringField(value, "error-desc"));
  }
  if (const Value* const reasons = FindField(value, "blocked-reasons")) {
    for (const Value& reason : reasons->list_value().values()) {
      if (!reason.has_string_value()) return NoField("blocked-reasons");
      info.blocked_reasons.push_back(reason.string_value());
    }
  }
  return info;
}

absl::StatusOr<std::vector<MemoryBackend>> ParseMemoryBackends(
    absl::string_view reply) {
  LU_ASSIGN_OR_RETURN(const std::vector<Value> values, ParseList(reply));
  std::vector<MemoryBackend> backends;
  for (const Value& value : values) {
    MemoryBackend backend;
    LU_ASSIGN_OR_RETURN(backend.id, StringField(value, "id"));
    LU_ASSIGN_OR_RETURN(backend.size_bytes, UintField(value, "size"));
    LU_ASSIGN_OR_RETURN(backend.shared, BoolField(value, "share"));
    backends.push_back(std::move(backend));
  }
  return backends;
}

absl::StatusOr<std::vector<QemuRamBlock>> ParseRamBlocks(
    absl::string_view reply) {
  LU_ASSIGN_OR_RETURN(const Value value, ParseQmpReply(reply));
  LU_ASSIGN_OR_RETURN(const std::string text,
                      StringField(value, "human-readable-text"));
  // "              Block Name    PSize              Offset               Used
  //              Total                HVA  RO", and below that, for each block:
  // "pc.ram    4 KiB  0x… 0x… 0x… 0x00007f2b6fe00000  rw"
  // (ram_block_format() in system/physmem.c). Names may have blanks in them.
  std::vector<QemuRamBlock> blocks;
  const std::vector<std::string> lines =
      absl::StrSplit(text, '\n', absl::SkipWhitespace());
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::vector<std::string> words =
        absl::StrSplit(lines[i], ' ', absl::SkipEmpty());
    // From the end: RO, HVA, Total, Used, Offset, unit, number; the rest is the
    // name.
    if (words.size() < 8) return NoField("HVA of x-query-ramblock");
    QemuRamBlock block;
    const size_t hva = words.size() - 2;
    if (!absl::SimpleHexAtoi(words[hva], &block.address) ||
        !absl::SimpleHexAtoi(words[hva - 1], &block.size_bytes)) {
      return NoField("HVA of x-query-ramblock");
    }
    const size_t unit = hva - 4;
    std::string name = words[0];
    for (size_t word = 1; word + 1 < unit; ++word) {
      absl::StrAppend(&name, " ", words[word]);
    }
    block.name = std::move(name);
    blocks.push_back(std::move(block));
  }
  return blocks;
}

absl::StatusOr<std::vector<std::string>> ParseBlockJobs(
    absl::string_view reply) {
  LU_ASSIGN_OR_RETURN(const std::vector<Value> values, ParseList(reply));
  std::vector<std::string> jobs;
  for (const Value& value : values) {
    LU_ASSIGN_OR_RETURN(const std::string type, StringField(value, "type"));
    LU_ASSIGN_OR_RETURN(const std::string device, StringField(value, "device"));
    jobs.push_back(absl::StrCat(type, " of ", device));
  }
  return jobs;
}

absl::StatusOr<std::string> ParseVersion(absl::string_view reply) {
  LU_ASSIGN_OR_RETURN(const Value value, ParseQmpReply(reply));
  const Value* const version = FindField(value, "qemu");
  if (version == nullptr) return NoField("qemu");
  LU_ASSIGN_OR_RETURN(const uint64_t major, UintField(*version, "major"));
  LU_ASSIGN_OR_RETURN(const uint64_t minor, UintField(*version, "minor"));
  LU_ASSIGN_OR_RETURN(const uint64_t micro, UintField(*version, "micro"));
  return absl::StrCat(major, ".", minor, ".", micro);
}

}  // namespace live_update
