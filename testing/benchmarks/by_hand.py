"""A live update by hand: QEMU's own recipe (its documentation's "CPR", mode cpr-reboot with x-ignore-shared) on a DAX file system, with
the host's ordinary boot after the kexec and a unit in it that takes the VM in again. No libvirt, no host-update."""

import shlex

from hostlab import guests as lab_guests
from hostlab import ticks
from hostlab.deadline import wait_until
from hostlab.guests import Guest
from hostlab.host import PAYLOAD

VM = Guest("by-hand", disk=True)
STATE = "/root/by-hand.state"
MONITOR = "127.0.0.1/4444"
QEMU, SAVE, RESTORE, UNIT = "/root/by-hand-qemu", "/root/by-hand-save", "/root/by-hand-restore", "by-hand.service"
MODE = r"migrate_set_parameter mode cpr-reboot\nmigrate_set_capability x-ignore-shared on"


def _files():
    size = f"{VM.memory_mib}M"
    command = [
        "qemu-system-x86_64", "-nodefaults", "-display", "none", "-cpu", "host", "-m", size,
        "-machine", "q35,accel=kvm,memory-backend=ram",
        "-object", f"memory-backend-file,id=ram,size={size},mem-path=/var/lib/host-update/ram/by-hand,share=on",
        "-kernel", lab_guests.KERNEL, "-initrd", lab_guests.INITRD, "-append", lab_guests.command_line(VM),
        "-drive", f"file={VM.disk_path},format=qcow2,if=virtio,cache=none",
        "-chardev", f"file,id=serial,path={VM.log},append=on", "-serial", "chardev:serial",
        "-monitor", f"tcp:{MONITOR.replace('/', ':')},server=on,wait=off"]
    yield QEMU, f'#!/bin/bash\nexec {shlex.join(command)} "$@"\n'
    # The monitor answers the next command when the one before is done; after `quit` it ends.
    yield SAVE, f"""#!/bin/bash
exec 3<>/dev/tcp/{MONITOR}
printf '{MODE}\\nmigrate file:{STATE}\\nquit\\n' >&3
cat <&3
"""
    yield RESTORE, f"""#!/bin/bash
{QEMU} -incoming defer &
until exec 3<>/dev/tcp/{MONITOR}; do sleep 0.1; done 2>/dev/null
printf '{MODE}\\nmigrate_incoming file:{STATE}\\n' >&3
wait
"""
    yield f"/etc/systemd/system/{UNIT}", f"""[Unit]
RequiresMountsFor=/var/lib/host-update/ram
[Service]
ExecStart={RESTORE}
[Install]
WantedBy=multi-user.target
"""


def measure(host, timeout):
    """Seconds that the VM stood still, by its own account, when the host went into the flavor's newer kernel."""
    VM.make_disk(host)
    for path, text in _files():
        host.put_file(path, text)
    host.sh(f"chmod +x {QEMU} {SAVE} {RESTORE}; systemctl -q enable {UNIT}; systemd-run -q --unit by-hand-first {QEMU}")
    VM.wait_until_up(host, timeout)
    last, boot, newer = lab_guests.console(host, VM).last_tick, host.boot_id(), host.flavor.newer
    host.sh(SAVE, timeout)
    host.agent.start(f"{PAYLOAD}/kexec_into {newer.kernel} {newer.initrd} '{host.flavor.command_line}'")
    host.wait_for_new_boot(boot, timeout)
    console = wait_until(lambda: _went_on(host, last), timeout, "the VM has ticked for a while", interval=2.0)
    gaps = [gap.middle for n, gap in ticks.find_blackouts(console.ticks) if n >= last]
    if not gaps:
        raise RuntimeError("the VM never stood still")
    return max(gaps)


def _went_on(host, last):
    console = lab_guests.console(host, VM)
    return console if console.last_tick > last + 30 else None
