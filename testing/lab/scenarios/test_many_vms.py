"""Many small VMs on one host: all are carried by one update, and what each of them costs the others is counted."""

import os

from hostlab import observe
from hostlab.guests import Guest
from hostlab.update_run import live_update

VMS = int(os.environ.get("LAB_VMS", "32"))
# 96 MiB is what Debian's kernel needs to start. Those that run again keep the one emulated processor from the others' restore: six
# that ticked every 5.3 s had two others wait for longer than the three minutes that a VM's restore may take.
GUESTS = tuple(Guest(f"vm{number:02}", memory_mib=96, fill_mib=8, tick_ms=15700) for number in range(1, VMS + 1))
DROP_IN = """[Service]
ExecStart=
ExecStart=/usr/sbin/host-update restore --restore-timeout 1800
"""
SIZE = {"ram": "10G", "preserved": "5G!4G"}  # 48 MiB for each VM's state besides.


def test_many_vms(lab):
    """Restored, each with its memory as it was; the last is not kept waiting for longer than its place in the row explains."""
    folder = "/etc/systemd/system/host-update-restore.service.d"
    lab.host.sh(f"mkdir -p {folder}")
    lab.host.put_file(f"{folder}/patient.conf", DROP_IN)
    before = observe.available_kib(lab.host)
    run = live_update(lab, None, "newer", timeout=3600)
    run.check()
    blackouts = sorted(vm["blackout_s"] for vm in run.report["vms"])
    assert len(blackouts) == VMS
    steps = [b - a for a, b in zip(blackouts, blackouts[1:])]
    print(f"{VMS} VMs: first {blackouts[0]:.1f} s, last {blackouts[-1]:.1f} s, MemAvailable {before} and "
          f"{observe.available_kib(lab.host)} KiB")
    # The second half comes no slower than the first: what a VM costs does not grow with their number.
    half = len(steps) // 2
    assert sum(steps[half:]) < 1.5 * sum(steps[:half]), [f"{b:.1f}" for b in blackouts]
