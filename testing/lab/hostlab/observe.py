"""What must be the same before and after a live update, read in the host and on the guests' consoles."""

import dataclasses
import re

from hostlab import guests as lab_guests
from hostlab import ticks
from hostlab.deadline import wait_until

VERIFY_S = 480  # A guest with two processors is slow on a busy machine.


@dataclasses.dataclass(frozen=True)
class Domain:
    """What libvirt says about a domain, but for what an update may change."""
    uuid: str
    persistent: str
    autostart: str
    inactive_xml: str
    cpu: str           # What the guest sees of it, feature by feature.
    ram_inodes: tuple  # Of the guest's RAM as QEMU has it mapped from the DAX file system.
    confinement: tuple  # QEMU's user, AppArmor profile and seccomp mode.


def domain(host, name):
    info = dict(re.split(r":\s+", line, maxsplit=1) for line in host.sh(f"virsh dominfo {name}").splitlines()
                if ":" in line)
    # Mappings of the DAX file system's device; the guest's RAM is the only large one.
    inodes = host.sh(
        f"dev=$(mountpoint -d /var/lib/host-update/ram); pid=$(cat /run/libvirt/qemu/{name}.pid); "
        "awk -v d=\"$(printf '%02x:%02x' ${dev%:*} ${dev#*:})\" '$4 == d { print $5 }' /proc/$pid/maps | sort -u")
    return Domain(info["UUID"], info["Persistent"], info["Autostart"],
                  # A transient one has only its live definition.
                  host.sh(f"virsh dumpxml --inactive --security-info {name}") if info["Persistent"] == "yes" else "",
                  host.sh(f"virsh dumpxml --xpath /domain/cpu {name}"), tuple(inodes.split()),
                  _confinement(host, name, info["UUID"]))


def _confinement(host, name, uuid):
    """Asserts that QEMU is shut in as libvirt does it on Debian, and returns by what."""
    found = tuple(host.sh(f"cd /proc/$(cat /run/libvirt/qemu/{name}.pid); stat -c %U .; "
                          "label=$(tr -d '\\0' < attr/current 2>/dev/null); echo ${label:-none}; "
                          "awk '$1 == \"Seccomp:\" { print $2 }' status").splitlines())
    # Without AppArmor: "kernel" is SELinux's word, in Debian's kernels; those built here have nothing else to ask.
    labels = (f"libvirt-{uuid} (enforce)",) if host.flavor.confined else ("kernel", "none")
    assert len(found) == 3 and found[1] in labels and found[::2] == ("libvirt-qemu", "2"), f"{name}: {found}"
    return found


def denials(host):
    """What AppArmor has denied to QEMUs, in this boot and those before."""
    return host.run("journalctl -q -o cat _TRANSPORT=kernel | grep 'apparmor=\"DENIED\".*profile=\"libvirt-'").out.splitlines()


def state(host, name):
    """As virsh prints it: "running (unpaused)"."""
    return host.sh(f"virsh domstate --reason {name}")


def libvirt_errors(host):
    """But for the two lines with which libvirtd tells in an update's first boot that logind is not there yet
    (packaging/README.md, "The first boot")."""
    return [line for line in host.run("cat /var/log/libvirt/libvirtd.log").out.splitlines()
            if ": error :" in line and "Unit dbus-org.freedesktop.login1.service is masked" not in line]


def check_sanitizers_silent(host):
    """Of a package with sanitizers: that it is one, and that nothing was found since the host's first boot."""
    host.sh("grep -q 'AddressSanitize[r]' /usr/sbin/hostupdated")
    found = host.run("journalctl --no-pager -o cat | grep -m 20 -E 'Sanitize[r]|runtime error[:] '").out
    assert not found, found


def available_kib(host):
    """MemAvailable, and what is free but lies in the processors' own lists, which it does not count: after ten updates with `luo`
    90 MiB in place of 30, and nothing is amiss."""
    return int(host.sh("awk '$1 == \"MemAvailable:\" { kib += $2 } $1 == \"count:\" { kib += 4 * $2 } END { print kib }' "
                       "/proc/meminfo /proc/zoneinfo"))


def luo_descriptors(host):
    """Every descriptor of the kernel's Live Update Orchestrator that any process has open: "/proc/PID/fd/N -> …"."""
    return host.run("ls -l /proc/[0-9]*/fd 2>/dev/null | grep -iE 'luo_|liveupdate' | cut -d' ' -f9-").out.splitlines()


class Before:
    """Domains, consoles and host as they are now."""

    def __init__(self, host, guests):
        self.guests = guests
        self.boot_id = host.boot_id()
        self.domains = {g.name: domain(host, g.name) for g in guests}
        self.consoles = {g.name: lab_guests.console(host, g) for g in guests}
        self.libvirt_errors = libvirt_errors(host)
        self.denials = denials(host)  # Before the package was there, too.


def check_guest_went_on(host, guest, before):
    """Waits until `guest` has verified all its memory, begun after now, and asserts that nothing was lost since
    `before` (its Console). Returns its console."""
    now = lab_guests.console(host, guest).last_tick

    def verified():
        console = lab_guests.console(host, guest)
        return console if any(v.begin > now for v in console.verifies) else None

    console = wait_until(verified, VERIFY_S, f"{guest.name} has verified its memory again", interval=1.0)
    assert console.failures == [], f"{guest.name} complains: {console.failures}"
    assert console.boot_ids == before.boot_ids, f"{guest.name} booted again"
    assert console.last_tick > before.last_tick
    assert console.missing_ticks() == [], f"{guest.name} lost count"
    assert all(v.bad == 0 for v in console.verifies), f"{guest.name}'s memory changed: {console.verifies}"
    checksums = {v.checksum for v in console.verifies}
    assert len(checksums) == 1, f"{guest.name}'s memory changed: {checksums}"
    if guest.disk:
        records = console.disks
        assert records[-1].seq > before.disks[-1].seq
        assert [r.seq for r in records] == list(range(10, 10 * len(records) + 1, 10)), f"{guest.name} lost records"
        assert all(r.bad == 0 and r.verified == r.seq for r in records), f"{guest.name}'s disk changed"
    return console


def check_guest_undisturbed(host, guest, before):
    """Asserts that `guest` runs on as before, its domain the same, and ticks. `before` is a Before."""
    # Whatever the reason says, it must run, on the same memory.
    assert state(host, guest.name).startswith("running")
    assert domain(host, guest.name) == before.domains[guest.name]
    last = lab_guests.console(host, guest).last_tick
    console = wait_until(
        lambda: (c := lab_guests.console(host, guest)).last_tick > last + 3 and c, 60, f"{guest.name} ticks")
    assert console.boot_ids == before.consoles[guest.name].boot_ids
    assert console.missing_ticks() == []
    assert console.failures == []
    assert all(v.bad == 0 for v in console.verifies)


def check_domain_as_before(host, name, before, expected_state="running (unpaused)"):
    assert state(host, name) == expected_state
    now = domain(host, name)
    assert now == before, f"{name}: {now} is not {before}"


def guest_blackouts(console, since_tick):
    """The blackouts that a guest has seen after its tick `since_tick`."""
    return [gap for n, gap in ticks.find_blackouts(console.ticks) if n >= since_tick]
