"""What goes wrong in the new kernel is reported, harms no other VM, and loses nothing.

One update for all of it: the restore unit is masked for that boot, so that the tests can damage things first and call
`restore` themselves.
"""

import pytest

from hostlab import observe, service
from hostlab.service import Handover


@pytest.fixture(scope="module")
def jumped(lab):
    """The lab in the new kernel, nothing restored yet; and how things were before."""
    before = observe.Before(lab.host, lab.guests)
    lab.service.jump(lab.host.flavor.newer)
    assert lab.host.kernel() == lab.host.flavor.newer.release
    return before


@pytest.fixture(scope="module")
def handover(lab, jumped):
    """None on a luo host: the handover is in memory that nobody can reach by name."""
    return Handover(lab.host) if lab.host.flavor.name == "dax" else None


def _running(lab):
    return set(lab.host.sh("virsh -q list --name").split())


def test_autostart_is_held(lab, jumped):
    """vm3 is marked for autostart, but its memory waits: libvirtd must not boot it anew."""
    assert lab.host.sh("virsh -q list --name --autostart --all") == "vm3"
    assert _running(lab) == set()


# The damage is undone after each of these. `where` finds the byte to invert.
@pytest.mark.only("dax")
@pytest.mark.parametrize("where", [
    lambda h: 0,
    lambda h: 17,
    lambda h: h.host_section() + 30,
    lambda h: h.total_size() - 1,
], ids=["magic", "header", "host_section", "last_byte"])
def test_flipped_byte(lab, handover, where):
    """A handover that can't be trusted is refused with offset and reason; no VM is started from it."""
    handover.flip(where(handover))
    _check_refused(lab, handover)


@pytest.mark.only("dax")
@pytest.mark.parametrize("size", [lambda h: 0, lambda h: 40, lambda h: h.total_size() - 8],
                         ids=["empty", "within_header", "within_host_section"])
def test_truncated(lab, handover, size):
    handover.truncate(size(handover))
    _check_refused(lab, handover)


@pytest.mark.only("dax")
def test_foreign(lab, handover):
    """Bytes of something else altogether."""
    lab.host.sh(f"dd if=/boot/vmlinuz-$(uname -r) of={handover.path} bs=4096 count=16 conv=notrunc status=none")
    _check_refused(lab, handover)


def _check_refused(lab, handover):
    try:
        result = lab.service.call("restore")
    finally:
        handover.mend()
    assert result.code not in (service.OK, service.NOTHING), f"exit {result.code}: {result.out}{result.err}"
    text = result.out + result.err
    assert "offset" in text or "magic" in text or "bytes" in text, text
    assert _running(lab) == set(), "a VM was started from a damaged handover"


def test_killed_restorer(lab, jumped):
    """SIGKILL once the handover is taken over and before a VM is started: the next `restore` finds all of it."""
    assert lab.service.call("restore", program=service.FAULTY, fault="restore:kill").code == 137
    assert _running(lab) == set()
    assert set(lab.service.status()["unrestored_vms"]) == {guest.name for guest in lab.guests}


def test_a_restore_that_ends_nowhere_is_not_begun_for_ever(lab, jumped):
    """The second killed restorer is the last that begins by itself: the third run says so, starts nothing, keeps all."""
    assert lab.service.call("restore", program=service.FAULTY, fault="restore:kill").code == 137
    result, report = lab.service.json("restore")
    assert result.code == service.VM_NOT_BACK
    assert report["result"] == "PARTIAL" and "restore --again" in report["reason"], report
    assert {vm["name"]: vm["result"] for vm in report["vms"]} == {guest.name: "NOT_RESTORED" for guest in lab.guests}
    assert _running(lab) == set()
    assert lab.host.run("test -e /run/host-update/autostart-held").code == 0
    status = lab.service.status()
    assert set(status["unrestored_vms"]) == {guest.name for guest in lab.guests}
    assert all("restore --again" in vm["next_step"] for vm in status["unrestored"]), status


def test_some_vms_fail(lab, jumped, handover):
    """vm1's disk is away, and vm2's state torn where that can be done: each is reported, the others run."""
    lost = {"vm1", "vm2"} if handover else {"vm1"}
    lab.host.sh("mv /var/lib/guests/vm1.qcow2 /root/")
    if handover:
        offset, size = handover.section_of("vm2")
        handover.flip(offset + size // 2)
    result, report = lab.service.json("restore --again")
    assert result.code == service.VM_NOT_BACK
    assert report["result"] == "PARTIAL" and not report.get("reason"), report
    for vm in report["vms"]:
        assert vm["result"] == ("NOT_RESTORED" if vm["name"] in lost else "RESTORED"), vm
        if vm["name"] in lost:
            assert vm["reason"] and vm["next_step"]
    assert set(lab.service.status()["unrestored_vms"]) == lost
    back = [guest for guest in lab.guests if guest.name not in lost]
    assert _running(lab) == {guest.name for guest in back}
    for guest in back:
        observe.check_domain_as_before(lab.host, guest.name, jumped.domains[guest.name])
        observe.check_guest_went_on(lab.host, guest, jumped.consoles[guest.name])


@pytest.mark.only("luo")
def test_no_update_while_vms_wait(lab, jumped):
    """A third kernel gets nothing of what was not finished in the second."""
    result = lab.service.call(lab.service.update_arguments(lab.host.flavor.older))
    assert result.code in (service.FAILED, service.NO_GO), f"exit {result.code}: {result.out}{result.err}"
    assert "vm1" in result.out + result.err


def test_retry_brings_them_back(lab, jumped, handover):
    """With the cause mended, `restore --retry` brings each back with memory, disk and identity as they were."""
    lab.host.sh("mv /root/vm1.qcow2 /var/lib/guests/")
    assert lab.service.call("restore --retry vm1").code == service.OK
    if handover:
        assert lab.service.call("restore --retry vm2").code == service.VM_NOT_BACK
        handover.mend()
        assert lab.service.call("restore --retry vm2").code == service.OK
    for guest in lab.guests:
        observe.check_domain_as_before(lab.host, guest.name, jumped.domains[guest.name])
        observe.check_guest_went_on(lab.host, guest, jumped.consoles[guest.name])
    assert not lab.service.status().get("unrestored_vms")
    assert lab.service.leftovers() == []
    assert observe.luo_descriptors(lab.host) == []


def test_next_update_works(lab):
    """The host is as good as before: it goes back to the older kernel."""
    # The running kernel's command line is repeated, and with it the mask of the restore unit.
    lab.service.update(lab.host.flavor.older, wait_for_restore=False)
    lab.host.wait_for_boot()
    assert lab.host.kernel() == lab.host.flavor.older.release
    result, report = lab.service.json("restore")
    assert result.code == service.OK and report["result"] == "UPDATED", report
