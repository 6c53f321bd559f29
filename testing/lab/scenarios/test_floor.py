"""The blackout as a multiple of the floor: a kexec into the same kernel with a trivial init, in the same run. Beside it the same
by the loader's own jump.

Emulated milliseconds say nothing about hardware; this ratio does.
"""

import json
import os
import statistics

from hostlab import floor, product
from hostlab.echo import EchoClient
from hostlab.host import Host
from hostlab.lab import running_lab
from hostlab.update_run import live_update

# Of three VMs: 11 to 13 were seen (README.md, "What it costs").
LIMIT = 16
ROUNDS = int(os.environ.get("LAB_ROUNDS", "2"))


def test_floor(payload, logs, flavor):
    """Rounds of both, interleaved; prints every value."""
    floor.add_to_payload(payload)
    floors, directs, updates = [], [], []
    for number in range(ROUNDS):
        floors.append(_floor(payload, logs / f"floor-{number}", flavor))
        if flavor.name == "dax":  # With luo it is refused.
            directs.append(_floor(payload, logs / f"direct-{number}", flavor, "--direct-jump=vmlinux"))
        updates.append(_update(payload, logs / f"update-{number}", flavor))
    floor_s = statistics.median(floors)
    blackouts = [report["host_blackout_s"] for report in updates]
    result = {"floor_s": floors, "direct_floor_s": directs, "host_blackout_s": blackouts,
              "ratio": statistics.median(blackouts) / floor_s,
              "phases": [{p["phase"]: p["duration_s"] for p in report["phases"]} for report in updates]}
    (logs / "floor.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))
    assert result["ratio"] < LIMIT


def _floor(payload, logs, flavor, how=""):
    with Host.ready(logs, payload, flavor, guest_init=product.guest_init()) as host:
        return floor.measure(host, how)


def _update(payload, logs, flavor):
    with running_lab(logs, payload, flavor) as lab:
        client = EchoClient(lab.host.echo_port)
        try:
            return live_update(lab, client, "newer").report
        finally:
            client.stop()
