"""What goes wrong in an emulated host, case by case. A case does its damage and returns what was told of it, all of it; a Watch
(testing/lab/hostlab/watch.py) judges what has become of the VMs.

BEFORE happens before the jump and costs seconds: one host has one after the other. RESTORING happens in the new kernel, whose own
restore is masked for that boot; what is damaged there is mended, so that one jump serves all but the last of it. JUMPS cost an update
each.
"""

import contextlib
import dataclasses
import time
import typing

from hostlab import older_qemu, outcome, rescue, service
from hostlab.deadline import wait_until
from hostlab.host import BOOT_S
from hostlab.qmp import Qmp
from hostlab.service import Handover

OLD = (outcome.ALL_ON_OLD,)
NEW = (outcome.ALL_ON_NEW,)
GONE = (outcome.LOST,)
PHASES = ("prepare", "pause", "save", "commit", "jump")
FULL = "/var/lib/host-update/ram/full"


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    act: typing.Callable   # (lab, watch) → what was told of it.
    want: tuple = ()
    quick: bool = False
    flavors: tuple = ("dax", "luo")
    mend: typing.Callable = None   # (lab) → nothing; before a VM that is missing is retried.
    vms: int = 0           # 0: for any number; else only for hosts with that many.


def told(result):
    return f"exit {result.code}: {result.out}{result.err}"


def update(lab, fault="", options="", kernel=None):
    """An update that is not to jump, and what a unit's ExecStopPost does after it."""
    target = lab.host.flavor.newer
    arguments = f"update {target.arguments}" if kernel is None else f"update --kernel {kernel} --no-initrd"
    result = lab.service.call(f"{arguments} {options}", program=service.FAULTY if fault else service.PROGRAM, fault=fault)
    said = told(result)
    if fault and "fault at" not in said:
        raise AssertionError(f"the fault {fault} was never met: {said}")
    if result.code in (service.OK, service.NOTHING):
        raise AssertionError(f"the update did not fail: {said}")
    if result.code in (137, service.VM_NOT_BACK):
        said += told(lab.service.call("abort"))
    return said


def fault(text, want=OLD, options="", **how):
    return Case(text, lambda lab, watch: update(lab, fault=text, options=options), want, **how)


# --- Before the jump.

def memory_full(lab, watch):
    lab.host.sh(f"fallocate -l $(( $(df --output=avail -B1 /var/lib/host-update/ram | tail -1) - 1048576 )) {FULL}")
    try:
        return update(lab)
    finally:
        lab.host.sh(f"rm {FULL}")


def second_update(lab, watch):
    """While one is under way another is refused, and does it no harm."""
    first = lab.host.agent.start(f"HOST_UPDATE_FAULT=save@vm1:stall {service.FAULTY} "
                                 f"update {lab.host.flavor.newer.arguments} --save-timeout 15 2>&1")
    wait_until(lambda: lab.host.sh("virsh domstate vm1").startswith("paused"), 60, "the first update has paused vm1")
    second = lab.service.call(f"update {lab.host.flavor.newer.arguments}")
    ended = wait_until(lambda: lab.host.agent.poll(first), 90, "the first update has ended")
    assert second.code == service.BUSY, told(second)
    return f"exit {ended[0]}: {ended[1]}"


def killed_while_saving(lab, watch):
    """An update that hangs for ever is killed from outside."""
    first = lab.host.agent.start(f"HOST_UPDATE_FAULT=commit:stall exec {service.FAULTY} "
                                 f"update {lab.host.flavor.newer.arguments} 2>&1")
    wait_until(lambda: lab.service.status().get("phase") == "commit", 60, "the update hangs in commit")
    lab.host.sh(f"kill -9 {first}")
    ended = wait_until(lambda: lab.host.agent.poll(first), 60, "it has ended")
    return f"exit {ended[0]}: {ended[1]}" + told(lab.service.call("abort"))


def kexec_refused(lab, watch):
    """By the kernel itself; until the next boot."""
    lab.host.sh("echo 1 > /proc/sys/kernel/kexec_load_disabled")
    return update(lab)


def unsigned_kernel(lab, watch):
    """The target without its signature, on a host in lockdown; until the next boot."""
    kernel = "/root/unsigned"
    lab.host.sh(f"cp {lab.host.flavor.newer.kernel} {kernel}; pe=$(od -An -tu4 -j60 -N4 {kernel}); "
                f"dd if=/dev/zero of={kernel} bs=1 seek=$((pe + 24 + 112 + 32)) count=8 conv=notrunc status=none; "
                "echo integrity > /sys/kernel/security/lockdown")
    said = update(lab, kernel=kernel)
    assert "sign" in said or "lockdown" in said, said
    return said


LIBVIRTD = "libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service"


def libvirtd_dies(phase):
    """And systemd does not start it again until the update has ended: one that comes back in time is a jump's case."""
    def act(lab, watch):
        lab.host.sh("systemctl mask --runtime libvirtd.service")
        try:
            said = update(lab, fault=f"{phase}:kill-libvirt")
        finally:
            lab.host.sh(f"systemctl unmask --runtime libvirtd.service; systemctl reset-failed {LIBVIRTD}; systemctl start {LIBVIRTD}")
        lab.host.wait_for_boot(120)  # libvirt answers.
        return said + told(lab.service.call("abort"))
    return Case(f"{phase}:kill-libvirt", act, OLD, quick=phase == "save")


def too_old_kernel(lab, watch):
    """The target with a boot protocol of 2007."""
    kernel = "/root/too-old"
    lab.host.sh(f"cp {lab.host.flavor.newer.kernel} {kernel}; "
                f"printf '\\007\\002' | dd of={kernel} bs=1 seek=$((0x206)) conv=notrunc status=none")
    said = update(lab, kernel=kernel)
    assert "boot protocol 2.07" in said, said
    return said


def qemu_lacks_machines(lab, watch):
    """The QEMU package was replaced under the VMs: the one that is there can't start them again."""
    older_qemu.put(lab.host)
    try:
        said = update(lab)
    finally:
        older_qemu.take_back(lab.host)
    assert "VM_QEMU_INSTALLED" in said and "is not supported by emulator" in said, said
    return said


def qemu_dies(lab, watch):
    return update(lab, fault="save@vm1:kill-qemu")


BEFORE = [
    *(fault(f"{phase}:error", quick=phase in ("commit", "jump")) for phase in PHASES),
    *(fault(f"{phase}:kill", quick=phase in ("pause", "commit")) for phase in PHASES),
    # Committed, an update needs libvirt no more.
    *(libvirtd_dies(phase) for phase in PHASES[:3]),
    Case("hangs in commit, is killed", killed_while_saving, OLD),
    *(fault(f"pause@vm1:{action}") for action in ("error", "kill")),
    fault("pause@vm1:stall", options="--pause-timeout 3", quick=True),
    *(fault(f"save@vm1:{action}", quick=action == "enospc") for action in ("error", "enospc", "enomem", "eio", "kill")),
    fault("save@vm1:stall", options="--save-timeout 5"),
    *(fault(f"preserve@vm1:{action}") for action in ("enospc", "enomem", "eio", "kill")),
    *(fault(f"begin:{action}") for action in ("enospc", "eio", "kill")),
    *(fault(f"reserve:{action}", quick=action == "enospc") for action in ("enospc", "enomem", "kill")),
    *(fault(f"stage:{action}", quick=action == "error") for action in ("error", "enomem", "kill")),
    *(fault(f"flush:{action}") for action in ("enospc", "eio", "kill")),
    fault("flush:stall", options="--sync-timeout 5"),
    *(fault(f"seal:{action}") for action in ("enospc", "eio", "kill")),
    *(fault(f"reboot:{action}", quick=action == "error") for action in ("error", "enomem", "kill")),
    Case("preserved memory is full", memory_full, OLD, flavors=("dax",)),
    Case("no such kernel", lambda lab, watch: update(lab, kernel="/boot/none"), OLD, quick=True),
    Case("too old a kernel", too_old_kernel, OLD, quick=True),
    Case("not a kernel", lambda lab, watch: update(lab, kernel="/etc/fstab"), OLD),
    Case("another memmap", lambda lab, watch: update(lab, options="--append memmap=1G!5G"), OLD, flavors=("dax",)),
    Case("a second update", second_update, OLD),
    Case("the installed QEMU lacks their machines", qemu_lacks_machines, OLD),
    Case("QEMU dies in the save", qemu_dies, GONE),
    # The last ones: it stays so.
    Case("an unsigned kernel under lockdown", unsigned_kernel, OLD, flavors=("dax",)),
    Case("the kernel refuses kexec", kexec_refused, OLD),
]


# --- In the new kernel, nothing restored yet.

def restore(lab, fault="", options=""):
    result = lab.service.call(f"restore {options}", program=service.FAULTY if fault else service.PROGRAM, fault=fault, timeout=400)
    if fault and "fault at" not in result.out + result.err:
        raise AssertionError(f"the fault {fault} was never met: {told(result)}")
    return result


class Damage:
    """The handover as the old kernel left it; what a case does to it is undone after."""

    def __init__(self, lab):
        self.lab, self.handover = lab, Handover(lab.host)

    def refused(self, damage):
        """No VM may start from it, and all must be named or kept."""
        damage(self.handover)
        try:
            result = restore(self.lab)
            said = told(result)
            if result.code in (service.OK, service.NOTHING):
                return outcome.UNCLEAR, f"taken for good: {said}"
            running = self.lab.host.sh("virsh -q list --name").split()
            if running:
                return outcome.SILENT, f"started from a damaged handover: {running}"
            kept = self.lab.service.status().get("unrestored_vms", [])
            missing = [guest.name for guest in self.lab.guests if guest.name not in kept]
            if missing or "every" not in said and "no VM was started" not in said:
                return outcome.SILENT, f"{missing} are not named: {said}"
            return outcome.LOST, f"refused, memory kept, VMs named: {kept}"
        finally:
            self.handover.mend()


DAMAGES = [
    ("magic flipped", lambda h: h.flip(0), True),
    ("header flipped", lambda h: h.flip(17), False),
    ("host section flipped", lambda h: h.flip(h.host_section() + 30), True),
    ("last byte flipped", lambda h: h.flip(h.total_size() - 1), False),
    ("cut to nothing", lambda h: h.truncate(0), False),
    ("cut in the header", lambda h: h.truncate(40), False),
    ("cut in the host section", lambda h: h.truncate(h.total_size() - 8), True),
]


@contextlib.contextmanager
def altered_page(lab, name, offset=64 << 20):
    """One byte of a VM's RAM, where it lies while no kernel runs it; it is what it was again after."""
    path = lab.host.sh(f"find {service.STORE} -path '*ram*' -type f -size +{200}M -name '*' | "
                       f"grep $(virsh domuuid {name}) | head -1")
    read = f"dd if={path} bs=1 skip={offset} count=1 status=none | od -An -tu1"
    was = int(lab.host.sh(read))

    def write(value):
        lab.host.sh(f"printf '\\{value:03o}' | dd of={path} bs=1 seek={offset} conv=notrunc status=none")
    write(was ^ 0xFF)
    yield lambda: write(was)


# Each is met by a restorer of its own, which leaves everything to the next. The two at "restore" come after the attempt is counted,
# so that the one after them does not try by itself.
RESTORERS_END = [("find:kill", True), ("find:eio", False), ("restore:kill", True), ("restore:error", False)]
# The restorer that these meet restores; the next one ends what it left.
RESTORES = [
    ("restore@vm1:eio", (outcome.RECOVERABLE,)), ("restore@vm1:kill", ()), ("retrieve@vm1:enomem", (outcome.RECOVERABLE,)),
    ("resume:kill", NEW), ("resume:error", NEW), ("announce@vm1:error", NEW), ("release@vm1:eio", NEW), ("release@vm1:kill", NEW),
    ("finish:kill", NEW), ("restore:kill-libvirt", ()), ("restore@vm1:kill-libvirt", ()), ("resume:kill-libvirt", ()),
    ("resume:kill-qemu=vm1", GONE),
]


# --- Updates that end otherwise than by a restorer of ours: each a jump.

def reset_after_the_jump(lab, options="", after_s=0):
    """The host's reset button, that long after the old kernel has jumped."""
    host = lab.host
    begin, old = host.emulator.now(), host.boot_id()
    host.agent.start(f"{service.PROGRAM} update {host.flavor.newer.arguments} {options} > {service.UPDATE_LOG} 2>&1")
    wait_until(lambda: any("Starting new kernel" in text for _, text in host.emulator.console(begin)), 240, "the old kernel jumps",
               interval=0.05)
    time.sleep(after_s)
    with Qmp(host.emulator.qmp_path) as monitor:
        monitor.call("system_reset")
    host.wait_for_new_boot(old, BOOT_S)
    return after_a_reset(lab)


def panic_before_init(lab, watch):
    """The new kernel finds no root file system and panics; panic=-1 resets the host."""
    host = lab.host
    old = host.boot_id()
    host.agent.start(f"{service.PROGRAM} update {host.flavor.newer.arguments} --append rdinit=/none > {service.UPDATE_LOG} 2>&1")
    host.wait_for_new_boot(old, 2 * BOOT_S)
    return after_a_reset(lab)


def panic_in_the_restorer(lab, point):
    """The new kernel panics while the restorer stands at `point`."""
    host = lab.host
    lab.service.jump(host.flavor.newer)
    old = host.boot_id()
    log = "/root/restore.log"
    host.agent.start(f"HOST_UPDATE_FAULT={point}:stall {service.FAULTY} restore > {log} 2>&1")
    wait_until(lambda: "fault at" in host.run(f"cat {log}").out, 300, f"the restorer stands at {point}")
    host.sh("sync")
    time.sleep(3)  # VMs that run write on.
    host.agent.start("echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger")
    host.wait_for_new_boot(old, 2 * BOOT_S)
    return after_a_reset(lab)


def after_a_reset(lab):
    """The emulator boots the older kernel then, as a firmware would its default."""
    lab.host.wait_for_boot()
    lab.service.wait_for_restore()
    result = lab.service.call("report")
    return f"{result.out}{result.err}{lab.host.run(f'cat {service.UPDATE_LOG}').out}"


def reset_and_memory_lost(lab, watch):
    """The same on a host whose reset loses its memory: the file system in preserved memory is made anew before anybody looks."""
    host = lab.host
    old = host.boot_id()
    lab.service.jump(host.flavor.newer)
    assert host.boot_id() != old
    host.sh("umount /var/lib/host-update/ram && mkfs.ext4 -q -F -b 4096 /dev/pmem0 && mount -o dax /dev/pmem0 /var/lib/host-update/ram")
    return told(restore(lab))


def qemu_lacks_machines_then(lab, watch):
    """It is replaced between the check and the restore."""
    lab.service.jump(lab.host.flavor.newer)
    older_qemu.put(lab.host)
    said = told(restore(lab))
    assert "does not support machine type" in said, said
    return said


def clock_jumps(lab, watch):
    """The wall clock is a day ahead when the restorer begins."""
    lab.service.jump(lab.host.flavor.newer)
    lab.host.sh("date -s tomorrow")
    return told(restore(lab))


def libvirtd_comes_late(lab, watch):
    """It is down when the restorer begins, and comes up after a while."""
    host = lab.host
    lab.service.jump(host.flavor.newer)
    host.sh("systemctl stop libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd; systemctl mask --runtime libvirtd")
    pid = host.agent.start(f"exec {service.PROGRAM} restore 2>&1")
    time.sleep(15)
    host.sh("systemctl unmask --runtime libvirtd; systemctl start libvirtd")
    ended = wait_until(lambda: host.agent.poll(pid), 400, "the restorer has ended")
    return f"exit {ended[0]}: {ended[1]}"


def libvirtd_comes_back(lab, phase):
    """It is killed, systemd starts it again, and the update goes on with it, unless it was asked in between."""
    target = lab.host.flavor.newer
    try:
        lab.service.update(target, command=f"HOST_UPDATE_FAULT={phase}:kill-libvirt {service.FAULTY} "
                           f"{lab.service.update_arguments(target)}")
    except service.UpdateFailed as problem:
        lab.host.wait_for_boot(120)  # libvirt answers.
        return f"{problem}{told(lab.service.call('abort'))}"
    return lab.service.call("report").out


def restorer_hangs(lab, watch):
    """Before a VM runs, for ever: the rescue's watchdog crashes the new kernel."""
    rescue.configure(lab.host, watchdog_s=60)
    rescue.put_unit(lab.host, "exec", before=rescue.STOP_THE_RESTORER, end=rescue.WAIT_FOR_EVER)
    rescue.update_into(lab)
    result = lab.service.call("report")
    return result.out + result.err


JUMPS = [
    Case("hard reset in the jump", lambda lab, watch: reset_after_the_jump(lab), flavors=("dax",)),
    # Its first process waits for the console for ever, until somebody looks after the host.
    Case("the new kernel hangs", lambda lab, watch: reset_after_the_jump(lab, "--append rdinit=/bin/cat", 90), flavors=("dax",)),
    Case("panic before init", panic_before_init, flavors=("dax",)),
    Case("panic before a VM is restored", lambda lab, watch: panic_in_the_restorer(lab, "restore"), NEW, flavors=("dax",)),
    # What they were restored from is stale then: they must not be started from it again.
    Case("panic after VMs ran on", lambda lab, watch: panic_in_the_restorer(lab, "resume"), GONE, flavors=("dax",)),
    Case("reset that loses memory", reset_and_memory_lost, GONE, flavors=("dax",)),
    Case("the clock jumps", clock_jumps, NEW),
    Case("the new kernel's QEMU lacks their machines", qemu_lacks_machines_then, (outcome.RECOVERABLE,),
         mend=lambda lab: older_qemu.take_back(lab.host)),
    Case("the restorer hangs", restorer_hangs, NEW, flavors=("dax",)),
    Case("libvirtd comes late", libvirtd_comes_late, NEW),
    *(Case(f"libvirtd comes back in {phase}", lambda lab, watch, phase=phase: libvirtd_comes_back(lab, phase), NEW + OLD)
      for phase in ("prepare", "save", "commit")),
]
