"""The kernel's own tests of its Live Update Orchestrator, on the kernel and the emulated host that all else here relies on.

They are the kernel's word on what /dev/liveupdate does; where they fail, what host-update does with it is not at fault.
"""

import re
import shutil

import pytest

from hostlab import kernel as built_kernels
from hostlab import product
from hostlab.emulator import PAYLOAD
from hostlab.host import Host

pytestmark = pytest.mark.only("luo")

LEAST_CASES = 11  # 15 in Linux 7.3.
# Each leaves sessions behind, and finds them again over a kexec.
OVER_KEXEC = ("luo_kexec_simple", "luo_multi_session")


@pytest.fixture(scope="module")
def host(payload, logs, flavor):
    """Without host-update and without guests: /dev/liveupdate can be opened but once."""
    for program in ("liveupdate", *OVER_KEXEC):
        shutil.copy(built_kernels.ensure().selftests / program, payload)
    with Host.ready(logs, payload, flavor, guest_init=product.guest_init()) as host:
        try:
            host.sh("for d in $(virsh -q list --name); do virsh -q destroy $d; done")
            yield host
        finally:
            host.collect_logs()


def _selftest(host, logs, program, stage=None):
    """Runs a program of the kernel's to its end; returns what it printed."""
    # Not through a pipe: what holds the sessions over the kexec would keep it open.
    name = program + (f"-{stage}" if stage else "")
    result = host.run(f"{PAYLOAD}/{program} {f'-s {stage}' if stage else ''} > /root/{name}.tap 2>&1", 300)
    text = host.read(f"/root/{name}.tap")
    (logs / f"{name}.tap").write_text(text)
    assert result.code == 0, f"exit {result.code}: {text}"
    return text


def test_device(host, logs):
    """Sessions and files in them, as far as no kexec is needed: each case is ok, none is skipped."""
    lines = re.findall(r"^(ok|not ok) \d+ (.*)", _selftest(host, logs, "liveupdate"), re.M)
    assert len(lines) >= LEAST_CASES
    assert [line for line in lines if line[0] != "ok" or "SKIP" in line[1]] == []
    print(f"{len(lines)} cases of liveupdate are ok")


@pytest.mark.parametrize("program", OVER_KEXEC)
def test_over_kexec(host, logs, program):
    """What the first stage preserves, the second finds after a kexec into the same kernel."""
    boot_id = host.boot_id()
    _selftest(host, logs, program, stage=1)
    kernel = host.flavor.older
    assert host.kernel() == kernel.release
    jump = host.agent.start(f"exec {PAYLOAD}/kexec_into {kernel.kernel} '' '{host.flavor.command_line}' > /root/kexec.log 2>&1")
    host.wait_for_new_boot(boot_id, while_old=lambda: _still_running(host, jump))
    assert host.kernel() == kernel.release
    assert "TEST PASSED" in _selftest(host, logs, program, stage=2)


def _still_running(host, pid):
    assert not host.agent.poll(pid), host.read("/root/kexec.log")
