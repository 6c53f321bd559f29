"""An update that jumps by the loader's own means, with all that must hold after any update."""

import json

from hostlab.update_run import live_update


def test_direct_jump(lab, echo, logs):
    """There directly, into the unpacked kernel; back by kexec_file_load."""
    plan = lab.service.call(f"{lab.service.update_arguments(lab.host.flavor.newer)} --direct-jump --dry-run")
    assert "kexec_load: no signature is checked" in plan.out, plan
    for target, options in (("newer", "--direct-jump"), ("older", "")):
        run = live_update(lab, echo, target, options=options)
        (logs / f"report-to-{target}.json").write_text(json.dumps(run.report, indent=1))
        print(run.guests_view())
        run.check()
