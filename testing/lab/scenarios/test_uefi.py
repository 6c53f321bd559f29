"""A VM that boots by UEFI firmware: its variables are in a flash device, and in a file of the host.

A host of its own: the firmware is hard on the lab's emulator (README.md, "The emulator's other fault").
"""

import json

import pytest

from hostlab import coverage
from hostlab.coverage import UEFI
from hostlab.update_run import live_update

GUESTS = (UEFI,)
NVRAM = "/var/lib/libvirt/qemu/nvram/uefi.fd"


@pytest.mark.parametrize("target", ["newer", "older"])
def test_update(lab, logs, target):
    """The guest asks the firmware, which runs in the guest, for a variable that it set: before and after."""
    machine = coverage.seen(lab.host, UEFI)
    assert machine["efi"] == "mark", machine
    nvram = lab.host.sh(f"sha256sum {NVRAM}")
    run = live_update(lab, None, target)
    (logs / f"report-to-{target}.json").write_text(json.dumps(run.report, indent=1))
    print(run.guests_view())
    run.check()
    assert coverage.seen(lab.host, UEFI) == machine
    assert lab.host.sh(f"sha256sum {NVRAM}") == nvram
