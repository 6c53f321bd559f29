"""The guests of the emulated host: their initramfs, their libvirt definitions, and what they say on their consoles."""

import dataclasses
import pathlib
import string

from hostlab import ticks
from hostlab.deadline import wait_until

DOMAIN_TEMPLATE = string.Template((pathlib.Path(__file__).parent / "domain.xml").read_text())
LOG_FOLDER = "/var/log/guests"
# What an emulated guest would do without need.
LIGHT = "mitigations=off nowatchdog audit=0 norandmaps no_timer_check"
# A copy of the older kernel: libvirt gives the files that a VM boots from to QEMU's user, and the host must not be updated into a
# kernel that QEMU's user can write.
KERNEL = "/var/lib/guests/vmlinuz"
INITRD = "/var/lib/guests/guest.cpio"


class GuestStopped(RuntimeError):
    """KVM could not go on with it: in the lab mostly the emulator's fault (../README.md)."""


@dataclasses.dataclass(frozen=True)
class Guest:
    name: str
    vcpus: int = 1
    memory_mib: int = 256
    disk: bool = False     # A qcow2 disk that it writes records to.
    address: str = ""      # A NIC on the bridge with this address, and an echo server behind it.
    autostart: bool = False
    transient: bool = False  # libvirt forgets it when it ends.
    paused: bool = False     # By its owner, when the update begins.
    plugged_mib: int = 0     # Memory that is plugged in before the update.
    # Each tick is some hundred exits: 7 or 13 tenths of a second hit each tenth of the hardware clock's second in turn.
    tick_ms: int = 700
    disk_ms: int = 200       # Between two records.
    fill_mib: int = 52       # Of its memory it fills, and verifies for ever. Each page is an exit after every restore.

    @property
    def log(self):
        return f"{LOG_FOLDER}/{self.name}.log"

    @property
    def disk_path(self):
        return f"/var/lib/guests/{self.name}.qcow2"

    @property
    def xml_path(self):
        return f"/var/lib/guests/{self.name}.xml"

    def add_to_payload(self, folder):
        """Puts into `folder` what the host must see at /mnt/payload to define it."""

    def make_disk(self, host):
        if self.disk:
            host.sh(f"qemu-img create -q -f qcow2 {self.disk_path} 64M")

    def set_up(self, host):
        """What is done to it before its first start."""

    def wait_until_up(self, host, timeout):
        def verified():
            if host.run(f"grep -q ^EFER= /var/log/libvirt/qemu/{self.name}.log").code == 0:
                raise GuestStopped(f"{self.name}: QEMU has stopped it, and shows its registers")
            return console(host, self).verifies
        wait_until(verified, timeout, f"{self.name} has verified its memory once", interval=1.0)

    def xml(self, kernel, initrd, ram_source):
        """Its libvirt definition."""
        return domain_xml(self, kernel, initrd, ram_source)


# The three of the main scenario.
THREE = (
    Guest("vm1", disk=True),
    Guest("vm2", vcpus=2, memory_mib=512, address="10.0.2.50"),
    Guest("vm3", autostart=True),
)


def make_initramfs(path, init, modules=()):
    """Writes an initramfs with the program `init` as /init and the files `modules` in /modules."""
    entries = [("dev", None, 0o040755), ("modules", None, 0o040755), ("init", init, 0o100755)]
    entries += [(f"modules/{m.name}", m, 0o100644) for m in sorted(modules)]
    with open(path, "wb") as out:
        for number, (name, source, mode) in enumerate(entries, start=1):
            out.write(_cpio_member(name, pathlib.Path(source).read_bytes() if source else b"", mode, number))
        out.write(_cpio_member("TRAILER!!!", b"", 0, 0))


def _cpio_member(name, content, mode, inode):
    """One member of a "newc" archive: the header in hexadecimal, name and content each padded to four bytes."""
    raw_name = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw_name), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + raw_name
    return head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)


def command_line(guest):
    words = (f"console=ttyS0 quiet {LIGHT} "
             f"guest.fill={100 * guest.fill_mib // guest.memory_mib} guest.tick_ms={guest.tick_ms} guest.verify_mib=5 guest.seed={sum(guest.name.encode())}")
    if guest.disk:
        words += f" guest.disk_ms={guest.disk_ms}"
    return words + (f" guest.address={guest.address}" if guest.address else "")


def domain_xml(guest, kernel, initrd, ram_source="file"):
    disk = f"""<disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/>
      <source file='{guest.disk_path}'/>
      <target dev='vda' bus='virtio'/>
    </disk>""" if guest.disk else ""
    interface = f"""<interface type='bridge'>
      <mac address='52:54:00:00:01:{sum(guest.name.encode()) % 256:02x}'/>
      <source bridge='br0'/>
      <model type='virtio'/>
    </interface>""" if guest.address else ""
    return DOMAIN_TEMPLATE.substitute(
        name=guest.name, vcpus=guest.vcpus, memory=guest.memory_mib, kernel=kernel, initrd=initrd,
        command_line=command_line(guest), disk=disk, interface=interface, log=guest.log, ram_source=ram_source)


def define(host, guest, kernel=KERNEL, initrd=INITRD):
    """Makes the guest known to the host's libvirt; it does not run yet."""
    guest.make_disk(host)
    host.put_file(guest.xml_path, guest.xml(kernel, initrd, host.flavor.ram_source))
    if not guest.transient:
        host.sh(f"virsh -q define {guest.xml_path}" + (f" && virsh -q autostart {guest.name}" if guest.autostart else ""))
    guest.set_up(host)


def start(host, guests, timeout=600, running=()):
    """Starts the guests; returns when each is up: has filled its memory and verified all of it once. One after the other, while those
    that are up, and those of `running`, stand still: the emulated host has one processor."""
    for guest in running:
        host.sh(f"virsh -q suspend {guest.name}")
    for guest in guests:
        _start_one(host, guest, timeout)
        host.sh(f"virsh -q suspend {guest.name}")
    for guest in (*running, *guests):
        host.sh(f"virsh -q resume {guest.name}")


def _start_one(host, guest, timeout, tries=3):
    for left in reversed(range(tries)):
        host.sh(f"virsh -q create {guest.xml_path}" if guest.transient else f"virsh -q start {guest.name}", timeout)
        try:
            return guest.wait_until_up(host, timeout)
        except GuestStopped:
            if not left:
                raise
        host.sh(f"virsh -q destroy {guest.name}; rm -f {guest.log} /var/log/libvirt/qemu/{guest.name}.log")


def console(host, guest):
    """All that the guest has said so far."""
    return ticks.Console(host.run(f"cat {guest.log}").out)
