"""The guests' account of a blackout, on consoles made up here."""

import dataclasses

import pytest

from hostlab import ticks

BOOT = "BOOT boot_id=aaaa memory=1048576"


def console(mono_minus_host, numbers, start=1000.37, period=0.1):
    """Ticks `numbers` of a guest whose monotonic clock is host time minus `mono_minus_host(number)`."""
    lines = [BOOT]
    for n in numbers:
        host = start + n * period + mono_minus_host(n)  # The host's clock goes on while the guest's stands still.
        guest = n * period
        lines.append(f"T {n} {guest:.3f} {guest + 5:.3f} {int(host)} 1 0")
    return ticks.Console("\n".join(lines) + "\n")


def test_no_gap_without_a_blackout():
    assert ticks.find_blackouts(console(lambda n: 0, range(1, 200)).ticks) == []


@pytest.mark.parametrize("blackout", [2.0, 7.25, 61.9, 3600.5])
def test_finds_a_blackout_and_how_long_it_was(blackout):
    found = ticks.find_blackouts(console(lambda n: blackout if n > 100 else 0, range(1, 200)).ticks)
    assert [n for n, _ in found] == [100]
    gap = found[0][1]
    assert gap.low <= blackout <= gap.high
    assert gap.high - gap.low < 0.41  # Ten ticks a second, on both sides.


def test_finds_two_updates():
    seen = console(lambda n: (n > 100) * 10 + (n > 200) * 20, range(1, 300))
    found = ticks.find_blackouts(seen.ticks)
    assert [n for n, _ in found] == [100, 200]
    assert [round(gap.middle) for _, gap in found] == [10, 20]


def test_two_blackouts_close_to_each_other_are_told_apart():
    found = ticks.find_blackouts(console(lambda n: (n > 100) * 20 + (n > 125) * 40, range(1, 200)).ticks)
    assert [round(gap.middle) for _, gap in found] == [20, 40]
    assert all(gap.high - gap.low < 0.41 for _, gap in found), "one of them was counted to the other"


def test_a_clock_that_is_late_after_a_blackout_makes_no_second_one():
    """Tick 101 reads the hardware clock before the emulator has set it."""
    seen = console(lambda n: 30 if n > 100 else 0, range(1, 200)).ticks
    seen = [dataclasses.replace(t, rtc=t.rtc - 4) if t.n == 101 else t for t in seen]
    (n, gap), = ticks.find_blackouts(seen)
    assert n == 100 and gap.low <= 30 <= gap.high and gap.high - gap.low < 0.41


def test_a_guest_held_up_between_its_clocks_is_no_blackout():
    """Tick 90 reads the hardware clock two seconds after the monotonic one, shortly before a real blackout."""
    seen = console(lambda n: 60 if n > 100 else 0, range(1, 200)).ticks
    seen = [dataclasses.replace(t, rtc=t.rtc + 2) if t.n == 90 else t for t in seen]
    assert [n for n, _ in ticks.find_blackouts(seen)] == [100]


def test_a_slow_tick_is_no_blackout():
    """A guest that gets no processor for three seconds counts them: its clock went on."""
    lines = [f"T {n} {n * 0.1 + (3 if n > 50 else 0):.3f} 0.000 {int(1000 + n * 0.1 + (3 if n > 50 else 0))} 1 0"
             for n in range(1, 100)]
    assert ticks.find_blackouts(ticks.Console("\n".join(lines)).ticks) == []


def test_lost_count_shows():
    seen = console(lambda n: 0, [1, 2, 3, 7, 8])
    assert seen.missing_ticks() == [(3, 7)]


def test_reads_every_kind_of_line():
    seen = ticks.Console(f"""{BOOT}
VERIFY pass=2 from=10 to=31 sum=00ff bad=0 first=0
DISK seq=10 verified=10 bad=0
FAIL write of a record: Input/output error
BOOT boot_id=bbbb memory=1048576
T 5 0.5 5.5 1000 1 0
BOOT boot_id=bb""")
    assert seen.boot_ids == ["aaaa", "bbbb"]
    assert seen.verifies == [ticks.Verify(2, 10, 31, "00ff", 0)]
    assert seen.disks == [ticks.Disk(10, 10, 0)]
    assert seen.failures == ["FAIL write of a record: Input/output error"]
    assert [t.n for t in seen.ticks] == [5]  # What comes after it is cut off.


def test_other_lines_are_kept_by_kind():
    console = ticks.Console("SEE number=1 cpus=0-1 pcr=-\nDIAL connection=1 lost=1\nBOOT boot_id=a memory=1\nSEE number=2\n")
    assert [words["number"] for words in console.said["SEE"]] == ["1", "2"]
    assert console.said["SEE"][0]["cpus"] == "0-1"
    assert console.said["DIAL"] == [{"connection": "1", "lost": "1"}]
    assert console.said["PLUGGED"] == [] and console.boot_ids == ["a"]
