"""VMs that can't be carried are named with the reason before anything happens, and nothing happens to them or others.

What does not start without hardware or a process at the other end (hostdev, SEV, TDX, virtiofs, vhost-user) is refused by what the
definition says: //host_update/libvirt:domain_xml_test.
"""

import pytest

from hostlab import service
from hostlab.refused import REFUSED

GUESTS = ()
pytestmark = pytest.mark.only("dax")


@pytest.fixture(scope="module")
def vms(lab):
    for vm in REFUSED:
        vm.start(lab.host)
    return REFUSED


def _states(lab):
    return lab.host.sh("virsh list --all; cat /run/libvirt/qemu/*.pid")


def test_each_has_its_reason(lab, vms):
    """`check` names every VM, each with the code of what is in the way and a remedy."""
    result, check = lab.service.ctl_json(f"check {lab.host.flavor.newer.arguments}")
    assert result.code == service.NO_GO and not check["go"], check
    errors = [finding for finding in check["findings"] if finding["severity"] == "ERROR"]
    found = {vm.name: {e["code"]: e["message"] for e in errors if e["subject"] == vm.name} for vm in vms}
    print("\n".join(f"{name}: {code}: {text}" for name, codes in found.items() for code, text in codes.items()))
    for vm in vms:
        for code, words in vm.reasons.items():
            assert any(words in e["message"] for e in errors if (e["subject"], e["code"]) == (vm.name, code)), \
                f"{vm.name}: {code} with {words!r} is not among {found[vm.name]}"
    assert all(finding["remedy"] for finding in errors), errors
    assert {finding["subject"] for finding in errors} == {vm.name for vm in vms}, errors


def test_update_is_no_go(lab, vms):
    """The update ends before the pause: no VM stopped for a moment, no kernel staged, nothing preserved."""
    boot_id, states = lab.host.boot_id(), _states(lab)
    log = "/root/events"
    watch = lab.host.agent.start(f"exec stdbuf -oL virsh event --event lifecycle --loop > {log}")
    for update in (f"{service.CTL} {lab.service.update_arguments(lab.host.flavor.newer)} --yes",
                   f"{service.PROGRAM} {lab.service.update_arguments(lab.host.flavor.newer)}"):
        result = lab.host.run(update, 180)
        assert result.code in (service.FAILED, service.NO_GO), f"exit {result.code}: {result.out}{result.err}"
        for vm in vms:
            assert vm.name in result.out + result.err, f"{vm.name} is not named: {result.out}{result.err}"
    assert lab.host.boot_id() == boot_id
    assert _states(lab) == states
    assert lab.host.sh(f"cat {log}") == "", "a VM was paused"
    lab.host.run(f"kill {watch}")
    assert lab.host.sh("cat /sys/kernel/kexec_loaded") == "0"
    assert lab.service.leftovers() == []
