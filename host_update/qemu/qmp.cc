// The calls; the texts are in qmp_text.cc.
#include "host_update/qemu/qmp.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "host_update/qemu/qmp_text.h"

namespace live_update {

absl::StatusOr<std::string> Qmp::Execute(absl::string_view name,
                                         const std::string& command,
                                         absl::Time deadline) {
  absl::StatusOr<std::string> reply = channel_->Execute(command, deadline);
  if (!reply.ok()) return Annotate(reply.status(), name);
  return reply;
}

absl::Status Qmp::ExecuteForNothing(absl::string_view name,
                                    const std::string& command,
                                    absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(const std::string reply,
                      Execute(name, command, deadline));
  return Annotate(ParseQmpReply(reply).status(), name);
}

absl::Status Qmp::SetMigrationMode(MigrationMode mode, absl::Time deadline) {
  return ExecuteForNothing("migrate-set-parameters",
                           SetMigrationModeCommand(mode), deadline);
}

absl::Status Qmp::Migrate(absl::string_view main_socket,
                          absl::string_view cpr_socket, absl::Time deadline) {
  return ExecuteForNothing("migrate", MigrateCommand(main_socket, cpr_socket),
                           deadline);
}

absl::Status Qmp::CancelMigration(absl::Time deadline) {
  return ExecuteForNothing("migrate_cancel", QmpCommand("migrate_cancel"),
                           deadline);
}

absl::StatusOr<MigrationInfo> Qmp::QueryMigrate(absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(
      const std::string reply,
      Execute("query-migrate", QmpCommand("query-migrate"), deadline));
  return ParseMigrationInfo(reply);
}

absl::StatusOr<std::string> Qmp::QueryStatus(absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(
      const std::string reply,
      Execute("query-status", QmpCommand("query-status"), deadline));
  LU_ASSIGN_OR_RETURN(const google::protobuf::Value value,
                      ParseQmpReply(reply));
  return StringField(value, "status");
}

absl::StatusOr<std::string> Qmp::QueryVersion(absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(
      const std::string reply,
      Execute("query-version", QmpCommand("query-version"), deadline));
  return ParseVersion(reply);
}

absl::StatusOr<std::vector<MemoryBackend>> Qmp::QueryMemoryBackends(
    absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(
      const std::string reply,
      Execute("query-memdev", QmpCommand("query-memdev"), deadline));
  return ParseMemoryBackends(reply);
}

absl::StatusOr<std::vector<QemuRamBlock>> Qmp::QueryRamBlocks(
    absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(
      const std::string reply,
      Execute("x-query-ramblock", QmpCommand("x-query-ramblock"), deadline));
  return ParseRamBlocks(reply);
}

absl::StatusOr<std::vector<std::string>> Qmp::QueryBlockJobs(
    absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(
      const std::string reply,
      Execute("query-block-jobs", QmpCommand("query-block-jobs"), deadline));
  return ParseBlockJobs(reply);
}

absl::StatusOr<google::protobuf::Value> Qmp::GetProperty(
    absl::string_view path, absl::string_view property, absl::Time deadline) {
  const std::string name = absl::StrCat("qom-get ", path, " ", property);
  google::protobuf::Struct arguments;
  SetString(arguments, "path", path);
  SetString(arguments, "property", property);
  LU_ASSIGN_OR_RETURN(
      const std::string reply,
      Execute(name, QmpCommand("qom-get", std::move(arguments)), deadline));
  absl::StatusOr<google::protobuf::Value> value = ParseQmpReply(reply);
  if (!value.ok()) return Annotate(value.status(), name);
  return value;
}

absl::StatusOr<std::string> Qmp::GetString(absl::string_view path,
                                           absl::string_view property,
                                           absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(google::protobuf::Value value,
                      GetProperty(path, property, deadline));
  if (!value.has_string_value()) {
    return absl::InternalError(
        absl::StrCat("qom-get ", path, " ", property, ": not a string"));
  }
  return std::move(*value.mutable_string_value());
}

absl::StatusOr<bool> Qmp::GetBool(absl::string_view path,
                                  absl::string_view property,
                                  absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(const google::protobuf::Value value,
                      GetProperty(path, property, deadline));
  if (!value.has_bool_value()) {
    return absl::InternalError(
        absl::StrCat("qom-get ", path, " ", property, ": not a boolean"));
  }
  return value.bool_value();
}

absl::Status Qmp::AnnounceSelf(absl::Time deadline) {
  google::protobuf::Struct arguments;
  SetNumber(arguments, "initial", 50);
  SetNumber(arguments, "max", 550);
  SetNumber(arguments, "rounds", 5);
  SetNumber(arguments, "step", 100);
  return ExecuteForNothing("announce-self",
                           QmpCommand("announce-self", std::move(arguments)),
                           deadline);
}

absl::Status Qmp::ForgetMissedRtcTicks(absl::Time deadline) {
  return ExecuteForNothing("rtc-reset-reinjection",
                           QmpCommand("rtc-reset-reinjection"), deadline);
}

absl::Status Qmp::EndMigration(absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(MigrationInfo info, QueryMigrate(deadline));
  if (info.under_way()) LU_RETURN_IF_ERROR(CancelMigration(deadline));
  absl::Duration pause = absl::Milliseconds(1);
  while (info.under_way()) {
    if (absl::Now() + pause >= deadline) {
      return absl::DeadlineExceededError(absl::StrCat(
          "waited for the migration to end, it is in state ", info.status));
    }
    absl::SleepFor(pause);
    pause = std::min(2 * pause, absl::Milliseconds(50));
    LU_ASSIGN_OR_RETURN(info, QueryMigrate(deadline));
  }
  return SetMigrationMode(MigrationMode::kNormal, deadline);
}

}  // namespace live_update
