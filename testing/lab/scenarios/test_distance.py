"""How far an update may go: kernels of one release, of another series, the newest, and those that must be refused.

One host of a flavor goes from kernel to kernel; each of its updates is a row of a table, `distance.md` among the logs.
"""

import re
import shutil
import statistics

import pytest

from hostlab import kernel as built_kernels
from hostlab import observe, service
from hostlab.deadline import LabTimeout, wait_until
from hostlab.flavor import CONSTANT_TSC
from hostlab.service import UpdateFailed
from hostlab.update_run import live_update

# Where a host of the flavor goes, in order; it begins under "older".
WAY = {"dax": ("older", "newer", "backports", "older", "built", "older"), "luo": ("newer",)}
APPEND = {"built": CONSTANT_TSC}
EVENTS = "/root/events"
HEADER = """| from | to | backend | result | blackout, by the host | by the guests (median) | RAM copied | state per VM |
|---|---|---|---|---|---|---|---|
"""


def pytest_generate_tests(metafunc):
    if "to" in metafunc.fixturenames:
        metafunc.parametrize("to", WAY[metafunc.config.getoption("--flavor")])


@pytest.fixture(scope="module")
def built():
    """The kernels that are no part of a dax host's image: only this scenario has them built for one."""
    return built_kernels.ensure()


@pytest.fixture(scope="module")
def payload(payload, built, flavor):
    for kernel in (built.newer, *([built.foreign] if flavor.name == "luo" else [])):
        shutil.copy(kernel.boot_kernel, payload)
    return payload


class Table:
    """Rows are added as the host goes, so that those before a failure are there."""

    def __init__(self, path, backend):
        self.path, self.backend = path, backend
        path.write_text(HEADER)

    def add(self, source, target, result, *figures):
        cells = (source, target, self.backend, result, *(figures or ["–"] * 4))
        with self.path.open("a") as table:
            table.write("| " + " | ".join(cells) + " |\n")

    def add_run(self, run):
        vms = run.report["vms"]
        sizes = [int(vm.get("device_state_bytes", 0)) + int(vm.get("auxiliary_bytes", 0)) for vm in vms]
        seen = [run.guest_blackout(guest.name).middle for guest in run.before.guests]
        self.add(run.source, run.target.release, run.report["result"], f"{run.report['host_blackout_s']:.1f} s",
                 f"{statistics.median(seen):.1f} s", str(sum(int(vm.get("ram_bytes_copied", 0)) for vm in vms)),
                 ", ".join(f"{size / 1024:.0f} KiB" for size in sizes))


@pytest.fixture(scope="module")
def table(logs, flavor):
    table = Table(logs / "distance.md", flavor.name)
    yield table
    print("\n" + table.path.read_text())


@pytest.mark.only("luo")
def test_another_abi_is_refused(lab, table, built):
    """A kernel that would not find what this one preserves: no-go, and the reason names what both speak. No VM is paused."""
    before = observe.Before(lab.host, lab.guests)
    states = _states(lab)
    watch = lab.host.agent.start(f"exec stdbuf -oL virsh event --event lifecycle --loop > {EVENTS}")

    result, check = lab.service.json(f"check {built.foreign.arguments}")
    assert result.code == service.NO_GO and not check["go"], check
    errors = {f["code"]: f for f in check["findings"] if f["severity"] == "ERROR"}
    assert set(errors) == {"TARGET_LUO_ABI"}
    assert len(set(re.findall(r"luo-v\d+", errors["TARGET_LUO_ABI"]["message"]))) == 2, errors
    update = lab.service.call(lab.service.update_arguments(built.foreign))
    assert update.code in (service.FAILED, service.NO_GO), f"exit {update.code}: {update.out}{update.err}"
    assert errors["TARGET_LUO_ABI"]["message"] in update.out + update.err

    assert _states(lab) == states
    assert lab.host.boot_id() == before.boot_id
    assert lab.host.sh("cat /sys/kernel/kexec_loaded") == "0"
    assert lab.service.leftovers() == []
    # libvirt tells of a pause if there is one: of this, and of none before.
    lab.host.sh("virsh -q suspend vm3 && virsh -q resume vm3")
    wait_until(lambda: "Resumed" in lab.host.sh(f"cat {EVENTS}"), 60, "libvirt tells that vm3 goes on")
    lab.host.sh(f"kill {watch}")
    events = re.findall(r"domain '?(\w+)'?: (\w+)", lab.host.sh(f"cat {EVENTS}"))
    assert events == [("vm3", "Suspended"), ("vm3", "Resumed")]
    for guest in lab.guests:
        observe.check_guest_went_on(lab.host, guest, before.consoles[guest.name])
    table.add(lab.host.kernel(), built.foreign.release, "refused before the pause: `TARGET_LUO_ABI`")


def _states(lab):
    return {guest.name: observe.state(lab.host, guest.name) for guest in lab.guests}


def test_update(lab, echo, table, built, to):
    """From wherever the last one ended: all VMs run on, memory in place, connection never broken."""
    kernels = {"older": lab.host.flavor.older, "newer": lab.host.flavor.newer, "backports": lab.host.image.backports,
               "built": built.newer}
    source, target = lab.host.kernel(), kernels[to]
    try:
        run = live_update(lab, echo, target, append=APPEND.get(to, ""))
    except (AssertionError, LabTimeout, UpdateFailed) as problem:
        table.add(source, target.release, f"FAILED: {str(problem).splitlines()[0]}")
        raise
    table.add_run(run)
    print(run.guests_view())
    run.check(same_kernel=source == target.release)
