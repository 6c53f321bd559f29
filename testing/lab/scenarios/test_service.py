"""The service as a management stack and an operator use it: hostupdatectl, hostupdated, its workers, across the kexec.

The package is what is installed, systemd starts what it says, and nobody calls host-update by hand.
"""

import json
import re

import pytest

from hostlab import observe, service
from hostlab.deadline import wait_until
from hostlab.update_run import live_update


def operations(lab):
    return lab.service.ctl_json("history")[1]["operations"]


def find(lab, operation_id):
    return next(o for o in operations(lab) if o["id"] == operation_id)


def ended(lab, operation_id):
    """The operation, once it has ended."""
    def look():
        operation = find(lab, operation_id)
        return operation if operation["state"] != "RUNNING" else None
    return wait_until(look, 180, f"operation {operation_id} has ended")


@pytest.fixture
def slow_worker(lab):
    """Workers that take their time before the pause: what happens meanwhile has time to."""
    folder = "/run/systemd/system/host-update-worker@.service.d"
    lab.host.sh(f"mkdir -p {folder}")
    lab.host.put_file(f"{folder}/slow.conf", f"[Service]\nExecStart=\nExecStart={service.FAULTY} worker\n"
                                             "Environment=HOST_UPDATE_FAULT=pause:delay\n")
    lab.host.sh("systemctl daemon-reload")
    yield
    lab.host.sh(f"rm -r {folder}; systemctl daemon-reload")


def start_update(lab, options=""):
    """Begins an update and returns its operation's id while VMs run."""
    result, operation = lab.service.ctl_json(f"update {lab.host.flavor.newer.arguments} --yes --no-wait {options}")
    assert result.code == service.OK, result.err
    return operation["id"]


def wait_for_phase(lab, operation_id, phase):
    def look():
        operation = find(lab, operation_id)
        assert operation["state"] == "RUNNING", operation
        return operation["phase"] == phase
    wait_until(look, 60, f"operation {operation_id} is in phase {phase}", interval=0.1)


def test_anybody_may_look(lab):
    """A user without rights sees the host and its VMs, and changes nothing."""
    result, host = lab.service.ctl_json("status", user="nobody")
    assert result.code == service.OK and host["status"]["kernel"] == lab.host.kernel(), host
    result, vms = lab.service.ctl_json("vms", user="nobody")
    assert {vm["name"]: vm["way"] for vm in vms["vms"]} == {guest.name: "in-place" for guest in lab.guests}
    before = operations(lab)
    for call in (f"update {lab.host.flavor.newer.arguments} --yes", "recover vm1", "finish vm1 --yes"):
        assert lab.service.ctl(call, user="nobody").code == service.NO_PERMISSION, call
        # Not even through the socket that he can open.
        refused = lab.service.ctl(f"--socket /run/host-update/api-ro.sock {call}", user="nobody")
        assert refused.code == service.NO_PERMISSION, f"{call}: exit {refused.code}: {refused.err}"
    assert operations(lab) == before


def test_daemon_has_no_privileges(lab):
    """What parses clients' bytes is not what may kexec."""
    pid = lab.host.sh("systemctl show -P MainPID hostupdated.service")
    assert lab.host.sh(f"stat -c %U /proc/{pid}") == "host-update"
    capabilities = lab.host.sh(f"grep -E '^Cap(Eff|Prm|Bnd)' /proc/{pid}/status").split()[1::2]
    assert capabilities == ["0" * 16] * 3
    assert lab.host.sh("stat -c '%U %a' /run/host-update/worker.sock") == "host-update 600"


def test_polkit_decides_for_others(lab, unharmed):
    """What polkit grants to somebody, call by call, he may; without it he may nothing, and root all."""
    lab.host.sh("systemctl start polkit.service")
    plan, check = (f"{call} {lab.host.flavor.newer.arguments}" for call in ("plan", "check"))
    refused = lab.service.ctl(plan, user="nobody")
    assert refused.code == service.NO_PERMISSION and "administrator's password" in refused.err, refused.err
    rules = "/etc/polkit-1/rules.d/50-lab.rules"
    lab.host.put_file(rules, """polkit.addRule(function(action, subject) {
        if (action.id == "org.host-update.manage" && subject.user == "nobody" && action.lookup("call") == "Plan")
            return polkit.Result.YES;
    });""")
    lab.host.sh(f"chmod 644 {rules}; systemctl restart polkit.service")
    granted = lab.service.ctl(plan, user="nobody")
    assert granted.code == service.OK, granted.err
    assert lab.service.ctl(check, user="nobody").code == service.NO_PERMISSION
    lab.host.sh(f"rm {rules}; systemctl mask --runtime --now polkit.service")
    refused = lab.service.ctl(plan, user="nobody")
    assert refused.code == service.NO_PERMISSION and "polkit can't be asked" in refused.err, refused.err
    lab.service.ctl(plan).check()
    lab.host.sh("systemctl unmask --runtime polkit.service")


# What `systemd-analyze security` finds (0: nothing exposed, 100: everything), and no more than that.
EXPOSURE = {"hostupdated.service": 10, "host-update-worker@lab.service": 56, "host-update-restore.service": 56}


@pytest.mark.parametrize("unit", EXPOSURE)
def test_exposure_of_units(lab, unit):
    lab.host.sh(f"systemd-analyze security --no-pager --threshold={EXPOSURE[unit]} {unit}")


def test_check_and_plan(lab, unharmed):
    """Both answer like host-update does; the plan has the hash that an update can be held to."""
    kernel = lab.host.flavor.newer
    result, check = lab.service.ctl_json(f"check {kernel.arguments}")
    assert result.code == service.OK and check["go"], check
    result, plan = lab.service.ctl_json(f"plan {kernel.arguments}")
    assert result.code == service.OK and plan["plan_hash"]
    assert {vm["name"] for vm in plan["vms"]} == {guest.name for guest in lab.guests}
    # Nothing is on record yet. The restorer has not run either: the package was installed in this boot.
    assert plan["prediction_basis"] and not plan.get("predicted_blackout_s")
    result, check = lab.service.ctl_json("check --kernel /etc/fstab --no-initrd")
    assert result.code == service.NO_GO and not check["go"]


def test_what_is_refused(lab, unharmed):
    """A plan that is out of date, a blackout that nobody can predict, a kernel that anybody could have written."""
    kernel = lab.host.flavor.newer
    stale = lab.service.ctl(f"update {kernel.arguments} --yes --plan 0123")
    assert stale.code == service.FAILED and "plan" in stale.out + stale.err
    budget = lab.service.ctl(f"update {kernel.arguments} --yes --max-blackout 5")
    assert budget.code == service.OVER_BUDGET, budget.out + budget.err
    lab.host.sh(f"cp {kernel.kernel} /tmp/vmlinuz")
    foreign = lab.service.ctl("update --kernel /tmp/vmlinuz --no-initrd --yes")
    assert foreign.code == service.NO_PERMISSION and "/tmp" in foreign.out + foreign.err
    appended = lab.service.ctl(f"update {kernel.arguments} --yes --append init=/bin/sh")
    assert appended.code == service.NO_PERMISSION, appended.out + appended.err


def test_prepare(lab, unharmed):
    """All that comes before the pause, done and taken back: no VM stands still, nothing stays."""
    result, operation = lab.service.ctl_json(f"prepare {lab.host.flavor.newer.arguments} --reason rehearsal --quiet")
    assert result.code == service.OK, result.out + result.err
    assert operation["kind"] == "PREPARE" and operation["state"] == "SUCCEEDED", operation
    assert operation["report"]["result"] == "PREPARED"
    assert [phase["phase"] for phase in operation["report"]["phases"]] == ["prepare"]


def test_enable(lab, unharmed):
    """A definition as libvirt's tools write it is made fit and changed back; the VM that runs is left alone."""
    def definition(form="--inactive"):
        return lab.host.sh(f"virsh dumpxml {form} --security-info vm1")
    made_fit, running = definition(), definition("")
    lab.host.put_file("/tmp/vm1.xml", re.sub("<memoryBacking>.*?</memoryBacking>|<qemu:commandline>.*?</qemu:commandline>",
                                             "", made_fit, flags=re.DOTALL))
    lab.host.sh("virsh -q define /tmp/vm1.xml")
    plain = definition()
    assert "memoryBacking" not in plain and "aux-ram-share" not in plain
    result, dry = lab.service.ctl_json("enable vm1 --dry-run")
    assert result.code == service.OK and dry["changed"] and definition() == plain, dry
    result, report = lab.service.ctl_json("enable vm1 --reason 'for updates'")
    assert result.code == service.OK and report["changed"] and "+" in report["diff"], report
    enabled = definition()
    assert "aux-ram-share=on" in enabled and lab.host.flavor.ram_source in enabled
    result, again = lab.service.ctl_json("enable vm1")
    assert result.code == service.OK and not again.get("changed"), again
    result, undone = lab.service.ctl_json("enable vm1 --undo")
    assert result.code == service.OK and undone["undone"] and definition() == plain, undone
    assert definition("") == running
    lab.host.put_file("/tmp/vm1.xml", made_fit)
    lab.host.sh("virsh -q define /tmp/vm1.xml")
    assert definition() == made_fit


def test_abort(lab, unharmed, slow_worker):
    """Taken back on request, while VMs run."""
    operation = start_update(lab, "--request-id first-try")
    # Asked for again, as after a lost answer: the same one, and nothing more.
    assert start_update(lab, "--request-id first-try") == operation
    wait_for_phase(lab, operation, "prepare")
    lab.service.ctl("abort").check()
    assert ended(lab, operation)["state"] == "ABORTED"
    assert ended(lab, operation)["exit_code"] == service.ABORTED


@pytest.mark.parametrize("victim", ["hostupdated.service", "host-update-worker@*.service"], ids=["daemon", "worker"])
def test_killed(lab, unharmed, slow_worker, victim):
    """Whoever dies in the middle of an update, it is taken back, and the operation says so."""
    operation = start_update(lab)
    wait_for_phase(lab, operation, "prepare")
    lab.host.sh(f"systemctl kill --signal=SIGKILL '{victim}'")
    wait_until(lambda: lab.service.ctl("history").code == service.OK, 60, "hostupdated answers")
    end = ended(lab, operation)
    assert end["state"] == "FAILED" and end["exit_code"] == service.FAILED, end
    assert "taken back" in end["error"], end


@pytest.fixture
def hooks_record(lab):
    """Hooks that write down that they ran, on disk; the function that reads what they wrote."""
    path = "/var/log/hooks-record"
    hooks = [lab.service.put_hook(when, "50-record",
                                  f'echo "$HOST_UPDATE_HOOK $HOST_UPDATE_ID $HOST_UPDATE_RESULT" >> {path}')
             for when in ("notify", "pre-pause", "post-resume")]
    yield lambda: [line.strip() for line in lab.host.sh(f"cat {path}").splitlines()]
    lab.host.sh(f"rm -f {path} {' '.join(hooks)}")


def test_failing_hook(lab, unharmed, hooks_record):
    """A pre-pause hook that fails stops the update and is named; what notify froze is thawed."""
    bad = lab.service.put_hook("pre-pause", "99-ha", "echo no quorum; exit 3")
    try:
        failed = lab.service.ctl(f"update {lab.host.flavor.newer.arguments} --yes")
    finally:
        lab.host.sh(f"rm {bad}")
    assert failed.code == service.FAILED, failed.out + failed.err
    report = lab.service.report()
    assert report["result"] == "FAILED_UNHARMED" and report["failed_phase"] == "prepare"
    for word in ("pre-pause hook 99-ha", "exit status 3", "no quorum"):
        assert word in report["reason"], report["reason"]
    update = report["update_id"]
    assert hooks_record() == [f"notify {update}", f"pre-pause {update}", f"post-resume {update} FAILED_UNHARMED"]


def test_hook_of_somebody_else(lab, unharmed):
    """One that others than root can write fails the check, and so the update, before anything is touched."""
    hook = lab.service.put_hook("notify", "10-foreign", "touch /var/log/foreign-ran")
    lab.host.sh(f"chmod 777 {hook}")
    try:
        result, check = lab.service.ctl_json(f"check {lab.host.flavor.newer.arguments}")
        assert result.code == service.NO_GO and not check["go"]
        assert [f["code"] for f in check["findings"] if f["severity"] == "ERROR"] == ["HOOKS"], check
        assert lab.service.ctl(f"update {lab.host.flavor.newer.arguments} --yes").code == service.FAILED
    finally:
        lab.host.sh(f"rm {hook}")
    lab.host.sh("test ! -e /var/log/foreign-ran")


def test_update(lab, echo, logs, hooks_record):
    """The whole thing, held to its plan; who watches goes on after the kexec where he was."""
    kernel = lab.host.flavor.newer
    plan = lab.service.ctl_json(f"plan {kernel.arguments}")[1]
    last_seen = lab.service.ctl_json("status")[1]["last_sequence"]
    run = live_update(lab, echo, "newer", program=service.CTL,
                      options=f"--yes --plan {plan['plan_hash']} --reason 'a new kernel' --request-id roll-1")
    (logs / "report.json").write_text(json.dumps(run.report, indent=1))
    print(run.guests_view())
    run.check()
    assert [(hook["when"], hook["name"]) for hook in plan["hooks"]] == \
        [(when, "50-record") for when in ("notify", "pre-pause", "post-resume")]
    update = run.report["update_id"]
    assert hooks_record() == [f"notify {update}", f"pre-pause {update}", f"post-resume {update} UPDATED"]
    for vm in run.report["vms"]:
        # These guests have no agent.
        assert vm["guest_clock"] == "lagging" and vm["guest_clock_lag_s"] == vm["blackout_s"], vm
        assert "agent" in vm["guest_agent"], vm

    wait_until(lambda: lab.service.ctl("status").code == service.OK, 120, "hostupdated answers")
    operation = operations(lab)[0]
    assert operation["id"] == run.report["update_id"] and operation["request_id"] == "roll-1"
    assert operation["state"] == "SUCCEEDED" and operation["exit_code"] == service.OK
    assert operation["boot_id"] == run.before.boot_id != lab.host.boot_id()
    watched = lab.service.ctl(f"watch {operation['id']} --json")
    assert watched.code == service.OK, watched.err
    events = [json.loads(line) for line in watched.out.splitlines() if '"sequence"' in line]
    sequences = [int(event["sequence"]) for event in events]
    assert sequences == sorted(set(sequences)) and sequences[0] > int(last_seen)
    phases = [event["phase"] for event in events]
    assert phases[0] == "check" and "prepare" in phases and phases[-1] == "resume"
    assert events[-1]["state"] == "SUCCEEDED"
    assert lab.service.ctl_json("report")[1]["update_id"] == operation["id"]


def test_rollback(lab, echo):
    """Back to the kernel that the last update came from; its blackout is predicted from the first one's."""
    result, plan = lab.service.ctl_json(f"plan {lab.host.flavor.older.arguments}")
    assert result.code == service.OK, result.err
    first = lab.service.report()
    assert plan["predicted_blackout_s"] == first["host_blackout_s"]
    assert {vm["name"]: vm["predicted_blackout_s"] for vm in plan["vms"]} \
        == {vm["name"]: vm["blackout_s"] for vm in first["vms"]}
    run = live_update(lab, echo, "older", command=f"{service.CTL} rollback --yes")
    run.check()
    assert lab.service.leftovers() == []


def test_journal_names_who_asked(lab):
    """Each call that changes something, or was refused, is on record with its caller."""
    audit = [line for line in lab.host.sh("journalctl -b all -u hostupdated.service -o cat --no-pager").splitlines()
             if "audit: " in line]
    assert any("Execute by uid 0" in line and "reason: a new kernel" in line for line in audit), audit
    assert any("refused to uid 65534" in line for line in audit), audit
