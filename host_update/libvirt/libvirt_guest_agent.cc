// The parts of LibvirtHypervisor that go to the guest agent.
//
// Through virDomainQemuAgentCommand, whose every call has a time limit of its
// own: virDomainSetTime has none but one for all users of the domain, and an
// agent that never answers would keep the domain's agent busy after us.

#include <libvirt/libvirt-qemu.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "host_update/libvirt/domain_xml.h"
#include "host_update/libvirt/libvirt_error.h"
#include "host_update/libvirt/libvirt_hypervisor_impl.h"
#include "host_update/qemu/guest_agent.h"

namespace live_update {
namespace {

constexpr size_t kLongestMessage = 256;  // Bytes; a guest can have worded it.

absl::Status Tamed(const absl::Status& status) {
  std::string text(status.message());
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isprint(static_cast<unsigned char>(c));
  });
  if (!plain) text = absl::CHexEscape(text);
  if (text.size() > kLongestMessage) {
    text.resize(kLongestMessage);
    text += "...";
  }
  return absl::Status(status.code(), text);
}

// The agent of a running domain, through libvirt.
class AgentChannel final : public QmpChannel {
 public:
  explicit AgentChannel(DomainHandle domain) : domain_(std::move(domain)) {}

  absl::StatusOr<std::string> Execute(const std::string& command,
                                      absl::Time deadline) override {
    // libvirt's limit is in whole seconds; ours is the deadline.
    const int seconds = static_cast<int>(std::clamp<int64_t>(
        absl::ToInt64Seconds(deadline - absl::Now()), 1, 60));
    absl::StatusOr<std::string> reply = CallBefore<absl::StatusOr<std::string>>(
        deadline, "the guest agent to answer",
        [domain = domain_, command, seconds]() -> absl::StatusOr<std::string> {
          char* const text = virDomainQemuAgentCommand(
              domain.get(), command.c_str(), seconds, 0);
          if (text == nullptr) return LastLibvirtError("guest agent");
          const absl::Cleanup free_text = [text] { free(text); };
          return std::string(text);
        });
    if (!reply.ok()) return Tamed(reply.status());
    return reply;
  }

 private:
  const DomainHandle domain_;
};

}  // namespace

// Most VMs have no agent. Asked nevertheless, libvirt would write an error into
// its log each time.
absl::Status LibvirtHypervisor::CheckAgent(const VmRef& vm,
                                           absl::Time deadline) {
  LU_ASSIGN_OR_RETURN(const std::string xml, GetXml(vm, 0, deadline));
  const absl::StatusOr<std::string> state = GuestAgentState(xml);
  if (absl::IsNotFound(state.status())) {
    return absl::UnimplementedError(state.status().message());
  }
  LU_RETURN_IF_ERROR(state.status());
  if (*state == "disconnected") {
    return absl::UnavailableError("no guest agent runs in the guest");
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::Time> LibvirtHypervisor::GuestTime(const VmRef& vm,
                                                        absl::Time deadline) {
  LU_RETURN_IF_ERROR(CheckAgent(vm, deadline));
  LU_ASSIGN_OR_RETURN(DomainHandle domain, connection_.Find(vm, deadline));
  AgentChannel channel(std::move(domain));
  return GuestAgent(&channel).GetTime(deadline);
}

absl::Status LibvirtHypervisor::SetGuestTime(const VmRef& vm, absl::Time now,
                                             absl::Time deadline) {
  LU_RETURN_IF_ERROR(CheckAgent(vm, deadline));
  LU_ASSIGN_OR_RETURN(DomainHandle domain, connection_.Find(vm, deadline));
  AgentChannel channel(std::move(domain));
  LU_RETURN_IF_ERROR(GuestAgent(&channel).SetTime(now, deadline));
  // A guest that counts the RTC's ticks would get those it missed on top.
  LU_ASSIGN_OR_RETURN(const std::unique_ptr<DomainMonitor> monitor,
                      DomainMonitor::Open(connection_, vm, deadline));
  if (absl::Status status = Qmp(monitor.get()).ForgetMissedRtcTicks(deadline);
      !status.ok()) {
    LogWarning(absl::StrCat(vm.name, ": ", status.message()));
  }
  return absl::OkStatus();
}

absl::Status LibvirtHypervisor::RunGuestHook(const VmRef& vm,
                                             const std::string& word,
                                             absl::Time deadline) {
  LU_RETURN_IF_ERROR(CheckAgent(vm, deadline));
  LU_ASSIGN_OR_RETURN(DomainHandle domain, connection_.Find(vm, deadline));
  AgentChannel channel(std::move(domain));
  return GuestAgent(&channel).RunHook(word, deadline);
}

}  // namespace live_update
