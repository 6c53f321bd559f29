"""The main job: a host changes its kernel under three running VMs, and back again."""

import json

from hostlab.update_run import live_update


def test_three_vms(lab, echo, logs):
    """Older to newer kernel and straight back: one VM with a disk, one with a NIC, one with autostart."""
    for target in ("newer", "older"):
        run = live_update(lab, echo, target)
        (logs / f"report-to-{target}.json").write_text(json.dumps(run.report, indent=1))
        (logs / f"guests-view-to-{target}.txt").write_text(run.guests_view())
        print(run.guests_view())
        run.check()
    assert lab.service.leftovers() == []


def test_nothing_to_restore(lab):
    """Without a handover `restore` does nothing, and says so."""
    result = lab.service.call("restore")
    assert result.code == 2
    assert "no " in (result.out + result.err)
