#include "host_update/ways.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "host_update/preflight_findings.h"

namespace live_update {
namespace {

// Codes of what stands against carrying a VM in place, and against nothing
// else. (A block job, a missing bridge and a QEMU that lacks the machine are in
// the way of a start, too.)
constexpr absl::string_view kInPlaceOnly[] = {
    "VM_QEMU_VERSION",     "MACHINE_TYPE",  "RAM_NOT_SHARED",
    "RAM_NOT_PRESERVABLE", "AUX_RAM_SHARE", "QEMU_BLOCKED",
    "UNSUPPORTED_DEVICE",
};

// These keep no state outside of QEMU and libvirt. All others do, or libvirt
// does not save a VM that has them.
constexpr absl::string_view kSaveable[] = {"memoryBacking hugepages", "lease"};

// A page of RAM goes into the stream with 8 bytes before it; devices, and the
// memory of up to two displays, on top.
constexpr uint64_t kCopyMargin = uint64_t{64} << 20;
constexpr uint64_t kPagesPerMarginPage = 256;

// Decides for one host.
class Decision {
 public:
  Decision(const WaysInput& input, CheckReport& report)
      : input_(input), report_(report) {}

  VmWay Decide(const ExaminedVm& vm);

 private:
  struct Wish {
    Policy::Rule rule;
    std::string source;
  };

  Wish WishOf(const ExaminedVm& vm);
  // Why not; empty: it is possible.
  std::string Against(Policy::Way way, const ExaminedVm& vm) const;
  std::string AgainstSaving(const ExaminedVm& vm) const;
  std::string AgainstInPlace(const ExaminedVm& vm) const;
  bool HasOtherErrors(const ExaminedVm& vm) const;
  std::vector<std::string> ChoicesOf(const ExaminedVm& vm) const;
  void Refuse(const ExaminedVm& vm, absl::string_view code,
              const std::string& message, VmWay& decided);
  void NoteInPlaceErrors(const ExaminedVm& vm, Policy::Way way);
  Findings FindingsOf(const ExaminedVm& vm) {
    return Findings(vm.info.ref.name, &report_);
  }
  bool Fits(uint64_t ram_bytes) const;

  const WaysInput& input_;
  CheckReport& report_;
  uint64_t copied_bytes_ = 0;
};

uint64_t RamBytes(const ExaminedVm& vm) {
  uint64_t bytes = 0;
  if (!vm.facts.ok()) return 0;
  for (const GuestRam& ram : vm.facts->ram) bytes += ram.size_bytes;
  return bytes;
}

bool IsInPlaceOnly(const Finding& finding) {
  return std::find(std::begin(kInPlaceOnly), std::end(kInPlaceOnly),
                   finding.code()) != std::end(kInPlaceOnly);
}

Decision::Wish Decision::WishOf(const ExaminedVm& vm) {
  Wish wish = {.rule = {}, .source = "the default"};
  if (input_.policy.ok()) {
    const auto [number, rule] =
        FindRule(*input_.policy, vm.info.ref.name, vm.info.ref.uuid);
    if (rule != nullptr) {
      wish = {.rule = *rule,
              .source = absl::StrCat("rule ", number, " of the policy file")};
    }
  }
  if (vm.facts.ok() && !vm.facts->policy.empty()) {
    const absl::StatusOr<Policy::Rule> rule = RuleOfMetadata(vm.facts->policy);
    if (rule.ok()) {
      wish = {.rule = *rule, .source = "its metadata"};
    } else {
      FindingsOf(vm).Error(
          "VM_POLICY",
          absl::StrCat("the policy in its metadata can't be read: ",
                       rule.status().message()),
          absl::StrCat("virsh metadata ", vm.info.ref.name,
                       " --uri urn:host-update:policy:1 shows it; --edit "
                       "mends it, --remove takes it out"));
    }
  }
  for (const std::string& key : {vm.info.ref.name, vm.info.ref.uuid}) {
    const auto asked = input_.asked.find(key);
    if (asked == input_.asked.end()) continue;
    // Order and clock stay as they were.
    wish.rule.set_way(ParseWay(asked->second).value_or(Policy::REFUSE));
    wish.rule.clear_fallback();
    wish.source = "--way";
  }
  return wish;
}

std::string Decision::AgainstInPlace(const ExaminedVm& vm) const {
  for (const Finding& finding : report_.findings()) {
    if (finding.severity() == Finding::ERROR && IsInPlaceOnly(finding) &&
        finding.subject() == vm.info.ref.name) {
      return finding.message();
    }
  }
  return "";
}

bool Decision::HasOtherErrors(const ExaminedVm& vm) const {
  return std::any_of(report_.findings().begin(), report_.findings().end(),
                     [&](const Finding& finding) {
                       return finding.severity() == Finding::ERROR &&
                              !IsInPlaceOnly(finding) &&
                              finding.subject() == vm.info.ref.name;
                     });
}

std::string Decision::AgainstSaving(const ExaminedVm& vm) const {
  if (!vm.facts->save_blocked_reasons.empty()) {
    return absl::StrCat("QEMU says: ", vm.facts->save_blocked_reasons.front());
  }
  for (const std::string& device : vm.facts->unsupported) {
    const bool saveable =
        std::any_of(std::begin(kSaveable), std::end(kSaveable),
                    [&](absl::string_view known) {
                      return absl::StartsWith(device, known);
                    });
    if (!saveable) return absl::StrCat(device, " can't be saved");
  }
  if (!vm.facts->block_jobs.empty()) return "a block job is active";
  return "";
}

bool Decision::Fits(uint64_t ram_bytes) const {
  const absl::StatusOr<PreservedMount>& preserved = input_.host.preserved;
  if (!preserved.ok()) return false;
  const uint64_t taken = copied_bytes_ + input_.state_area_bytes;
  return preserved->free_bytes >= taken &&
         preserved->free_bytes - taken >= CopyBytesFor(ram_bytes);
}

std::string Decision::Against(Policy::Way way, const ExaminedVm& vm) const {
  if (!vm.facts.ok()) return "it could not be examined";
  const std::string transient =
      vm.info.persistent ? ""
                         : "it is transient: libvirt forgets it once it is off";
  switch (way) {
    case Policy::IN_PLACE:
      return AgainstInPlace(vm);
    case Policy::COPY:
      if (input_.backend == Backend::kLuo) return "copies need the backend dax";
      if (!Fits(RamBytes(vm))) {
        return absl::StrCat(
            "its copy takes ", Size(CopyBytesFor(RamBytes(vm))),
            " of preserved memory; ",
            input_.host.preserved.ok()
                ? absl::StrCat(Size(input_.host.preserved->free_bytes),
                               " are free, of which ",
                               Size(input_.state_area_bytes + copied_bytes_),
                               " are for other VMs")
                : std::string(input_.host.preserved.status().message()));
      }
      return AgainstSaving(vm);
    case Policy::MANAGEDSAVE:
      return transient.empty() ? AgainstSaving(vm) : transient;
    case Policy::SHUTDOWN:
      if (vm.info.state != VmState::kRunning) {
        return "it is paused: its guest can't shut down";
      }
      return transient;
    default:
      return "";
  }
}

std::vector<std::string> Decision::ChoicesOf(const ExaminedVm& vm) const {
  std::vector<std::string> choices;
  for (const Policy::Way way : {Policy::IN_PLACE, Policy::COPY,
                                Policy::MANAGEDSAVE, Policy::SHUTDOWN}) {
    if (Against(way, vm).empty()) choices.emplace_back(WayName(way));
  }
  return choices;
}

void Decision::Refuse(const ExaminedVm& vm, absl::string_view code,
                      const std::string& message, VmWay& decided) {
  decided.way = Policy::REFUSE;
  decided.why = message;
  decided.choices = ChoicesOf(vm);
  const std::string& name = vm.info.ref.name;
  FindingsOf(vm).Error(
      code,
      decided.choices.empty()
          ? message
          : absl::StrCat(message, "; it can be carried by: ",
                         absl::StrJoin(decided.choices, ", ")),
      decided.choices.empty()
          ? absl::StrCat("shut it down or move it to another host: virsh "
                         "shutdown ",
                         name)
          : absl::StrCat("--way ", name, "=", decided.choices.front(),
                         ", or a rule in the policy file"));
}

// Facts they remain, but nothing that stands against the update.
void Decision::NoteInPlaceErrors(const ExaminedVm& vm, Policy::Way way) {
  for (Finding& finding : *report_.mutable_findings()) {
    if (finding.severity() != Finding::ERROR || !IsInPlaceOnly(finding) ||
        finding.subject() != vm.info.ref.name) {
      continue;
    }
    finding.set_severity(Finding::OK);
    finding.set_message(
        absl::StrCat("no matter for ", WayName(way), ": ", finding.message()));
    finding.clear_remedy();
  }
}

VmWay Decision::Decide(const ExaminedVm& vm) {
  VmWay decided{.info = vm.info, .ram_bytes = RamBytes(vm)};
  const Wish wish = WishOf(vm);
  decided.restore_priority = wish.rule.restore_priority();
  decided.shutdown_timeout = ShutdownTimeoutOf(wish.rule);
  decided.leave_guest_clock = wish.rule.guest_clock() == Policy::LEAVE;
  Policy::Way way = wish.rule.way() == Policy::WAY_UNSPECIFIED
                        ? Policy::IN_PLACE
                        : wish.rule.way();
  if (HasOtherErrors(vm)) {
    // Another finding has told of it, and no way leads around it.
    decided.way = Policy::REFUSE;
    decided.why = "see what its check says";
    return decided;
  }
  if (way == Policy::REFUSE) {
    Refuse(vm, "WAY", absl::StrCat("refused, by ", wish.source), decided);
    return decided;
  }
  const std::string against = Against(way, vm);
  if (against.empty()) {
    decided.why = absl::StrCat("by ", wish.source);
  } else if (way == Policy::IN_PLACE &&
             wish.rule.fallback() != Policy::WAY_UNSPECIFIED &&
             wish.rule.fallback() != Policy::REFUSE &&
             Against(wish.rule.fallback(), vm).empty()) {
    way = wish.rule.fallback();
    decided.why = absl::StrCat("by ", wish.source,
                               ", as it can't be in place: ", against);
  } else {
    const bool is_copy = way == Policy::COPY;
    Refuse(vm,
           is_copy && input_.backend == Backend::kLuo ? "COPY_BACKEND"
           : is_copy && !Fits(decided.ram_bytes)      ? "COPY_SPACE"
                                                      : "WAY",
           way == Policy::IN_PLACE
               ? absl::StrCat("can't be carried in place: ", against)
               : absl::StrCat("can't be carried by ", WayName(way),
                              ", asked for by ", wish.source, ": ", against),
           decided);
    return decided;
  }
  decided.way = way;
  if (way == Policy::IN_PLACE) return decided;
  if (way == Policy::COPY) copied_bytes_ += CopyBytesFor(decided.ram_bytes);
  NoteInPlaceErrors(vm, way);
  const std::string what = absl::StrCat(WayName(way), ", ", decided.why);
  if (against.empty()) {
    FindingsOf(vm).Ok("WAY", what);
  } else {
    FindingsOf(vm).Warning("WAY", what,
                           "`hostupdatectl enable` it, and start it anew");
  }
  return decided;
}

void CheckPolicy(const WaysInput& input, CheckReport& report) {
  Findings findings("host", &report);
  if (!input.policy.ok()) {
    findings.Error("POLICY", input.policy.status().message(),
                   "mend the file; without one every VM is carried in place");
  }
  for (const auto& asked : input.asked) {
    const bool known = std::any_of(input.vms.begin(), input.vms.end(),
                                   [&asked](const ExaminedVm& vm) {
                                     return vm.info.ref.IsCalled(asked.first);
                                   });
    if (!known) {
      findings.Error("POLICY",
                     absl::StrCat("--way ", asked.first, "=", asked.second,
                                  ": there is no such VM"),
                     "virsh list --all");
    }
  }
}

}  // namespace

uint64_t CopyBytesFor(uint64_t ram_bytes) {
  return ram_bytes + ram_bytes / kPagesPerMarginPage + kCopyMargin;
}

std::vector<VmWay> DecideWays(const WaysInput& input, CheckReport& report) {
  CheckPolicy(input, report);
  Decision decision(input, report);
  std::vector<VmWay> ways;
  for (const ExaminedVm& vm : input.vms) {
    if (vm.info.state == VmState::kOff) continue;
    VmWay way = decision.Decide(vm);
    UpdatePlan::Vm& entry = *report.add_vms();
    entry.set_name(vm.info.ref.name);
    entry.set_uuid(vm.info.ref.uuid);
    entry.set_way(std::string(WayName(way.way)));
    entry.set_ram_bytes(way.ram_bytes);
    entry.set_why(way.why);
    entry.mutable_choices()->Assign(way.choices.begin(), way.choices.end());
    entry.set_restore_priority(way.restore_priority);
    ways.push_back(std::move(way));
  }
  SetGo(&report);
  return ways;
}

}  // namespace live_update
