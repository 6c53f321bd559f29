"""Many updates that are prepared and taken back, and many that fail at the jump: nothing is leaked, guests go on, the last one works.

LAB_CYCLES says how many of each kind, LAB_VMS with how many VMs; 1000 take the emulator hours, with one VM the fewest.
"""

import dataclasses
import os
import time

from hostlab import guests as lab_guests
from hostlab import observe, service, ticks
from hostlab.deadline import wait_until
from hostlab.update_run import live_update

CYCLES = int(os.environ.get("LAB_CYCLES", "30"))
# First the one with a NIC, which the last update's echo client talks to.
GUESTS = tuple(sorted(lab_guests.THREE, key=lambda guest: not guest.address))[:int(os.environ.get("LAB_VMS", "3"))]
WARM_UP = 3
# What each process may have more of its own memory after all cycles of a kind: a leak in each cycle shows long before
# a thousand of them, an allocator's whim does not.
MAY_GROW_KIB = 1024 + 4 * CYCLES
OPERATIONS_KIB = 200 * 48  # That many operations hostupdated keeps, with their events, and forgets older ones.
# Of the guests' account of a quiet minute: an emulated clock is that exact.
DRIFT_S = 0.5
QUIET_S = 60


@dataclasses.dataclass(frozen=True)
class Process:
    descriptors: int
    threads: int
    own_kib: int


def _processes(lab):
    """libvirtd, hostupdated, and the QEMU of each guest."""
    names = " ".join(g.name for g in lab.guests)
    out = lab.host.sh(
        "show() { echo $1 $(ls /proc/$2/fd | wc -l) "
        "$(awk '$1 == \"Threads:\" || $1 == \"RssAnon:\" { print $2 }' /proc/$2/status | sort -n | tr '\\n' ' '); };"
        "show libvirtd $(pidof libvirtd); show hostupdated $(systemctl show -P MainPID hostupdated.service);"
        f"for vm in {names}; do show $vm $(cat /run/libvirt/qemu/$vm.pid); done")
    found = {}
    for line in out.splitlines():
        name, descriptors, *two = line.split()
        # RssAnon, in KiB, is more than there are threads.
        threads, own_kib = sorted(map(int, two))
        found[name] = Process(int(descriptors), threads, own_kib)
    assert set(found) == {"libvirtd", "hostupdated", *(g.name for g in lab.guests)}, out
    return found


def _files(lab):
    """Of ours, but for the reports and operations, which are kept on purpose."""
    return lab.host.sh("find /run/host-update /var/lib/host-update -path '*/history' -prune -o -path '*/operations' -prune -o "
                       "-path '*/running/*' -prune -o -print | sort").splitlines()


def _prepare(lab):
    result = lab.service.ctl(f"prepare {lab.host.flavor.newer.arguments}")
    assert result.code == service.OK, f"exit {result.code}: {result.out}{result.err}"


def _fail_at_the_jump(lab):
    result = lab.service.call(lab.service.update_arguments(lab.host.flavor.newer), program=service.FAULTY, fault="jump:error")
    assert result.code == service.FAILED, f"exit {result.code}: {result.out}{result.err}"
    assert "injected" in result.out + result.err


def _cycles(lab, logs, kind, cycle):
    """Runs `cycle` again and again; asserts that processes and files are as they were after the first few."""
    for _ in range(WARM_UP):
        cycle(lab)
    before, files = _processes(lab), _files(lab)
    started = time.monotonic()
    for _ in range(CYCLES):
        cycle(lab)
    each_s = (time.monotonic() - started) / CYCLES

    def settled():
        now = _processes(lab)
        return now if all(now[name].descriptors <= before[name].descriptors for name in now) else None

    after = wait_until(settled, 60, f"descriptors are as many as before: {before} became {_processes(lab)}", interval=5.0)
    with open(logs / "endurance.tsv", "a") as table:
        for name, now in after.items():
            row = (kind, CYCLES, f"{each_s:.1f} s each", name, before[name], now)
            print(*row, sep="\t", file=table, flush=True)
            print(*row, flush=True)
    for name, now in after.items():
        may_grow_kib = MAY_GROW_KIB + (OPERATIONS_KIB if name == "hostupdated" else 0)
        assert now.own_kib - before[name].own_kib <= may_grow_kib, f"{name} grew: {before[name]} became {now}"
        assert now.threads <= before[name].threads + 4, f"{name} has more threads: {before[name]} became {now}"
    assert _files(lab) == files
    assert lab.service.leftovers() == []
    assert observe.luo_descriptors(lab.host) == []
    assert lab.host.sh("cat /sys/kernel/kexec_loaded") == "0"


def _lost_s(lab, guest, since_tick):
    """By how much the guest's monotonic clock fell behind the host's since then, an Interval."""
    seen = lab_guests.console(lab.host, guest).ticks
    before = [t for t in seen if since_tick - 40 < t.n <= since_tick]
    lost = ticks.host_minus_guest(seen[-40:]) - ticks.host_minus_guest(before)
    assert lost.high - lost.low < 2, f"{guest.name}: its ticks say too little: {lost}"
    return lost


def test_prepared_and_taken_back(lab, logs):
    """The guests run all the while, and their clocks stay with the host's."""
    before = observe.Before(lab.host, lab.guests)
    # Their clocks jumped when the host went on from its saved state: only ticks after that are looked at.
    first = {g.name: before.consoles[g.name].last_tick + 45 for g in lab.guests}
    wait_until(lambda: all(lab_guests.console(lab.host, g).last_tick > first[g.name] for g in lab.guests), 300,
               "the guests have ticked for a while")
    since = {g.name: lab_guests.console(lab.host, g).last_tick for g in lab.guests}
    _cycles(lab, logs, "prepare", _prepare)
    for guest in lab.guests:
        lost = _lost_s(lab, guest, since[guest.name])
        print(f"{guest.name} lost {lost} in {CYCLES} preparations", flush=True)
        assert lost.low < DRIFT_S and lost.high > -DRIFT_S, f"{guest.name} stood still for {lost}"
        observe.check_guest_undisturbed(lab.host, guest, before)


def test_paused_saved_and_taken_back(lab, logs):
    """The guests stand still in each, count on after it, and in a quiet minute after all of them their clocks go as the host's."""
    before = observe.Before(lab.host, lab.guests)
    since = {g.name: lab_guests.console(lab.host, g).last_tick for g in lab.guests}
    started = time.monotonic()
    _cycles(lab, logs, "pause and save", _fail_at_the_jump)
    took = time.monotonic() - started
    quiet = {g.name: lab_guests.console(lab.host, g).last_tick + 40 for g in lab.guests}
    time.sleep(QUIET_S + 30)
    for guest in lab.guests:
        lost = _lost_s(lab, guest, since[guest.name])
        print(f"{guest.name} lost {lost} in {took:.0f} s of {CYCLES + WARM_UP} updates", flush=True)
        assert 0 < lost.high and lost.low < took, f"{guest.name} lost {lost} in {took:.0f} s"
        drift = _lost_s(lab, guest, quiet[guest.name])
        print(f"{guest.name} drifted by {drift} in a quiet minute", flush=True)
        assert drift.low < DRIFT_S and drift.high > -DRIFT_S, f"{guest.name} drifts: {drift} in {QUIET_S} s"
        observe.check_guest_undisturbed(lab.host, guest, before)


def test_the_update_after_all_that_works(lab, echo):
    live_update(lab, echo, "newer").check()
