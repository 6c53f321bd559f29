"""A hardware watchdog guards an update: what hangs before the restore has come to its end is reset, and the boot after it restores the
VMs; what does not hang is not reset."""

import time

import pytest

from hostlab import observe, service, wdat
from hostlab.deadline import wait_until
from hostlab.guests import Guest
from hostlab.host import BOOT_S
from hostlab.update_run import live_update

pytestmark = pytest.mark.only("dax")  # With luo a reset drops what was preserved.
WATCHDOG = True
GUESTS = (Guest("vm1", disk=True, address="10.0.2.50"),)
CONFIG = f"backend = dax\nwatchdog = {wdat.DEVICE}\nwatchdog-timeout = {{}}\n"
STATE = f"/sys/class/watchdog/{wdat.DEVICE.rpartition('/')[2]}/state"
# In the boot of the update alone: once the restorer has taken the watchdog over it stands still.
HANG = f"""[Unit]
DefaultDependencies=no
ConditionKernelCommandLine=host_update.jump
[Service]
ExecStart=/bin/sh -c 'until grep -qx active {STATE}; do sleep 0.1; done; systemctl kill -s STOP {service.RESTORE_UNIT}; touch /root/stopped; sync'
[Install]
WantedBy=host-update-restore.service
"""


def configure(lab, timeout_s):
    lab.host.put_file(service.CONFIG, CONFIG.format(timeout_s))


def idle(lab):
    """Nothing runs that would reset the host."""
    return lab.host.read(STATE).strip() == "inactive" and not lab.host.run("test -e /var/lib/host-update/watchdog").code == 0


def update_into_a_hang(lab, options=""):
    """Returns the seconds from the jump to the reset."""
    host, begin, old = lab.host, lab.host.emulator.now(), lab.host.boot_id()
    host.agent.start(f"{service.PROGRAM} update {host.flavor.newer.arguments} {options} > {service.UPDATE_LOG} 2>&1")
    jumped = wait_until(lambda: [at for at, text in host.emulator.console(begin) if "Starting new kernel" in text], 240,
                        "the old kernel jumps")[0]
    after_reset = f"Linux version {host.flavor.older.release}"
    reset = wait_until(lambda: [at for at, text in host.emulator.console(begin) if after_reset in text], BOOT_S, "the host is reset")[0]
    host.wait_for_new_boot(old, BOOT_S)
    host.wait_for_boot()
    lab.service.wait_for_restore()
    return reset - jumped


def check_restored_after_a_reset(lab, before):
    report = lab.service.report()
    assert report["result"] == "UPDATED", report
    assert lab.host.kernel() == lab.host.flavor.older.release, "as the firmware starts it"
    assert lab.host.boot_id() == report["boot_id_after"] != before.boot_id
    for guest in lab.guests:
        observe.check_domain_as_before(lab.host, guest.name, before.domains[guest.name])
        observe.check_guest_went_on(lab.host, guest, before.consoles[guest.name])
    assert lab.service.leftovers() == []
    assert idle(lab)


def test_refused(lab):
    """Somebody else feeds it."""
    configure(lab, 60)
    holder = lab.host.agent.start(f"exec sleep infinity > {wdat.DEVICE}")
    wait_until(lambda: not idle(lab), 30, "the watchdog is in use")
    result, check = lab.service.json(f"check {lab.host.flavor.newer.arguments}")
    lab.host.sh(f"kill {holder}; until printf V > {wdat.DEVICE}; do sleep 0.1; done")
    assert result.code == service.NO_GO
    assert [found["remedy"] for found in check["findings"] if found["code"] == "UPDATE_WATCHDOG"][0].startswith("have systemd"), check
    assert idle(lab)


def test_the_kernel_hangs(lab):
    """It panics before its init, and stays there."""
    configure(lab, 60)
    before = observe.Before(lab.host, lab.guests)
    hung_s = update_into_a_hang(lab, "--append 'rdinit=/none panic=0'")
    print(f"reset {hung_s:.1f} s after the jump", flush=True)
    assert hung_s > 50
    check_restored_after_a_reset(lab, before)


def test_the_restorer_hangs(lab):
    lab.host.put_file("/etc/systemd/system/hang.service", HANG)
    lab.host.sh("systemctl enable --quiet hang.service")
    before = observe.Before(lab.host, lab.guests)
    update_into_a_hang(lab)
    lab.host.sh("rm /root/stopped; systemctl disable --quiet hang.service")
    check_restored_after_a_reset(lab, before)


def test_nothing_hangs(lab):
    """The watchdog is stopped once VMs run: the host outlives it."""
    configure(lab, 90)
    jumped = time.monotonic()
    run = live_update(lab, None, "newer")
    run.check()
    assert idle(lab)
    assert "modules_load=wdat_wdt" in lab.host.read("/proc/cmdline")
    time.sleep(max(0.0, jumped + 120 - time.monotonic()))
    assert lab.host.boot_id() == run.report["boot_id_after"]
    observe.check_guest_went_on(lab.host, lab.guests[0], run.consoles["vm1"])
