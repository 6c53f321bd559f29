"""VMs that are not carried in place: saved by libvirt, copied into preserved memory, shut down, refused.

Who asks for it: the policy file, a VM's metadata, the command line.
"""

import dataclasses
import json

from hostlab import observe, service
from hostlab.update_run import check_agree, live_update

POLICY = "/etc/host-update/policy.textproto"
COPIES = f"{service.STORE}/copies"


def set_metadata(lab, name, policy):
    """Puts <policy> into the VM's metadata, or takes it out."""
    what = f'--set "<policy {policy}/>"' if policy else "--remove"
    lab.host.sh(f"virsh -q metadata {name} --uri urn:host-update:policy:1 --key host-update --live --config {what}")


def plan(lab, options):
    return lab.service.ctl_json(f"plan {lab.host.flavor.newer.arguments} {options}")


def test_a_refused_vm_is_listed_with_the_choices(lab, unharmed):
    """Before anything happens, and nothing does."""
    result, planned = plan(lab, "--way vm2=refuse")
    assert result.code == service.NO_GO
    vm2 = next(vm for vm in planned["vms"] if vm["name"] == "vm2")
    assert vm2["way"] == "refuse" and vm2["choices"] == ["in-place", "copy", "managedsave", "shutdown"], vm2
    assert [vm["way"] for vm in planned["vms"] if vm["name"] != "vm2"] == ["in-place", "in-place"]
    result = lab.service.call(f"update {lab.host.flavor.newer.arguments} --way vm2=refuse")
    assert result.code == service.FAILED
    assert "refused, by --way" in result.out + result.err


def test_a_broken_policy_is_no_go(lab, unharmed):
    lab.host.put_file(POLICY, 'vm { name: "vm1"\n wya: COPY }\n')
    result, planned = plan(lab, "")
    lab.host.sh(f"rm {POLICY}")
    assert result.code == service.NO_GO
    assert any(f["code"] == "POLICY" and f"{POLICY}:2:" in f["message"] for f in planned["check"]["findings"]), planned


def check_domain(lab, name, before, same_memory):
    """The same domain as before; one that was saved and started again has its RAM in another file."""
    now = observe.domain(lab.host, name)
    if not same_memory:
        now, before = (dataclasses.replace(domain, ram_inodes=()) for domain in (now, before))
    assert now == before, f"{name}: {now} is not {before}"


def test_a_guest_that_does_not_shut_down_stops_the_update(lab):
    """The guests' only program does not know of power buttons. What was saved meanwhile is started again."""
    before = observe.Before(lab.host, lab.guests)
    set_metadata(lab, "vm3", "shutdown-timeout='5'")
    try:
        result = lab.service.call(f"update {lab.host.flavor.newer.arguments} --way vm3=shutdown --way vm1=managedsave")
    finally:
        set_metadata(lab, "vm3", None)
    assert result.code == service.FAILED, f"exit {result.code}: {result.out}{result.err}"
    report = lab.service.report()
    assert report["result"] == "FAILED_UNHARMED" and report["failed_phase"] == "prepare", report
    assert "vm3" in report["reason"] and "was not off" in report["reason"], report
    assert lab.service.leftovers() == []
    vm1, *others = lab.guests
    observe.check_guest_went_on(lab.host, vm1, before.consoles["vm1"])
    check_domain(lab, "vm1", before.domains["vm1"], same_memory=False)
    for guest in others:
        observe.check_guest_undisturbed(lab.host, guest, before)


def check_ways(lab, run, ways, logs):
    """All three are the same guests as before, each carried in its way."""
    (logs / f"report-to-{run.target.release}.json").write_text(json.dumps(run.report, indent=1))
    assert lab.host.kernel() == run.target.release
    for guest in lab.guests:
        vm = run.vm(guest.name)
        assert vm["result"] == "RESTORED" and vm["way"] == ways[guest.name], vm
        check_domain(lab, guest.name, run.before.domains[guest.name], same_memory=vm["way"] == "in-place")
        how = "unpaused" if vm["way"] == "in-place" else "restored"
        assert observe.state(lab.host, guest.name) == f"running ({how})"
        print(f"{guest.name}: {vm['way']}, blackout by the host {vm['blackout_s']:.2f} s, "
              f"by the guest {run.guest_blackout(guest.name)}")
        check_agree(guest.name, run.guest_blackout(guest.name), vm["blackout_s"])
    in_place = [vm["blackout_s"] for vm in run.report["vms"] if vm["way"] == "in-place"]
    others = [vm["blackout_s"] for vm in run.report["vms"] if vm["way"] != "in-place"]
    assert max(in_place) < min(others), "those in place come first"
    assert lab.service.leftovers() == []
    assert lab.host.run(f"ls {COPIES}").out == ""
    assert lab.host.sh("virsh -q list --all --with-managed-save --name") == ""
    assert not lab.service.status().get("unrestored_vms")


def test_each_in_its_way(lab, logs):
    """By metadata, by the policy file, and by default."""
    set_metadata(lab, "vm1", "way='managedsave' priority='5'")
    lab.host.put_file(POLICY, 'vm { name: "vm3" way: COPY }\nvm { name: "vm[12]" way: IN_PLACE }\n')
    _, vms = lab.service.ctl_json("vms")
    ways = {"vm1": "managedsave", "vm2": "in-place", "vm3": "copy"}
    assert {vm["name"]: vm["way"] for vm in vms["vms"]} == ways
    run = live_update(lab, None, "newer", command=f"{service.CTL} update {lab.host.flavor.newer.arguments} --yes")
    check_ways(lab, run, ways, logs)


def test_the_command_line_goes_first(lab, logs):
    """And back: what was in place is saved by libvirt now, what libvirt saved is in place."""
    run = live_update(lab, None, "older", options="--way vm1=in-place --way vm2=managedsave --way vm3=in-place")
    check_ways(lab, run, {"vm1": "in-place", "vm2": "managedsave", "vm3": "in-place"}, logs)
