"""One live update of a whole host, watched from all sides: the service's report, libvirt, the guests, and outside."""

import dataclasses

from hostlab import observe

# How far the host's and the guest's account of a blackout may differ beyond what the guest's clock resolves: the host
# counts from its pause being acknowledged to its resume being acknowledged, the guest from its last tick; on a slow machine both
# the blackout and the acknowledgements are longer.
AGREE_S, AGREE_SHARE = 0.5, 0.01


def check_agree(name, seen, reported_s):
    """The guest's account of a blackout, an Interval, and the host's are of the same one."""
    slack = (seen.high - seen.low) / 2 + AGREE_S + AGREE_SHARE * reported_s
    assert abs(seen.middle - reported_s) <= slack, f"{name}: the guest saw {seen}, the host reports {reported_s:.2f} s"


@dataclasses.dataclass
class UpdateRun:
    lab: object
    target: object       # The kernel it went to.
    source: str          # The release it came from.
    before: observe.Before
    report: dict
    consoles: dict = dataclasses.field(default_factory=dict)
    echo: object = None
    tcp_gap_s: float = 0.0

    def vm(self, name):
        return next(vm for vm in self.report["vms"] if vm["name"] == name)

    def guest_blackout(self, name):
        """The blackout that the guest saw in this update. Its clocks may drift apart by a little elsewhere, as they do on a
        busy emulated processor, but it has stood still only once."""
        found = observe.guest_blackouts(self.consoles[name], self.before.consoles[name].last_tick)
        assert found, f"{name} never stood still"
        *rest, longest = sorted(found, key=lambda gap: gap.middle)
        assert all(gap.middle < longest.middle / 10 for gap in rest), \
            f"{name} stood still {len(found)} times: {[str(gap) for gap in found]}"
        return longest

    def check(self, same_kernel=False):
        """All that must hold after an update in which nothing went wrong."""
        host, report = self.lab.host, self.report
        assert host.kernel() == self.target.release == report["kernel_after"]
        assert report["kernel_before"] == self.source
        assert (self.source == self.target.release) == same_kernel
        assert report["boot_id_before"] == self.before.boot_id
        assert report["boot_id_after"] == host.boot_id() != self.before.boot_id
        for guest in self.before.guests:
            observe.check_domain_as_before(host, guest.name, self.before.domains[guest.name])
            self._check_vm_report(guest)
        for guest in self.lab.foreign:
            guest.check_went_on(host)
        assert observe.libvirt_errors(host) == self.before.libvirt_errors
        assert observe.denials(host) == self.before.denials
        self._check_all_given_back()
        if self.echo:
            assert not self.echo.broken, f"the connection broke: {self.echo}"
            assert not self.echo.wrong, f"bytes were lost: {self.echo}"

    def _check_vm_report(self, guest):
        vm = self.vm(guest.name)
        assert vm["result"] == "RESTORED", vm
        assert vm["uuid"] == self.before.domains[guest.name].uuid
        assert int(vm["device_state_bytes"]) > 0
        assert int(vm["ram_bytes"]) == (guest.memory_mib + guest.plugged_mib) << 20
        assert int(vm.get("ram_bytes_copied", 0)) == 0
        assert vm["ram_proof"]
        if guest.paused:
            return  # It has stood still for longer, and its owner knows.
        check_agree(guest.name, self.guest_blackout(guest.name), vm["blackout_s"])

    def _check_all_given_back(self):
        status = self.lab.service.status()
        assert status.get("phase", "idle") == "idle" and not status.get("interrupted")
        assert not status.get("kernel_staged")
        assert not status.get("unrestored_vms")
        leftovers = self.lab.service.leftovers()
        assert leftovers == [], f"left behind: {leftovers}"

    def guests_view(self):
        """What the guests and the client outside saw, next to what the host reports."""
        lines = [f"{self.source} → {self.target.release}, seen by the guests:"]
        for guest in self.before.guests:
            console = self.consoles[guest.name]
            last = console.verifies[-1]
            same = "same" if console.boot_ids == self.before.consoles[guest.name].boot_ids else "CHANGED"
            lines.append(
                f"  {guest.name}: stood still {self.guest_blackout(guest.name)} (host: "
                f"{self.vm(guest.name).get('blackout_s', 0):.2f} s), boot_id {console.boot_ids[0]} {same}, "
                f"tick {console.last_tick}, memory {last.checksum}: {last.bad} bad words of pass {last.number}"
                + (f", disk record {console.disks[-1].seq}: {console.disks[-1].bad} bad" if console.disks else ""))
        if self.echo:
            lines.append(f"  TCP from outside: {self.echo}, longest gap {self.tcp_gap_s:.2f} s")
        return "\n".join(lines) + "\n"


def live_update(lab, echo, target, **how):
    """Updates the lab's host into `target`, its "older" or "newer" kernel or another Kernel, `how` as Service.update takes
    it; returns when the guests have verified their memory after it. Asserts what the guests show; `check` of the result
    asserts the rest."""
    host = lab.host
    before = observe.Before(host, lab.guests)
    source = host.kernel()
    if echo:
        echo.new_gap()
    kernel = getattr(host.flavor, target) if isinstance(target, str) else target
    report = lab.service.update(kernel, **how)
    assert report["result"] == "UPDATED", report.get("reason") or [vm.get("reason") for vm in report["vms"]]
    run = UpdateRun(lab, kernel, source, before, report, echo=echo)
    for guest in lab.guests:
        if guest.paused:
            assert observe.state(host, guest.name).startswith("paused"), f"{guest.name} was paused before the update"
            host.sh(f"virsh -q resume {guest.name}")
        run.consoles[guest.name] = observe.check_guest_went_on(host, guest, before.consoles[guest.name])
    if echo:
        run.tcp_gap_s = echo.new_gap()
    return run
