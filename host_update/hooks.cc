#include "host_update/hooks.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/directory.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "host_update/hook_process.h"

namespace live_update {
namespace {

constexpr char kPath[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

bool IsHookName(absl::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' ||
           c == '-';
  });
}

// Why others than root could have a say in it; empty: they can't.
std::string WhyNotTrusted(const struct stat& file) {
  if (file.st_uid != 0 && file.st_uid != geteuid()) {
    return absl::StrCat("it belongs to uid ", file.st_uid,
                        ", not to root: chown root it");
  }
  if ((file.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return absl::StrFormat(
        "others than its owner can write it (mode %04o): chmod go-w it",
        file.st_mode & 07777);
  }
  return "";
}

absl::StatusOr<std::string> WhyFolderNotTrusted(const UniqueFd& folder) {
  struct stat file {};
  if (fstat(folder.get(), &file) != 0) {
    return absl::ErrnoToStatus(errno, "look at the folder of hooks");
  }
  return WhyNotTrusted(file);
}

std::string FolderOf(const std::string& hooks_dir, HookKind kind) {
  return absl::StrCat(hooks_dir, "/", HookKindName(kind));
}

std::vector<std::string> EnvironmentOf(HookKind kind,
                                       const HookContext& context) {
  std::vector<std::string> environment = {
      kPath, absl::StrCat("HOST_UPDATE_HOOK=", HookKindName(kind)),
      absl::StrCat("HOST_UPDATE_ID=", context.update_id)};
  const auto add = [&environment](absl::string_view name,
                                  const std::string& value) {
    if (!value.empty()) environment.push_back(absl::StrCat(name, "=", value));
  };
  const auto seconds = [](double value) {
    return value > 0 ? absl::StrFormat("%.1f", value) : "";
  };
  add("HOST_UPDATE_KERNEL", context.kernel);
  add("HOST_UPDATE_PREDICTED_BLACKOUT_S",
      seconds(context.predicted_blackout_s));
  if (kind == HookKind::kPostResume) {
    add("HOST_UPDATE_RESULT", context.result);
    add("HOST_UPDATE_BLACKOUT_S", seconds(context.blackout_s));
  }
  return environment;
}

absl::Status RunHook(HookKind kind, const std::string& name,
                     const HookContext& context, const Dependencies& deps) {
  const std::string label = absl::StrCat(HookKindName(kind), " hook ", name);
  LogInfo(label);
  HookProcess process = {
      .path = absl::StrCat(FolderOf(deps.paths.hooks_dir, kind), "/", name),
      .environment = EnvironmentOf(kind, context),
      .limit = HookLimit(kind, deps.limits),
      .output = [&label](absl::string_view line) {
        LogInfo(absl::StrCat(label, ": ", line));
      }};
  // What lets others run again is not cut short.
  if (kind != HookKind::kPostResume) process.stop = deps.stop_asked;
  return Annotate(RunHookProcess(process), label);
}

Finding Failed(absl::string_view message) {
  Finding finding;
  finding.set_code("HOOK_FAILED");
  finding.set_severity(Finding::WARNING);
  finding.set_subject("host");
  finding.set_message(std::string(message));
  finding.set_remedy(
      "run by hand what it should have done; the VMs are not affected");
  LogError(message);
  return finding;
}

}  // namespace

absl::string_view HookKindName(HookKind kind) {
  switch (kind) {
    case HookKind::kNotify:
      return "notify";
    case HookKind::kPrePause:
      return "pre-pause";
    case HookKind::kPostResume:
      break;
  }
  return "post-resume";
}

absl::Duration HookLimit(HookKind kind, const TimeLimits& limits) {
  switch (kind) {
    case HookKind::kNotify:
      return limits.notify_hook;
    case HookKind::kPrePause:
      return limits.pre_pause_hook;
    case HookKind::kPostResume:
      break;
  }
  return limits.post_resume_hook;
}

absl::StatusOr<HookFiles> ListHooks(const std::string& hooks_dir,
                                    HookKind kind) {
  HookFiles files;
  const absl::StatusOr<UniqueFd> parent = OpenDirectory(hooks_dir);
  if (absl::IsNotFound(parent.status())) return files;
  LU_RETURN_IF_ERROR(parent.status());
  const absl::StatusOr<UniqueFd> folder =
      OpenDirectoryAt(*parent, std::string(HookKindName(kind)));
  if (absl::IsNotFound(folder.status())) return files;
  LU_RETURN_IF_ERROR(folder.status());
  LU_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                      ListDirectory(*folder));
  LU_ASSIGN_OR_RETURN(std::string parent_why, WhyFolderNotTrusted(*parent));
  LU_ASSIGN_OR_RETURN(std::string folder_why, WhyFolderNotTrusted(*folder));
  for (const std::string& name : names) {
    if (!IsHookName(name)) continue;
    const std::string path = absl::StrCat(FolderOf(hooks_dir, kind), "/", name);
    struct stat file {};
    if (fstatat(folder->get(), name.c_str(), &file, AT_SYMLINK_NOFOLLOW) != 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat("look at ", path));
    }
    if (!S_ISREG(file.st_mode)) {
      files.refused.push_back(
          absl::StrCat(path,
                       " is no regular file: put the executable itself "
                       "there, or take it away"));
      continue;
    }
    if ((file.st_mode & 0111) == 0) continue;  // Switched off.
    if (std::string why = WhyNotTrusted(file); !why.empty()) {
      files.refused.push_back(absl::StrCat(path, ": ", why));
    } else if (!folder_why.empty()) {
      files.refused.push_back(absl::StrCat(path, ", its folder: ", folder_why));
    } else if (!parent_why.empty()) {
      files.refused.push_back(absl::StrCat(hooks_dir, ": ", parent_why));
    } else {
      files.names.push_back(name);
    }
  }
  return files;
}

absl::Status RunHooks(HookKind kind, const HookContext& context,
                      const Dependencies& deps) {
  LU_ASSIGN_OR_RETURN(const HookFiles files,
                      ListHooks(deps.paths.hooks_dir, kind));
  if (!files.refused.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "hooks are refused: ", absl::StrJoin(files.refused, "; ")));
  }
  for (const std::string& name : files.names) {
    LU_RETURN_IF_ERROR(RunHook(kind, name, context, deps));
  }
  return absl::OkStatus();
}

std::vector<Finding> RunPostResumeHooks(const HookContext& context,
                                        const Dependencies& deps) {
  constexpr HookKind kKind = HookKind::kPostResume;
  std::vector<Finding> findings;
  const absl::StatusOr<HookFiles> files =
      ListHooks(deps.paths.hooks_dir, kKind);
  if (!files.ok()) {
    findings.push_back(Failed(absl::StrCat("post-resume hooks did not run: ",
                                           files.status().message())));
    return findings;
  }
  for (const std::string& line : files->refused) {
    findings.push_back(Failed(absl::StrCat("a hook did not run: ", line)));
  }
  for (const std::string& name : files->names) {
    const absl::Status status = RunHook(kKind, name, context, deps);
    if (!status.ok()) findings.push_back(Failed(status.message()));
  }
  return findings;
}

}  // namespace live_update
