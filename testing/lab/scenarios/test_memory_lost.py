"""The kernel cannot give back one VM's memory, and never will: that VM is named and can be given up; the others run."""

import pytest

from hostlab import observe, service
from hostlab.deadline import wait_until

pytestmark = pytest.mark.only("luo")

# The kernel charges a whole file to who asks for it: 256, 512 and 256 MiB, in parallel, and what the process itself needs. The
# two small ones are through by then.
LIMIT = "1060M"


def _is_back(lab, name):
    """Whether it runs; tries again if it does not."""
    return (observe.state(lab.host, name).startswith("running")
            or lab.service.call(f"restore --retry {name}", timeout=300).code == service.OK)


def test_memory_lost(lab):
    """The first restorer has no right to as much memory as all VMs have. The kernel kills it for that, and gives up for good on
    the file that it was about to charge. What it leaves, the second restores, or a retry when libvirt, which the first one had
    asked, has given up."""
    host = lab.host
    before = observe.Before(host, lab.guests)
    lab.service.jump(host.flavor.newer)

    limited = host.run(f"systemd-run --quiet --wait --pipe -p KillMode=process -p MemoryMax={LIMIT} -p MemorySwapMax=0 "
                       f"{service.PROGRAM} restore", 300)
    assert limited.code == service.FAILED, f"exit {limited.code}: {limited.out}{limited.err}"
    assert "failed to charge" in host.sh("dmesg"), "it did not end for want of memory"

    result, report = lab.service.json("restore", timeout=300)
    assert result.code == service.VM_NOT_BACK, f"exit {result.code}: {result.out}{result.err}"
    vms = {vm["name"]: vm for vm in report["vms"]}
    assert vms["vm2"]["result"] == "NOT_RESTORED" and "--discard" in vms["vm2"]["next_step"], vms["vm2"]
    for guest in (lab.guests[0], lab.guests[2]):
        wait_until(lambda: _is_back(lab, guest.name), 300, f"{guest.name} is back", interval=5)
        observe.check_domain_as_before(host, guest.name, before.domains[guest.name])
        observe.check_guest_went_on(host, guest, before.consoles[guest.name])

    assert lab.service.call("restore --retry vm2").code == service.VM_NOT_BACK, "it was not lost for good"
    assert lab.service.call("restore --discard vm2").code == service.OK
    assert lab.service.leftovers() == []
    assert observe.luo_descriptors(host) == []
    lab.restart_guest("vm2")  # Anew: its memory is gone, its definition is not.
