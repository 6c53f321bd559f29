"""What a host keeps guests' memory by: which two kernels it goes between, with which command line, and where guests' RAM
lies. Scenarios are the same for each."""

import dataclasses

from hostlab import image as host_image
from hostlab import kernel as built_kernels
from hostlab.emulator import COMMAND_LINE
from hostlab.image import Kernel

# For kernels with KVM built in. The emulated processor's TSC has one rate, as any server's; it does not say so (../README.md,
# "The TSC's rate").
CONSTANT_TSC = "setcpuid=constant_tsc"
LUO_COMMAND_LINE = f"kho=on liveupdate=on transparent_hugepage_shmem=advise {CONSTANT_TSC}"


@dataclasses.dataclass(frozen=True)
class Flavor:
    name: str           # As host-update's --backend has it.
    older: Kernel
    newer: Kernel
    command_line: str
    ram_source: str     # Of libvirt's <memoryBacking>.


def get(name):
    return {"dax": _dax, "luo": _luo}[name]()


def _dax():
    """Debian's kernels, RAM in files on a DAX file system."""
    image = host_image.ensure()
    return Flavor("dax", image.older, image.newer, COMMAND_LINE, "file")


def _luo():
    """Kernels with the Live Update Orchestrator, RAM in memfds."""
    kernels = built_kernels.ensure()
    return Flavor("luo", kernels.older, kernels.newer, f"{COMMAND_LINE} {LUO_COMMAND_LINE}", "memfd")
