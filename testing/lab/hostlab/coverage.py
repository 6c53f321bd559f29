"""Guests that between them have what a VM of an ordinary host may have: machine types, firmware, devices, ways to be kept.

Their definitions lie in machines/, one file each; what runs in them is the same program as in the other guests.
"""

import dataclasses
import pathlib
import re
import string

from hostlab import guests as lab_guests
from hostlab.deadline import wait_until
from hostlab.guests import LOG_FOLDER, Guest

FOLDER = pathlib.Path(__file__).parent / "machines"
DIMM = (FOLDER / "dimm.xml").read_text()
PLUGGED_MIB = 128
# Each look at a console is a program that the emulated host starts.
LOOK_S = 2.0
SNAPSHOT = "before-the-first-boot"


@dataclasses.dataclass(frozen=True)
class Machine(Guest):
    """Defined by machines/NAME.xml."""
    disk_format: str = "qcow2"

    @property
    def disk_path(self):
        return f"/var/lib/guests/{self.name}.{self.disk_format}"

    @property
    def count_log(self):
        """Where a terminal beside the console goes."""
        return f"{LOG_FOLDER}/{self.name}-count.log"

    def make_disk(self, host):
        if self.disk:
            host.sh(f"qemu-img create -q -f {self.disk_format} {self.disk_path} 64M")

    def xml(self, kernel, initrd, ram_source):
        template = string.Template((FOLDER / f"{self.name}.xml").read_text())
        return template.substitute(
            name=self.name, vcpus=self.vcpus, memory=self.memory_mib, kernel=kernel, initrd=initrd, ram_source=ram_source,
            command_line=lab_guests.command_line(self) + " guest.see=1", disk=self.disk_path, log=self.log,
            count_log=self.count_log)


class WithSnapshot(Guest):
    def set_up(self, host):
        host.sh(f"virsh -q snapshot-create-as {self.name} {SNAPSHOT}")


# Five of them on one emulated processor.
SLOW = {"tick_ms": 1300, "disk_ms": 1000}
I440FX = Machine("i440fx", memory_mib=160, disk=True, disk_format="raw", address="10.0.2.15", **SLOW)
Q35 = Machine("q35", vcpus=2, memory_mib=192, disk=True, address="10.0.2.50", **SLOW)
NUMA = Machine("numa", vcpus=4, memory_mib=192, transient=True, plugged_mib=PLUGGED_MIB, **SLOW)
STILL = WithSnapshot("still", memory_mib=128, disk=True, autostart=True, paused=True, **SLOW)
MACHINES = (I440FX, Q35, NUMA, STILL)
# In a host of its own: its firmware is hard on the emulator.
UEFI = Machine("uefi", disk=True)
# Defined as anybody would: `hostupdatectl enable` makes it fit for updates.
PLAIN = Guest("plain", memory_mib=128, **SLOW)


def seen(host, guest):
    """What the guest sees of its machine, said from now on."""
    def said():
        return lab_guests.console(host, guest).said["SEE"]
    count = len(said())
    words = wait_until(lambda: said()[count + 1:], 180, f"{guest.name} looks at its machine", interval=LOOK_S)[-1]
    return {name: value for name, value in words.items() if name != "number"}


def plain_xml(kernel, initrd):
    text = PLAIN.xml(kernel, initrd, "file")
    for element in ("memoryBacking", "qemu:commandline"):
        text = re.sub(rf"\n *<{element}>.*?</{element}>", "", text, flags=re.DOTALL)
    return text
