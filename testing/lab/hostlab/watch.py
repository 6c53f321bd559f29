"""What has become of the VMs, by what can be seen of them: never by what an update says of itself.

A Watch takes stock once. Later it tells which VMs run on, in the same process or a new one, with all their memory verified by the guest
itself, which are off, and whether the host was told of those (outcome.py).
"""

import dataclasses
import re

from hostlab import guests as lab_guests
from hostlab import outcome, service
from hostlab.deadline import LabTimeout, wait_until
from hostlab.ticks import Console

TAIL = 16000    # Bytes of a console: some hundred ticks.
VERIFY_S = 240


@dataclasses.dataclass(frozen=True)
class Vm:
    state: str     # "running", "paused", "shut off", "" if libvirt knows no such VM.
    process: str   # Process id and start time; "" if it has none.
    console: Console

    @property
    def runs(self):
        return self.state == "running"


@dataclasses.dataclass(frozen=True)
class Look:
    boot_id: str
    kernel: str
    staged: bool
    vms: dict


def look(host, names):
    """All of it in one command: each costs the emulated host a second."""
    out = host.run(
        "echo $(cat /proc/sys/kernel/random/boot_id) $(uname -r) $(cat /sys/kernel/kexec_loaded); "
        f"for d in {' '.join(names)}; do p=$(cat /run/libvirt/qemu/$d.pid 2>/dev/null); "
        "echo \"@@ $d|$(virsh domstate $d 2>/dev/null | head -1)|$p $(test -n \"$p\" && cut -d' ' -f22 /proc/$p/stat 2>/dev/null)\"; "
        f"tail -c {TAIL} {lab_guests.LOG_FOLDER}/$d.log; echo; done").check().out
    head, *parts = re.split(r"^@@ ", out, flags=re.MULTILINE)
    boot_id, kernel, staged = head.split()
    vms = {}
    for part in parts:
        first, _, text = part.partition("\n")
        name, state, process = first.split("|")
        text = text[:-1]  # The newline of `echo`: the guest may be in the middle of its last line.
        vms[name] = Vm(state, process.strip(), Console(text[text.find("\n"):] if len(text) >= TAIL else text))
    return Look(boot_id, kernel, staged == "1", vms)


class Watch:
    def __init__(self, lab):
        self.lab, self.host = lab, lab.host
        self.names = [guest.name for guest in lab.guests]
        self.before = self.look()
        self.checksums = {}
        for guest in lab.guests:
            console = lab_guests.console(self.host, guest)
            self.checksums[guest.name] = (console.verifies[-1].checksum, console.boot_ids[-1])

    def look(self):
        return look(self.host, self.names)

    def verified(self, names, seconds=VERIFY_S):
        """The VMs of `names` that went on: the same boot of the guest ticks, and has read all its memory once more, begun after now.
        Of the others, what is wrong."""
        begin = {name: vm.console.last_tick for name, vm in self.look().vms.items()}
        good, wrong, now = set(), {}, None

        def all_told():
            nonlocal now
            now = self.look()
            for name in names:
                vm = now.vms[name]
                checksum, boot_id = self.checksums[name]
                if not vm.runs:
                    wrong[name] = f"{name} is {vm.state or 'not there'}"
                elif vm.console.failures or any(v.bad for v in vm.console.verifies) or \
                        any(b != boot_id for b in vm.console.boot_ids) or vm.console.missing_ticks():
                    wrong[name] = f"{name}: {vm.console.failures} {vm.console.verifies[-1:]} {vm.console.missing_ticks()}"
                elif any(v.begin > begin[name] and v.checksum == checksum for v in vm.console.verifies):
                    good.add(name)
            return good | wrong.keys() >= set(names)
        try:
            wait_until(all_told, seconds, "guests have verified their memory", interval=3.0)
        except LabTimeout:
            for name in set(names) - good - wrong.keys():
                wrong[name] = f"{name} does not tick, or did not verify its memory in {seconds} s"
        return good, wrong

    # After an update that did not leave the old kernel.

    def judge_old(self, said, verify=False):
        """(outcome, detail) after an update that came back; `said` is all that it told. Without `verify`, a later look has to say
        that memory is whole."""
        before, now = self.before, self.look()
        if now.boot_id != before.boot_id:
            return outcome.UNCLEAR, f"another boot: {now.boot_id}"
        status = self.lab.service.status()
        left = self.lab.service.leftovers()
        if now.staged or left or status.get("interrupted") or status.get("phase", "idle") != "idle":
            return outcome.UNCLEAR, f"left behind: {left}, staged {now.staged}, status {status}"
        off = [name for name in self.names if now.vms[name].state in ("shut off", "")]
        on = [name for name in self.names if name not in off]
        for name in on:
            if not now.vms[name].runs or now.vms[name].process != before.vms[name].process:
                return outcome.UNCLEAR, f"{name}: {now.vms[name].state}, {now.vms[name].process}, before {before.vms[name].process}"
        problem = self._tick_on(on, now)
        if problem:
            return outcome.UNCLEAR, problem
        if verify:
            wrong = self.verified(on)[1]
            if wrong:
                return outcome.SILENT, f"{wrong}"
        return self._of_the_missing(off, said) if off else (outcome.ALL_ON_OLD, "")

    def _tick_on(self, names, since):
        def all_tick():
            now = self.look()
            return all(now.vms[name].console.last_tick > since.vms[name].console.last_tick for name in names)
        try:
            wait_until(all_tick, 60, "guests tick", interval=0.5)
        except LabTimeout as problem:
            return str(problem)
        return ""

    @staticmethod
    def _of_the_missing(names, said):
        unnamed = [name for name in names if name not in said]
        if unnamed:
            return outcome.SILENT, f"off, and nothing says so: {unnamed}: {said[-500:]}"
        return outcome.LOST, f"off and named: {names}"

    def judge(self, said, mend=None):
        """The same of an update that may or may not have come back."""
        if self.host.boot_id() == self.before.boot_id:
            return self.judge_old(said, verify=True)
        return self.judge_new(said, mend)

    # After the jump.

    def judge_new(self, said, mend=None):
        """(outcome, detail) in a later boot. VMs that are missing must be named by `said`, the report or `status`; then `mend()`, if
        given, and `restore --retry` must bring back those that are said to be kept."""
        now = self.look()
        if now.boot_id == self.before.boot_id:
            return outcome.UNCLEAR, "still the old boot"
        missing = [name for name in self.names if not now.vms[name].runs]
        wrong = self.verified([name for name in self.names if name not in missing])[1]
        if wrong:
            return outcome.SILENT, f"{wrong}"
        if not missing:
            return outcome.ALL_ON_NEW, f"in {now.kernel}"
        said += "".join(self.of_report())
        status = self.lab.service.status()
        unnamed = [name for name in missing if name not in said and name not in status.get("unrestored_vms", [])]
        if unnamed:
            return outcome.SILENT, f"off, and nothing says so: {unnamed}"
        return self.bring_back(missing, mend)

    def of_report(self):
        result, report = self.lab.service.json("report")
        if result.code != service.OK:
            return
        yield report.get("reason", "")
        for vm in report.get("vms", []):
            if vm["result"] != "RESTORED":
                yield f" {vm['name']}: {vm.get('reason')}: {vm.get('next_step')}"

    def bring_back(self, names, mend=None):
        if mend:
            mend()
        said = []
        for name in names:
            result = self.lab.service.call(f"restore --retry {name}", timeout=300)
            if result.code != service.OK:
                errors = [line for line in result.err.splitlines() if name in line]
                said.append(f"{name}: {(errors or [result.out])[-1].strip()[:400]}")
        if said:
            return outcome.LOST, f"named, and no retry helps: {said}"
        wrong = self.verified(names)[1]
        if wrong:
            return outcome.SILENT, f"brought back otherwise than it was: {wrong}"
        return outcome.RECOVERABLE, f"named and brought back: {names}"
