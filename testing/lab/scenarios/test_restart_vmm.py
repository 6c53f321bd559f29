"""A new QEMU under running VMs with no kexec: `restart-vmm`, by way of the service, and what becomes of it when it is killed.

The guests, their libvirt and a client outside must see what an update shows them: a pause and nothing else.
"""

import json

import pytest

from hostlab import observe, service
from hostlab.deadline import wait_until
from hostlab.update_run import check_agree

pytestmark = pytest.mark.only("dax")

# A guest's clock shows a blackout from here on; shorter ones it need not see.
SEEN_S = 2.0


def pid(lab, name):
    return int(lab.host.sh(f"cat /run/libvirt/qemu/{name}.pid"))


def check_went_on(lab, before, name, state="running (unpaused)"):
    """The guest and its domain are what they were, whatever QEMU it runs in. Returns its console."""
    guest = next(guest for guest in lab.guests if guest.name == name)
    observe.check_domain_as_before(lab.host, name, before.domains[name], state)
    return observe.check_guest_went_on(lab.host, guest, before.consoles[name])


def check_blackout(console, before, name, reported):
    """The guest's ticks agree with what the host reports."""
    found = observe.guest_blackouts(console, before.consoles[name].last_tick)
    if not found:
        assert reported < SEEN_S, f"{name} saw nothing of {reported:.2f} s"
        return
    longest = max(found, key=lambda gap: gap.middle)
    check_agree(name, longest, reported)
    print(f"{name}: stood still {longest} by its own ticks, {reported:.2f} s by the host")


def check_nothing_left(lab, before):
    status = lab.service.status()
    assert status["phase"] == "idle" and not status["unrestored_vms"], status
    assert lab.service.leftovers() == []
    assert lab.host.boot_id() == before.boot_id
    assert lab.host.sh("cat /sys/kernel/kexec_loaded") == "0"


def last_operation(lab):
    return lab.service.ctl_json("history --limit 1")[1]["operations"][0]


def test_what_is_refused(lab):
    """A VM that isn't there, and one that is off, are errors that say so; nobody is touched."""
    before = observe.Before(lab.host, lab.guests)
    pids = {guest.name: pid(lab, guest.name) for guest in lab.guests}
    for vms, word in (("vm9", "vm9"), ("vm1 vm1", "twice")):
        result = lab.service.ctl(f"restart-vmm {vms} --yes")
        assert result.code == service.FAILED and word in result.out + result.err, result
    assert lab.service.ctl("restart-vmm vm1 --yes", user="nobody").code == service.NO_PERMISSION
    assert {guest.name: pid(lab, guest.name) for guest in lab.guests} == pids
    check_nothing_left(lab, before)


def test_all_vms(lab, echo, logs):
    """Each goes into a new process, over the same memory; a connection from outside lives through it."""
    before = observe.Before(lab.host, lab.guests)
    pids = {guest.name: pid(lab, guest.name) for guest in lab.guests}
    result = lab.service.ctl("restart-vmm --yes --json --reason 'a new QEMU'", timeout=600)
    assert result.code == service.OK, result.out + result.err
    report = json.loads(result.out.splitlines()[-1])["restart"]
    (logs / "report.json").write_text(json.dumps(report, indent=1))
    assert report["result"] == "RESTARTED"
    assert {vm["vm"]["name"] for vm in report["vms"]} == set(pids)
    for entry in report["vms"]:
        vm = entry["vm"]
        name = vm["name"]
        assert entry["result"] == "RESTARTED" and vm["result"] == "RESTORED", entry
        assert int(entry["pid_before"]) == pids[name] != int(entry["pid_after"]) == pid(lab, name)
        assert entry["qemu_before"] and entry["qemu_after"]
        assert int(vm["ram_bytes_copied"]) == 0 and int(vm["device_state_bytes"]) > 0
        # By observe.Domain: the inode before, in libvirt's own words of it, is the inode after.
        assert before.domains[name].ram_inodes
        assert all(any(f"inode {inode}," in line for line in vm["ram_proof"]) for inode in before.domains[name].ram_inodes)
        check_blackout(check_went_on(lab, before, name), before, name, vm["blackout_s"])
    assert not echo.broken and not echo.wrong, echo
    print(f"TCP from outside: {echo}, longest gap {echo.new_gap():.2f} s")
    # It always says so of a QEMU that is ended.
    new_errors = [line for line in observe.libvirt_errors(lab.host)[len(before.libvirt_errors):]
                  if "End of file from qemu monitor" not in line]
    assert new_errors == []
    check_nothing_left(lab, before)
    operation = last_operation(lab)
    assert operation["kind"] == "RESTART_VMM" and operation["state"] == "SUCCEEDED", operation


def test_rehearsal(lab):
    """`check --rehearse` of one VM, which was restarted already; the others are left alone."""
    before = observe.Before(lab.host, lab.guests)
    pids = {guest.name: pid(lab, guest.name) for guest in lab.guests}
    result = lab.service.ctl("check --rehearse vm1 --yes")
    assert result.code == service.OK and "Rehearsal" in result.out, result.out + result.err
    print(result.out)
    assert pid(lab, "vm1") != pids["vm1"]
    assert {name: pid(lab, name) for name in ("vm2", "vm3")} == {name: pids[name] for name in ("vm2", "vm3")}
    check_went_on(lab, before, "vm1")
    check_nothing_left(lab, before)


def test_paused_stays_paused(lab):
    """And a transient domain comes back as one."""
    before = observe.Before(lab.host, lab.guests)
    lab.host.sh("virsh -q suspend vm1")
    old = pid(lab, "vm1")
    result = lab.service.call("restart-vmm vm1")
    assert result.code == service.OK, result.out + result.err
    assert pid(lab, "vm1") != old
    assert observe.state(lab.host, "vm1").startswith("paused")
    lab.host.sh("virsh -q resume vm1")
    check_went_on(lab, before, "vm1", "running (unpaused)")

    lab.host.sh("virsh -q dumpxml vm3 --inactive --security-info > /root/vm3.xml; virsh -q undefine vm3")
    consoles = observe.Before(lab.host, lab.guests).consoles
    try:
        lab.service.call("restart-vmm vm3").check()
        assert lab.host.sh("virsh dominfo vm3 | grep Persistent").split()[1] == "no"
        observe.check_guest_went_on(lab.host, next(g for g in lab.guests if g.name == "vm3"), consoles["vm3"])
    finally:
        lab.host.sh("virsh -q define /root/vm3.xml; virsh -q autostart vm3")
    check_nothing_left(lab, before)


@pytest.mark.parametrize("fault", ["save:kill", "commit:kill", "end@vm2:kill"])
def test_killed_before_the_end(lab, fault):
    """Until the old QEMU is ended `abort` has the VM run on, in whichever QEMU."""
    before = observe.Before(lab.host, lab.guests)
    old = pid(lab, "vm2")
    assert lab.service.call("restart-vmm vm2", program=service.FAULTY, fault=fault).code == 137
    assert lab.service.call("abort").code == service.OK
    # From the moment that the old one may have been told to end, the way is forward.
    assert (pid(lab, "vm2") == old) == (not fault.startswith("end@"))
    check_went_on(lab, before, "vm2", observe.state(lab.host, "vm2"))
    assert observe.state(lab.host, "vm2").startswith("running")
    check_nothing_left(lab, before)


def test_worker_killed_after_the_end(lab, echo):
    """SIGKILL of the worker when no QEMU has the VM any more: its unit goes on with it, and nothing is lost."""
    before = observe.Before(lab.host, lab.guests)
    old = pid(lab, "vm2")
    folder = "/run/systemd/system/host-update-worker@.service.d"
    lab.host.sh(f"mkdir -p {folder}")
    lab.host.put_file(f"{folder}/faulty.conf", f"[Service]\nExecStart=\nExecStart={service.FAULTY} worker\n"
                                               "Environment=HOST_UPDATE_FAULT=restore:kill\n")
    lab.host.sh("systemctl daemon-reload")
    try:
        result = lab.service.ctl("restart-vmm vm2 --yes", timeout=300)
    finally:
        lab.host.sh(f"rm -r {folder}; systemctl daemon-reload")
    assert result.code == service.FAILED and "interrupted in phase commit" in result.out + result.err, result
    assert pid(lab, "vm2") != old
    check_went_on(lab, before, "vm2")
    assert not echo.broken and not echo.wrong, echo
    check_nothing_left(lab, before)


def test_new_qemu_that_does_not_start(lab):
    """The disk goes away in between (the check refuses a VM without it): the restore fails twice, the VM is kept, no other is begun,
    and `--retry` brings it back."""
    before = observe.Before(lab.host, lab.guests)
    pids = {guest.name: pid(lab, guest.name) for guest in lab.guests}
    restart = lab.host.agent.start(f"HOST_UPDATE_FAULT=commit:delay {service.FAULTY} restart-vmm vm1 vm2 --json")
    wait_until(lambda: observe.state(lab.host, "vm1").startswith("paused"), 60, "vm1 is paused")
    lab.host.sh("mv /var/lib/guests/vm1.qcow2 /root/")
    try:
        code, out, err = wait_until(lambda: lab.host.agent.poll(restart), 300, "restart-vmm has ended")
    finally:
        lab.host.sh("mv /root/vm1.qcow2 /var/lib/guests/")
    report = json.loads(out)
    assert code == service.VM_NOT_BACK and report["result"] == "VM_NOT_BACK", out + err
    assert [vm["result"] for vm in report["vms"]] == ["NOT_BACK", "NOT_BEGUN"], report
    assert lab.service.status()["unrestored_vms"] == ["vm1"]
    assert pid(lab, "vm2") == pids["vm2"]
    assert lab.service.call("restore --retry vm1").code == service.OK
    check_went_on(lab, before, "vm1")
    check_nothing_left(lab, before)
