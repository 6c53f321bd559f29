"""Two builds of host-update, one on either side of the jump: a handover that the one writes, the other restores.

The other build is the last one whose handover had format version 1. What restores is what is installed on the host's disk;
what updates is called from the second disk.
"""

import json
import shutil

import pytest

from hostlab import observe, product, service
from hostlab.emulator import PAYLOAD
from hostlab.update_run import live_update

pytestmark = pytest.mark.only("dax")  # The older build has no other way.

OLD_COMMIT = "169ce02"
OLD_VERSION, NEW_VERSION = 1, 2


@pytest.fixture(scope="module")
def payload(payload):
    """With both builds, each as a package and as a program."""
    if not product.has_commit(OLD_COMMIT):
        pytest.skip(f"this clone's history has no commit {OLD_COMMIT}")
    shutil.copy(product.package_of(OLD_COMMIT), payload / "old.deb")
    shutil.copy(payload / "host-update.deb", payload / "new.deb")
    for build in ("old", "new"):
        product.unpack_program(payload / f"{build}.deb", payload / build)
    return payload


def _update(lab, echo, logs, writer, reader, target, options=""):
    """`writer` runs the update, `reader` is what the next kernel finds."""
    lab.host.sh(f"dpkg -i {PAYLOAD}/{reader}.deb", 180)
    lab.host.sh(f"cmp /usr/sbin/host-update {PAYLOAD}/{reader}")
    run = live_update(lab, echo, target, program=f"{PAYLOAD}/{writer}", options=options)
    (logs / f"report-{writer}-to-{reader}.json").write_text(json.dumps(run.report, indent=1))
    print(run.guests_view())
    lab.host.sh(f"cmp /usr/sbin/host-update {PAYLOAD}/{reader}")
    run.check()
    return run.report


def test_builds_differ(lab):
    """The older one knows no other version than its own, the newer one writes the next if it is not told."""
    usage = {build: lab.host.run(f"{PAYLOAD}/{build} update --help").out for build in ("old", "new")}
    assert "--handover-version" in usage["new"] and "--handover-version" not in usage["old"]


def test_old_to_new(lab, echo, logs):
    """An older handover is understood: nobody has to update host-update before the kernel."""
    report = _update(lab, echo, logs, "old", "new", "newer")
    assert report["handover_version"] == OLD_VERSION


def test_new_to_old(lab, echo, logs):
    """Told to, the newer build writes what the older one understands: a kernel can be taken back together with the package."""
    _update(lab, echo, logs, "new", "old", "older", options=f"--handover-version {OLD_VERSION}")


def test_new_to_old_untold(lab):
    """Not told to, it writes a handover that the older one refuses as a whole, and keeps: the newer one restores it."""
    before = observe.Before(lab.host, lab.guests)
    lab.service.update(lab.host.flavor.newer, wait_for_restore=False, program=f"{PAYLOAD}/new")
    lab.host.wait_for_boot()
    assert lab.service.wait_for_restore() == "exit-code", "the unit hides that VMs are missing"
    report = lab.service.report()
    assert report["result"] == "HANDOVER_REFUSED" and f"version {NEW_VERSION}" in report["reason"], report
    assert lab.host.sh("virsh -q list --name") == "", "a VM was started"

    lab.host.sh(f"dpkg -i {PAYLOAD}/new.deb", 180)
    result, report = lab.service.json("restore")
    assert result.code == service.OK and report["result"] == "UPDATED", report
    assert report["handover_version"] == NEW_VERSION
    for guest in lab.guests:
        observe.check_domain_as_before(lab.host, guest.name, before.domains[guest.name])
        observe.check_guest_went_on(lab.host, guest, before.consoles[guest.name])
    assert lab.service.leftovers() == []
