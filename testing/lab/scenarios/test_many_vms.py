"""Many small VMs on one host: one update carries them all, and each has its memory as it was."""

import os

from hostlab import observe
from hostlab.guests import Guest

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
    host = lab.host
    folder = "/etc/systemd/system/host-update-restore.service.d"
    host.sh(f"mkdir -p {folder}")
    host.put_file(f"{folder}/patient.conf", DROP_IN)
    before = observe.Before(host, lab.guests)

    report = lab.service.update(host.flavor.newer, timeout=3600)

    assert report["result"] == "UPDATED", [vm.get("reason") for vm in report["vms"]]
    assert host.boot_id() == report["boot_id_after"] != before.boot_id
    assert {vm["name"]: vm["result"] for vm in report["vms"]} == {g.name: "RESTORED" for g in lab.guests}
    assert all(int(vm.get("ram_bytes_copied", 0)) == 0 for vm in report["vms"])
    blackouts = sorted(vm["blackout_s"] for vm in report["vms"])
    print(f"{VMS} VMs: the first after {blackouts[0]:.1f} s, the last after {blackouts[-1]:.1f} s", flush=True)
    # One after the other: together they don't get through their memory on one processor.
    host.sh("for d in $(virsh -q list --name); do virsh -q suspend $d; done", 900)
    for guest in lab.guests:
        host.sh(f"virsh -q resume {guest.name}")
        observe.check_guest_went_on(host, guest, before.consoles[guest.name])
        observe.check_domain_as_before(host, guest.name, before.domains[guest.name])
        host.sh(f"virsh -q suspend {guest.name}")
    assert lab.service.leftovers() == []
