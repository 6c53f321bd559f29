#include "host_update/service/caller.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/pidfd.h"

namespace live_update {
namespace {

constexpr size_t kEntryBytes = 64 << 10;  // Of a user or group, with its names.
constexpr int kMostGroups = 65536;        // NGROUPS_MAX

}  // namespace

std::string Caller::Description() const {
  return absl::StrCat("uid ", uid, ", pid ", pid);
}

absl::StatusOr<Caller> CallerOf(int socket) {
  ucred peer = {};
  socklen_t size = sizeof(peer);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return absl::ErrnoToStatus(errno, "ask who is calling");
  }
  Caller caller{.uid = peer.uid, .gid = peer.gid, .pid = peer.pid};
  if (absl::StatusOr<UniqueFd> process = OpenPidfd(peer.pid); process.ok()) {
    caller.process = std::make_shared<const UniqueFd>(*std::move(process));
  }
  return caller;
}

bool IsRootOrMember(const Caller& caller, const std::string& group) {
  if (caller.uid == 0) return true;
  std::vector<char> buffer(kEntryBytes);
  struct group group_entry {};
  struct group* found_group = nullptr;
  if (getgrnam_r(group.c_str(), &group_entry, buffer.data(), buffer.size(),
                 &found_group) != 0 ||
      found_group == nullptr) {
    return false;
  }
  const gid_t wanted = found_group->gr_gid;
  if (caller.gid == wanted) return true;

  struct passwd user_entry {};
  struct passwd* user = nullptr;
  if (getpwuid_r(caller.uid, &user_entry, buffer.data(), buffer.size(),
                 &user) != 0 ||
      user == nullptr) {
    return false;
  }
  std::vector<gid_t> groups(64);
  int count = static_cast<int>(groups.size());
  if (getgrouplist(user->pw_name, caller.gid, groups.data(), &count) < 0) {
    if (count > kMostGroups) return false;
    groups.resize(count);
    if (getgrouplist(user->pw_name, caller.gid, groups.data(), &count) < 0) {
      return false;
    }
  }
  return std::find(groups.begin(), groups.begin() + count, wanted) !=
         groups.begin() + count;
}

}  // namespace live_update
