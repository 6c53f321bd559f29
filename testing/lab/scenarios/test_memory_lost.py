"""The kernel cannot give back one VM's memory, and never will: that VM is named and can be given up; the others run."""

import pytest

from hostlab import observe, service

pytestmark = pytest.mark.only("luo")


def test_memory_lost(lab):
    """A restorer without the right to as much memory as vm2 has tries it first. The kernel gives up on a file for good when
    it can't charge it to who asks."""
    host = lab.host
    before = observe.Before(host, lab.guests)
    lab.service.update(host.flavor.newer, append=service.NO_RESTORE, wait_for_restore=False)
    host.wait_for_boot()

    limited = host.run(f"systemd-run --quiet --wait --pipe -p KillMode=process -p MemoryMax=128M -p MemorySwapMax=0 "
                       f"{service.PROGRAM} restore --retry vm2", 300)
    assert limited.code != service.OK, limited.out + limited.err
    result, report = lab.service.json("restore", timeout=300)
    assert result.code == service.VM_NOT_BACK, f"exit {result.code}: {result.out}{result.err}"
    vms = {vm["name"]: vm for vm in report["vms"]}
    assert {name: vm["result"] for name, vm in vms.items()} == {
        "vm1": "RESTORED", "vm2": "NOT_RESTORED", "vm3": "RESTORED"}, vms
    assert "--discard" in vms["vm2"]["next_step"], vms["vm2"]
    for guest in (lab.guests[0], lab.guests[2]):
        observe.check_domain_as_before(host, guest.name, before.domains[guest.name])
        observe.check_guest_went_on(host, guest, before.consoles[guest.name])

    assert lab.service.call("restore --discard vm2").code == service.OK
    assert lab.service.leftovers() == []
    assert observe.luo_descriptors(host) == []
    lab.restart_guest("vm2")  # Anew: its memory is gone, its definition is not.
