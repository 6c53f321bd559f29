"""A new kernel that crashes before VMs run in it leads back into the old one, which restores them; what had run is reported lost.

Each test has a host of its own: a rescue kernel knows too little memory to update from.
"""

import pytest

from hostlab import observe, rescue, service
from hostlab.lab import running_lab

pytestmark = pytest.mark.only("dax")  # With luo a crash drops what was preserved.

@pytest.fixture
def lab(request, payload, logs, flavor):
    with running_lab(logs / request.node.name, payload, flavor) as lab:
        rescue.configure(lab.host)
        yield lab


def update_and_crash(lab, before):
    """The rescue kernel's report; by then the host has booted twice."""
    host, target = lab.host, lab.host.flavor.newer
    boot_id, release = rescue.update_into(lab)
    report = lab.service.report()
    assert release == target.release, "the crash was in the new kernel"
    assert len({before.boot_id, boot_id, host.boot_id()}) == 3
    assert host.kernel() == host.flavor.older.release == report["kernel_after"]
    assert report["rescue"]["crashed_kernel"] == target.release
    print(f"rescue: blackout {report['host_blackout_s']:.1f} s; "
          f"memory {host.sh('grep -m 3 Mem /proc/meminfo')}")
    return report


def check_all_came_back(lab, before, report):
    assert report["result"] == "UPDATED", report
    for guest in lab.guests:
        observe.check_domain_as_before(lab.host, guest.name, before.domains[guest.name])
        observe.check_guest_went_on(lab.host, guest, before.consoles[guest.name])
    assert lab.service.leftovers() == []


def test_all_come_back(lab):
    """The new kernel crashes as the restorer is about to start."""
    host = lab.host
    before = observe.Before(host, lab.guests)
    rescue.put_unit(host, "oneshot", order="Before=host-update-restore.service")
    report = update_and_crash(lab, before)
    check_all_came_back(lab, before, report)
    # The next kernel would get no more memory than this one has.
    result, check = lab.service.json(f"check {host.flavor.newer.arguments}")
    assert result.code == service.NO_GO
    assert any(found["code"] == "RESCUE" and "cold" in found["remedy"] for found in check["findings"]), check


def test_the_restorer_hangs(lab):
    """It stands still before a VM runs: nobody feeds the watchdog, which crashes the new kernel."""
    before = observe.Before(lab.host, lab.guests)
    rescue.configure(lab.host, watchdog_s=60)
    rescue.put_unit(lab.host, "exec", before=rescue.STOP_THE_RESTORER, end=rescue.WAIT_FOR_EVER)
    report = update_and_crash(lab, before)
    check_all_came_back(lab, before, report)
    assert report["host_blackout_s"] > 60, report


def test_one_had_run(lab):
    """It crashes once one VM has run in it, with others still to come: the saved state of the first is stale."""
    host = lab.host
    before = observe.Before(host, lab.guests)
    host.put_file("/etc/host-update/policy.textproto", "parallelism: 1\n")
    marks = f"{service.STORE}/incoming/*/resumed"
    rescue.put_unit(host, "exec", before=f"until ls {marks}/* 2> /dev/null; do sleep 0.2; done; sleep 1; ls {marks} > /root/marked;")
    report = update_and_crash(lab, before)
    assert report["result"] == "PARTIAL", report
    marked = set(host.read("/root/marked").split())
    ran = [guest for guest in lab.guests if before.domains[guest.name].uuid in marked]
    had_not = [guest for guest in lab.guests if guest not in ran]
    assert ran and had_not, marked
    vms = {vm["name"]: vm for vm in report["vms"]}
    for guest in ran:
        vm = vms[guest.name]
        assert vm["result"] == "NOT_RESTORED" and vm["lost"] and host.flavor.newer.release in vm["reason"], vm
        assert f"--discard {guest.name}" in vm["next_step"], vm
    for guest in had_not:
        assert vms[guest.name]["result"] == "RESTORED", vms[guest.name]
        observe.check_domain_as_before(host, guest.name, before.domains[guest.name])
        observe.check_guest_went_on(host, guest, before.consoles[guest.name])
    # Nobody can have them run on from there.
    for guest in ran:
        assert lab.service.call(f"restore --retry {guest.name}").code == service.VM_NOT_BACK
    assert set(host.sh("virsh -q list --name").split()) == {guest.name for guest in had_not}
    for guest in ran:
        assert lab.service.call(f"restore --discard {guest.name}").code == service.OK
    assert not lab.service.status().get("unrestored_vms")
    assert lab.service.leftovers() == []


def test_no_crash(lab):
    """What was covered is measured and reported; nothing of it is left."""
    host = lab.host
    before = observe.Before(host, lab.guests)
    report = lab.service.update(host.flavor.newer, append=rescue.ROOM)
    assert report["result"] == "UPDATED", report
    found = report["rescue"]
    assert found["armed"] and found["kernel"] == host.flavor.older.release, found
    assert found["watchdog_s"] == 360, found
    assert 0 < found["covered_s"] < found["new_kernel_s"] < report["host_blackout_s"], report
    print(f"covered: {found['covered_s']:.1f} s of the new kernel's {found['new_kernel_s']:.1f} s "
          f"({found['covered_s'] / found['new_kernel_s']:.0%}), of a blackout of {report['host_blackout_s']:.1f} s")
    assert host.sh("cat /sys/kernel/kexec_crash_loaded") == "0"
    assert host.sh("cat /proc/sys/kernel/panic_on_oops") == "0"
    assert host.sh("grep -l 'arm-rescu[e]' /proc/[0-9]*/cmdline 2> /dev/null || true") == "", "the watchdog has ended"
    check_all_came_back(lab, before, report)
