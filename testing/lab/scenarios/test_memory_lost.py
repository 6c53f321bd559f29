"""The kernel cannot give back one VM's memory, and never will: that VM is named and can be given up; the others run."""

import pytest

from hostlab import observe, service

pytestmark = pytest.mark.only("luo")

# Any two of the VMs (208, 365 and 208 MiB in use) go into it, the three don't.
LIMIT = "680M"


def test_memory_lost(lab):
    """A restorer has no right to as much memory as all VMs have. The kernel gives up on a file for good when it can't charge it
    to who asks."""
    host = lab.host
    before = observe.Before(host, lab.guests)
    lab.service.update(host.flavor.newer, append=service.NO_RESTORE, wait_for_restore=False)
    host.wait_for_boot()

    limited = host.run(f"systemd-run --quiet --wait --pipe -p KillMode=process -p MemoryMax={LIMIT} -p MemorySwapMax=0 "
                       f"{service.PROGRAM} restore --json", 300)
    assert limited.code == service.VM_NOT_BACK, f"exit {limited.code}: {limited.out}{limited.err}"
    vms = {vm["name"]: vm for vm in lab.service.report()["vms"]}
    lost = [name for name, vm in vms.items() if vm["result"] == "NOT_RESTORED"]
    assert len(lost) == 1, vms
    assert "--discard" in vms[lost[0]]["next_step"], vms[lost[0]]
    for guest in lab.guests:
        if guest.name not in lost:
            observe.check_domain_as_before(host, guest.name, before.domains[guest.name])
            observe.check_guest_went_on(host, guest, before.consoles[guest.name])

    retried = lab.service.call(f"restore --retry {lost[0]}")
    assert retried.code == service.VM_NOT_BACK, "it was not lost for good"
    assert lab.service.call(f"restore --discard {lost[0]}").code == service.OK
    assert lab.service.leftovers() == []
    assert observe.luo_descriptors(host) == []
    lab.restart_guest(lost[0])  # Anew: its memory is gone, its definition is not.
