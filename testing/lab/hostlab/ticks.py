"""Reads what a guest says on its console (testing/lab/guest/guest_init.cc) and works out how long it stood still.

While a VM is paused its own clocks stand still, but its hardware clock is derived from the host's and goes on. That
clock shows whole seconds: at a tick the host's time lies in [rtc, rtc + 1), so the distance between host time and the
guest's monotonic clock lies in [rtc − mono, rtc + 1 − mono). Ten ticks a second narrow it to about a tenth of a
second; the distance before and after a gap differ by the time that the guest did not see.
"""

import collections
import dataclasses
import re

_LINE = re.compile(r"^(VERIFY|DISK|BOOT|SEE|PLUGGED|DIAL) (.*)$")
_TICK = re.compile(r"^T (\d+) ([\d.]+) ([\d.]+) (\d+) (\d+) (\d+)$")


@dataclasses.dataclass(frozen=True)
class Tick:
    n: int
    mono: float
    wall: float
    rtc: int
    passes: int
    bad: int


@dataclasses.dataclass(frozen=True)
class Verify:
    """One pass over all of the filled memory, begun at tick `begin` and ended at tick `end`."""
    number: int
    begin: int
    end: int
    checksum: str
    bad: int


@dataclasses.dataclass(frozen=True)
class Disk:
    seq: int
    verified: int
    bad: int


@dataclasses.dataclass(frozen=True)
class Interval:
    low: float
    high: float

    @property
    def middle(self):
        return (self.low + self.high) / 2

    def __sub__(self, other):
        return Interval(self.low - other.high, self.high - other.low)

    def __str__(self):
        return f"{self.middle:.2f} s ± {(self.high - self.low) / 2:.2f}"


class Console:
    """The console's text, sorted: `ticks`, `verifies`, `disks`, `boot_ids` (distinct, in order), `failures`, and in `said` the
    words of each other line, by its kind."""

    def __init__(self, text):
        self.ticks, self.verifies, self.disks, self.boot_ids, self.failures = [], [], [], [], []
        self.said = collections.defaultdict(list)
        whole_lines = text[:text.rfind("\n") + 1]  # The guest may be in the middle of the last one.
        for line in whole_lines.splitlines():
            if line.startswith("FAIL") or "Kernel panic" in line or "BUG:" in line:
                self.failures.append(line)
            match = _TICK.match(line)
            if match:
                n, mono, wall, rtc, passes, bad = match.groups()
                self.ticks.append(Tick(int(n), float(mono), float(wall), int(rtc), int(passes), int(bad)))
                continue
            match = _LINE.match(line)
            if match:
                try:
                    self._add(match.group(1), dict(word.split("=", 1) for word in match.group(2).split()))
                except (KeyError, ValueError):
                    continue  # Cut off by a reset of the guest.

    def _add(self, kind, v):
        if kind == "VERIFY":
            self.verifies.append(Verify(int(v["pass"]), int(v["from"]), int(v["to"]), v["sum"], int(v["bad"])))
        elif kind == "DISK":
            self.disks.append(Disk(int(v["seq"]), int(v["verified"]), int(v["bad"])))
        elif kind != "BOOT":
            self.said[kind].append(v)
        elif v["boot_id"] not in self.boot_ids:
            self.boot_ids.append(v["boot_id"])

    @property
    def last_tick(self):
        return self.ticks[-1].n if self.ticks else 0

    def missing_ticks(self):
        """Numbers that the guest skipped: empty as long as it is one and the same program that counts."""
        numbers = [t.n for t in self.ticks]
        return [(a, b) for a, b in zip(numbers, numbers[1:]) if b != a + 1]


def host_minus_guest(ticks):
    """Where the host's clock lies relative to the guest's monotonic one, as narrow as these ticks tell.

    Clocks of an emulated machine drift: an empty intersection is widened to the nearest bounds.
    """
    low = max(t.rtc - t.mono for t in ticks)
    high = min(t.rtc + 1 - t.mono for t in ticks)
    return Interval(min(low, high), max(low, high))


def blackout(ticks, begin, end=None, window=40, gaps=()):
    """How long the guest stood still between the ticks number `begin` and `end` + 1 (None: the next), judged by `window` ticks on
    either side, but none beyond another of `gaps`."""
    end = begin if end is None else end
    first = max((gap for gap in gaps if gap < begin), default=0)
    last = min((gap for gap in gaps if gap > end), default=end + window)
    before = [t for t in ticks if max(first, begin - window) < t.n <= begin]
    after = [t for t in ticks if end < t.n <= min(last, end + window)]
    if not before or not after:
        raise ValueError(f"no ticks on both sides of ticks {begin} to {end}")
    return host_minus_guest(after) - host_minus_guest(before)


def find_blackouts(ticks, at_least=1.5):
    """(tick number before the gap, blackout) for each place where the guest lost at least `at_least` seconds.

    A starved guest that is held up between the reading of its two clocks looks as if it had lost a second there: what
    the ticks around a place don't confirm, seen up to the next larger gap, is none.
    """
    # Host time passes between two ticks at least rtc_b - rtc_a - 1; the guest thinks it was mono_b - mono_a.
    candidates = {a.n: lost for a, b in zip(ticks, ticks[1:])
                  if (lost := (b.rtc - a.rtc - 1) - (b.mono - a.mono)) > at_least - 1}
    found = {}
    for n in sorted(candidates, key=candidates.get, reverse=True):
        seen = blackout(ticks, n, gaps=found)
        if seen.low > 0 and seen.middle >= at_least:
            found[n] = seen
    # Two in a row are one: the first tick after it may still have read the hardware clock as it was before.
    runs = []
    for n in sorted(found):
        if runs and n == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], n)
        else:
            runs.append((n, n))
    # Once more: the window of a larger one had the smaller ones in it.
    return [(begin, blackout(ticks, begin, end, gaps=found)) for begin, end in runs]
