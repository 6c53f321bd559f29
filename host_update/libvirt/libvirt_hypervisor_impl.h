// The class behind ConnectToLibvirt. Its calls are in libvirt_hypervisor.cc
// (those that are one libvirt call), libvirt_guest_agent.cc, libvirt_save.cc
// (old kernel), libvirt_restore.cc (new kernel) and libvirt_set_aside.cc (VMs
// that libvirt saves). Private to this folder.

#ifndef HOST_UPDATE_LIBVIRT_LIBVIRT_HYPERVISOR_IMPL_H_
#define HOST_UPDATE_LIBVIRT_LIBVIRT_HYPERVISOR_IMPL_H_

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "host_update/hypervisor.h"
#include "host_update/libvirt/connection.h"
#include "host_update/libvirt/libvirt_hypervisor.h"
#include "host_update/libvirt/vm_directory.h"

namespace live_update {

class LibvirtHypervisor : public Hypervisor {
 public:
  LibvirtHypervisor(std::string uri, LibvirtOptions options)
      : connection_(std::move(uri)), options_(std::move(options)) {}

  absl::Status Connect(absl::Time deadline) {
    return connection_.Get(deadline).status();
  }

  absl::StatusOr<HypervisorVersions> Versions(absl::Time deadline) override;
  absl::StatusOr<std::vector<VmInfo>> List(absl::Time deadline) override;
  absl::StatusOr<VmFacts> Examine(const VmRef& vm,
                                  absl::Time deadline) override;
  absl::Status CheckInstalledQemu(const VmRef& vm,
                                  absl::Time deadline) override;
  absl::StatusOr<VmDescription> Describe(const VmRef& vm,
                                         absl::Time deadline) override;
  absl::Status Pause(const VmRef& vm, absl::Time deadline) override;
  absl::StatusOr<SavedVm> Save(const VmRef& vm, absl::Time deadline) override;
  absl::StatusOr<VmProcess> FindProcess(const VmRef& vm,
                                        absl::Time deadline) override;
  absl::Status EndProcess(const VmRef& vm, const VmProcess& process,
                          absl::Time deadline) override;
  absl::Status Resume(const VmRef& vm, bool run, absl::Time deadline) override;
  void EndAbandonedRestore(const VmRef& vm, absl::Time deadline) override;
  absl::Status Restore(const RestorableVm& vm, absl::Time deadline) override;
  absl::Status Announce(const VmRef& vm, absl::Time deadline) override;
  absl::StatusOr<absl::Time> GuestTime(const VmRef& vm,
                                       absl::Time deadline) override;
  absl::Status SetGuestTime(const VmRef& vm, absl::Time now,
                            absl::Time deadline) override;
  absl::Status RunGuestHook(const VmRef& vm, const std::string& word,
                            absl::Time deadline) override;
  absl::StatusOr<DefinitionChange> EditDefinition(const VmRef& vm,
                                                  const DefinitionEdit& edit,
                                                  absl::Time deadline) override;
  absl::Status Start(const VmRef& vm, absl::Time deadline) override;
  absl::Status ManagedSave(const VmRef& vm, absl::Time deadline) override;
  absl::Status SaveToFile(const VmRef& vm, const std::string& file,
                          absl::Time deadline) override;
  absl::Status RestoreFromFile(const VmRef& vm, const std::string& file,
                               bool run, absl::Time deadline) override;
  absl::Status StopSaving(const VmRef& vm, absl::Time deadline) override;
  absl::Status Shutdown(const VmRef& vm, absl::Time deadline) override;

 private:
  absl::StatusOr<VmInfo> Info(const VmRef& vm, absl::Time deadline);

  // The domain XML that can be restored from, without our additions.
  // `flags`: VIR_DOMAIN_XML_… . Without our additions.
  absl::StatusOr<std::string> GetXml(const VmRef& vm, unsigned flags,
                                     absl::Time deadline);

  // As of GuestTime, if no agent can answer.
  absl::Status CheckAgent(const VmRef& vm, absl::Time deadline);

  // What only QEMU knows, of a VM that is not off.
  absl::Status ExamineQemu(const VmRef& vm, VmFacts& facts,
                           absl::Time deadline);

  // Whether all that a restore needs is there, and nothing is in its place.
  absl::Status CheckBeforeRestore(const RestorableVm& vm, absl::Time deadline);

  struct RestoreAttempt {
    absl::Status restored;  // What libvirt said.
    absl::Status sent;  // Whether QEMU was given the VM's memory. kCancelled:
                        // it never asked for it.
  };
  // Lets libvirt start a QEMU, paused, and hands it the VM's memory. An error
  // of its own: libvirt was not asked.
  absl::StatusOr<RestoreAttempt> TryRestore(const RestorableVm& vm,
                                            const VmDirectory& directory,
                                            absl::Time deadline);

  // Has `save` of the domain saved within the time; breaks it off else.
  absl::Status SaveWith(const VmRef& vm, const std::string& what,
                        const std::function<int(virDomain*)>& save,
                        absl::Time deadline);

  // Whether ending the QEMU of `vm` is what its saved state waits for.
  absl::Status CheckBeforeEnd(const VmRef& vm, absl::Time deadline);

  // Waits until libvirt takes the VM for off, or doesn't know it any more.
  absl::Status WaitUntilOff(const VmRef& vm, absl::Time deadline);

  // OK if it runs already.
  absl::Status LetRun(const VmRef& vm, absl::Time deadline);

  // Kills the domain's QEMU. OK if it has none.
  absl::Status Destroy(const VmRef& vm, absl::Time deadline);

  Connection connection_;
  const LibvirtOptions options_;
};

}  // namespace live_update

#endif  // HOST_UPDATE_LIBVIRT_LIBVIRT_HYPERVISOR_IMPL_H_
