"""A live update where libvirt confines QEMU as Debian has it: AppArmor, seccomp, and a user of its own.

One VM: its rules are compiled nine times on its way back (README.md, "What is slow in the emulator").
"""

import json

import pytest

from hostlab import observe, service
from hostlab.guests import Guest
from hostlab.update_run import live_update

pytestmark = pytest.mark.only("dax")
CONFINED = True
GUESTS = (Guest("vm1", disk=True, address="10.0.2.50"),)


@pytest.mark.parametrize("target", ["newer", "older"])
def test_update(lab, echo, logs, target):
    """The VM is confined by the same profile after it (observe.domain), and nothing that it needs was denied."""
    run = live_update(lab, echo, target, program=service.CTL, options="--yes")
    (logs / f"report-to-{target}.json").write_text(json.dumps(run.report, indent=1))
    print(run.guests_view())
    run.check()


def test_denials_are_seen(lab):
    """That none is found says something: what the profile does not allow is on record."""
    before = observe.denials(lab.host)
    profile = lab.host.sh("tr '\\0' '\\n' < /proc/$(cat /run/libvirt/qemu/vm1.pid)/attr/current").split()[0]
    assert lab.host.run(f"aa-exec -p {profile} -- cat /etc/shadow").code != 0
    new = observe.denials(lab.host)[len(before):]
    assert any("/etc/shadow" in line for line in new), new
