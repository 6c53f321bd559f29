"""The blackout as a multiple of the floor: a kexec into the same kernel with a trivial init, in the same run. And the floor itself
by other ways of jumping, in instructions.

Emulated milliseconds say nothing about hardware; ratios within one run do. None may be more than a quarter above what
testing/benchmarks/expected.json has, which README.md's table is from.
"""

import json
import os
import pathlib
import statistics

from hostlab import floor, instructions, product
from hostlab.guests import Guest
from hostlab.host import Host
from hostlab.lab import running_lab

EXPECTED = json.loads((pathlib.Path(__file__).resolve().parents[2] / "benchmarks/expected.json").read_text())
MAY_GROW_TO = 1.25
ROUNDS = int(os.environ.get("LAB_ROUNDS", "2"))
ONE = (Guest("vm1", disk=True),)


def _check(name, value):
    print(f"{name}: {value:.3f}, {EXPECTED[name]} is expected")
    assert value <= MAY_GROW_TO * EXPECTED[name], f"{name} is {value:.3f}: more than a quarter above {EXPECTED[name]}"


def test_ways_of_jumping():
    counted = {way: count for way, _, count in instructions.measure([(way, "quiet") for way in instructions.WAYS])}
    for way in ("direct_vmlinux", "direct_bzimage", "kexec_tools_s", "kexec_tools_c"):
        _check(f"instructions_{way}_over_kexec_file_load", counted[way] / counted["kexec_file_load"])
    # The loader's own jump must be worth what it gives up, against the tool that people have.
    assert counted["direct_vmlinux"] < counted["kexec_tools_c"] / 2


def test_blackout(payload, logs, flavor):
    """Rounds of both, interleaved; prints every value."""
    floor.add_to_payload(payload)
    floors, updates = [], []
    for number in range(ROUNDS):
        with Host.ready(logs / f"floor-{number}", payload, flavor, ONE, product.guest_init()) as host:
            floors.append(floor.measure(host))
        with running_lab(logs / f"update-{number}", payload, flavor, guests=ONE) as lab:
            updates.append(lab.service.update(lab.host.flavor.newer))
    phases = [{span["phase"]: span["duration_s"] for span in report["phases"]} for report in updates]
    print(json.dumps({"floor_s": floors, "phases": phases}, indent=1))
    assert all(report["result"] == "UPDATED" for report in updates)
    blackout_s = statistics.median(report["host_blackout_s"] for report in updates)
    # After the restorer's first line all is its own, libvirt's and QEMU's doing.
    own_s = statistics.median(p["restore"] for p in phases)
    _check(f"{flavor.name}_blackout_over_f0", blackout_s / statistics.median(floors))
    _check(f"{flavor.name}_restore_over_f0", own_s / statistics.median(floors))
