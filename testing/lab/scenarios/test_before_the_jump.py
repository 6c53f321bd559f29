"""Whatever fails before the jump leaves every VM running as it was, nothing staged, nothing preserved.

One host for all of them; at the end, the update works.
"""

import time

import pytest

from hostlab import observe, service
from hostlab.deadline import wait_until
from hostlab.update_run import live_update

FULL = "/var/lib/host-update/ram/full"


@pytest.fixture
def unharmed(lab):
    """Takes stock, lets the test fail an update, and asserts that nothing has come of it."""
    before = observe.Before(lab.host, lab.guests)
    before_use = lab.host.preserved_mib()
    yield before
    assert lab.host.boot_id() == before.boot_id
    assert lab.host.sh("cat /sys/kernel/kexec_loaded") == "0"
    assert lab.service.leftovers() == []
    status = lab.service.status()
    assert status.get("phase", "idle") == "idle" and not status.get("interrupted"), status
    assert abs(lab.host.preserved_mib() - before_use) <= 16, "preserved memory was not given back"
    assert observe.luo_descriptors(lab.host) == [], "a session was not closed"
    for guest in lab.guests:
        observe.check_guest_undisturbed(lab.host, guest, before)


def _update(lab, kernel=None, initrd=None, options="", **how):
    target = lab.host.flavor.newer
    initrd = initrd or target.initrd
    return lab.service.call(f"update --kernel {kernel or target.kernel} "
                            f"{f'--initrd {initrd}' if initrd else '--no-initrd'} {options}", **how)


def _says_why(result, *words):
    text = result.out + result.err
    for word in words:
        assert word in text, f"{word!r} is not in: {text}"


def test_check_and_dry_run(lab, unharmed):
    """`check` says go, `update --dry-run` prints the plan; both change nothing."""
    kernel = lab.host.flavor.newer
    result, check = lab.service.json(f"check {kernel.arguments}")
    assert result.code == service.OK and check["go"], check
    result, plan = lab.service.json(lab.service.update_arguments(kernel) + " --dry-run")
    assert result.code == service.OK
    assert {vm["name"] for vm in plan["vms"]} == {g.name for g in lab.guests}
    assert all(vm["way"] == "in-place" for vm in plan["vms"])
    assert "memmap=2G!4G" in plan["command_line"]


# A target that can't be used is found by the check, before anything is touched.
@pytest.mark.parametrize("kernel, initrd, word", [
    ("/boot/no-such-kernel", None, "no-such-kernel"),
    (None, "/boot/no-such-initrd", "no-such-initrd"),
    (None, "/boot", "/boot"),
    ("/etc/fstab", None, "/etc/fstab"),
], ids=["no_such_kernel", "no_such_initrd", "unreadable_initrd", "not_a_kernel"])
def test_unusable_target(lab, unharmed, kernel, initrd, word):
    result = _update(lab, kernel, initrd)
    assert result.code in (service.FAILED, service.NO_GO)
    _says_why(result, word)


def test_another_memmap(lab, unharmed):
    """A command line that would hand the guests' RAM to the next kernel's allocator."""
    result = _update(lab, options="--append memmap=1G!5G")
    assert result.code in (service.FAILED, service.NO_GO)
    _says_why(result, "memmap")


@pytest.mark.only("luo")
def test_orchestrator_off(lab, unharmed):
    """A command line under which the next kernel would not look for what it is given."""
    result = _update(lab, options="--append liveupdate=off")
    assert result.code in (service.FAILED, service.NO_GO)
    _says_why(result, "TARGET_LUO_CMDLINE")


@pytest.mark.only("luo")
def test_device_busy(lab, unharmed):
    """Somebody else has the orchestrator's device open."""
    pid = lab.host.agent.start("exec sleep 300 < /dev/liveupdate")
    wait_until(lambda: observe.luo_descriptors(lab.host), 60, "the device is open")
    try:
        result = _update(lab)
    finally:
        lab.host.sh(f"kill {pid}")
        wait_until(lambda: lab.host.agent.poll(pid), 60, "the device is closed")
    assert result.code in (service.FAILED, service.NO_GO), f"exit {result.code}: {result.out}{result.err}"
    _says_why(result, "/dev/liveupdate")


@pytest.mark.parametrize("fault, options, words", [
    ("pause@vm2:error", "", ["vm2"]),
    ("save@vm2:error", "", ["vm2"]),
    ("save@vm2:stall", "--save-timeout 5", ["vm2"]),
    ("prepare:error", "", []),
    ("commit:error", "", []),
    ("jump:error", "", []),
])
def test_fault(lab, unharmed, fault, options, words):
    started = time.monotonic()
    result = _update(lab, options=options, program=service.FAULTY, fault=fault)
    assert result.code == service.FAILED, f"exit {result.code}: {result.out}{result.err}"
    _says_why(result, *words)
    report = lab.service.report()
    assert report["result"] == "FAILED_UNHARMED" and report["reason"]
    assert time.monotonic() - started < 120


@pytest.mark.only("dax")
def test_preserved_memory_is_full(lab, unharmed):
    lab.host.sh(f"fallocate -l $(( $(df --output=avail -B1 /var/lib/host-update/ram | tail -1) - 1048576 )) {FULL}")
    try:
        result = _update(lab)
    finally:
        lab.host.sh(f"rm {FULL}")
    assert result.code in (service.FAILED, service.NO_GO), f"exit {result.code}: {result.out}{result.err}"
    _says_why(result, "DAX_SPACE", "free")


@pytest.mark.parametrize("phase", ["prepare", "pause", "save", "commit", "jump"])
def test_killed(lab, unharmed, phase):
    """SIGKILL on entering a phase; `abort` takes back what is left."""
    result = _update(lab, program=service.FAULTY, fault=f"{phase}:kill")
    assert result.code == 137
    aborted = lab.service.call("abort")
    assert aborted.code in (service.OK, service.NOTHING), f"exit {aborted.code}: {aborted.out}{aborted.err}"


def test_killed_then_started_again(lab, unharmed):
    """SIGKILL with all VMs paused; the next `update` takes it back by itself before it fails for its own reason."""
    assert _update(lab, program=service.FAULTY, fault="commit:kill").code == 137
    result = _update(lab, program=service.FAULTY, fault="prepare:error")
    assert result.code == service.FAILED, f"exit {result.code}: {result.out}{result.err}"


def test_busy(lab, unharmed):
    """A second update while one is under way is refused and does it no harm."""
    pid = lab.host.agent.start(
        f"HOST_UPDATE_FAULT=save@vm1:stall {service.FAULTY} {lab.service.update_arguments(lab.host.flavor.newer)} "
        "--save-timeout 20")
    wait_until(lambda: observe.state(lab.host, "vm1").startswith("paused"), 60, "the first update has paused vm1")
    assert _update(lab).code == service.BUSY
    ended = wait_until(lambda: lab.host.agent.poll(pid), 90, "the first update has ended")
    assert ended[0] == service.FAILED


def test_qemu_dies(lab):
    """A QEMU that dies during the save takes its VM along, and none of the others."""
    before = observe.Before(lab.host, lab.guests)
    pid = lab.host.agent.start(
        f"HOST_UPDATE_FAULT=save@vm2:stall {service.FAULTY} {lab.service.update_arguments(lab.host.flavor.newer)} "
        "--save-timeout 20")
    wait_until(lambda: observe.state(lab.host, "vm3").startswith("paused"), 60, "the update has paused vm3")
    lab.host.sh("kill -9 $(cat /run/libvirt/qemu/vm3.pid)")
    code, out, err = wait_until(lambda: lab.host.agent.poll(pid), 90, "the update has ended")
    assert code == service.FAILED, out + err
    assert lab.host.sh("cat /sys/kernel/kexec_loaded") == "0"
    for guest in lab.guests[:2]:
        observe.check_guest_undisturbed(lab.host, guest, before)
    assert observe.state(lab.host, "vm3").startswith("shut off")
    assert lab.service.leftovers() == []
    lab.restart_guest("vm3")


def test_update_works_after_all_that(lab, echo):
    live_update(lab, echo, "newer").check()


def test_kexec_refused(lab, unharmed):
    """The kernel itself refuses kexec_file_load (here: switched off until the next boot)."""
    lab.host.sh("echo 1 > /proc/sys/kernel/kexec_load_disabled")
    result = _update(lab)
    assert result.code in (service.FAILED, service.NO_GO), f"exit {result.code}: {result.out}{result.err}"
    _says_why(result, "kexec")
