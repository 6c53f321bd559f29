"""Many updates in a row, there and back: nothing leaks, nothing is left unclaimed, none takes longer than those before it."""

import math
import os
import statistics

from hostlab import observe
from hostlab.guests import Guest
from hostlab.update_run import live_update

GUESTS = (Guest("vm1", disk=True, address="10.0.2.50"),)
UPDATES = int(os.environ.get("LAB_UPDATES", "10"))
# What the host's own processes, page tables and caches may differ by from boot to boot. The guest's RAM is 256 MiB.
NOISE_KIB = 64 << 10
WARM_UP = 2  # The first of each direction leaves the state that the host was kept in.
MAY_DRIFT = 0.05


def drift(blackouts):
    """How much longer the last one is than the first by the line through all of them, as a share of their mean, and that share's
    standard error. Two kernels by turns: each is measured by its own mean."""
    shares = [b / statistics.mean(blackouts[n % 2::2]) for n, b in enumerate(blackouts)]
    numbers = range(len(shares))
    slope, intercept = statistics.linear_regression(numbers, shares)
    rest = sum((share - slope * n - intercept) ** 2 for n, share in enumerate(shares)) / (len(shares) - 2)
    spread = sum((n - statistics.mean(numbers)) ** 2 for n in numbers)
    return slope * numbers[-1], math.sqrt(rest / spread) * numbers[-1]


def test_many_updates(lab, echo, logs):
    """The memory available after each update in the same kernel is the same, and no Live Update Orchestrator session is open."""
    available, blackouts = {}, []
    with open(logs / "updates.tsv", "w") as table:
        for number in range(UPDATES):
            target = ("newer", "older")[number % 2]
            run = live_update(lab, echo, target)
            run.check()
            assert observe.luo_descriptors(lab.host) == []
            lab.host.sh("sync; echo 3 > /proc/sys/vm/drop_caches")
            available.setdefault(target, []).append(observe.available_kib(lab.host))
            blackouts.append(run.report["host_blackout_s"])
            row = (number + 1, target, f"{blackouts[-1]:.2f}", available[target][-1])
            print(*row, sep="\t", file=table, flush=True)
            print(*row, flush=True)
    for target, kib in available.items():
        assert kib[-1] > kib[0] - NOISE_KIB, f"memory available in the {target} kernel after each update: {kib} KiB"
    if len(blackouts) >= WARM_UP + 4:
        share, error = drift(blackouts[WARM_UP:])
        print(f"the blackout drifted by {share:+.1%} ± {error:.1%} over {UPDATES} updates")
        assert share - 2 * error < MAY_DRIFT, f"{share:.1%} ± {error:.1%}: {blackouts}"
