"""What a host keeps guests' memory by: which two kernels it goes between, with which command line, and where guests' RAM
lies. Scenarios are the same for each."""

import dataclasses

from hostlab import image as host_image
from hostlab import kernel as built_kernels
from hostlab import wdat
from hostlab.emulator import COMMAND_LINE
from hostlab.image import Kernel

# For kernels with KVM built in. The emulated processor's TSC has one rate, as any server's; it does not say so (../README.md,
# "The TSC's rate").
CONSTANT_TSC = "setcpuid=constant_tsc"
CONFINED = "apparmor=1"
# AppArmor's rules are compiled some nine times for each VM that starts: seconds each in the emulator.
UNCONFINED = "apparmor=0 audit=0"
LUO_WORDS = f"kho=on liveupdate=on transparent_hugepage_shmem=advise {CONSTANT_TSC}"


@dataclasses.dataclass(frozen=True)
class Flavor:
    name: str           # As host-update's --backend has it.
    older: Kernel
    newer: Kernel
    words: str          # Of its own, on the kernel's command line.
    ram_source: str     # Of libvirt's <memoryBacking>.
    confined: bool = False  # libvirt confines each QEMU by AppArmor, and the kernel says what that denied.
    ram: str = "6G"           # On q35 2 GiB of it lie below 4 GiB, the rest from there on.
    watchdog: bytes = b""     # The firmware's table of it (wdat.py), if it has one.
    preserved: str = "2G!4G"  # The range of it that no kernel uses, as memmap= has it.

    @property
    def command_line(self):
        return " ".join(filter(None, (COMMAND_LINE, f"memmap={self.preserved}", CONFINED if self.confined else UNCONFINED,
                                      self.words, wdat.WORDS if self.watchdog else "")))


def get(name):
    return {"dax": _dax, "luo": _luo}[name]()


def _dax():
    """Debian's kernels, RAM in files on a DAX file system."""
    image = host_image.ensure()
    return Flavor("dax", image.older, image.newer, "", "file")


def confined(flavor):
    """The same host with AppArmor, as Debian has it."""
    return dataclasses.replace(flavor, confined=True)


def watched(flavor):
    """The same host with a hardware watchdog."""
    return dataclasses.replace(flavor, watchdog=wdat.table())


def sized(flavor, ram, preserved):
    """The same host with so much RAM, of which no kernel uses `preserved`."""
    return dataclasses.replace(flavor, ram=ram, preserved=preserved)


def _luo():
    """Kernels with the Live Update Orchestrator, RAM in memfds."""
    kernels = built_kernels.ensure()
    return Flavor("luo", kernels.older, kernels.newer, LUO_WORDS, "memfd")
