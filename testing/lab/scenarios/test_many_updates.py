"""Ten updates in a row, there and back: nothing is leaked, nothing is left unclaimed, the guests notice nothing but the pauses."""

import os

from hostlab import observe
from hostlab.update_run import live_update

UPDATES = int(os.environ.get("LAB_UPDATES", "10"))
# What the host's own processes, page tables and caches may differ by from boot to boot. One guest's RAM is 256 MiB.
NOISE_KIB = 64 << 10


def test_many_updates(lab, echo, logs):
    """MemAvailable after each update in the same kernel is the same, and no Live Update Orchestrator session is open."""
    available = {}
    with open(logs / "updates.tsv", "w") as table:
        for number in range(UPDATES):
            target = ("newer", "older")[number % 2]
            run = live_update(lab, echo, target)
            run.check()
            assert observe.luo_descriptors(lab.host) == []
            lab.host.sh("echo 3 > /proc/sys/vm/drop_caches")
            available.setdefault(target, []).append(observe.available_kib(lab.host))
            row = (number + 1, target, f"{run.report['host_blackout_s']:.2f}", available[target][-1])
            print(*row, sep="\t", file=table, flush=True)
            print(*row, flush=True)
    for target, kib in available.items():
        assert kib[-1] > kib[0] - NOISE_KIB, f"memory available in the {target} kernel after each update: {kib} KiB"
