"""The main job: a host changes its kernel under three running VMs, and back again."""

import json

from hostlab import observe
from hostlab.deadline import wait_until
from hostlab.service import RESTORE_UNIT
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


def test_ordinary_boot_followed(lab):
    """VMs were back before the rest of the host started; all of it is there now, and libvirt's are the VMs as ever."""
    host = lab.host
    line = host.read("/proc/cmdline")
    assert line.count("host_update.jump") == line.count("systemd.unit=") == 1, line
    wait_until(lambda: host.run("systemctl is-active --quiet multi-user.target").code == 0, 300, "the ordinary boot is done")
    assert host.sh("systemctl --failed --plain --no-legend") == ""
    restored, ordinary = (int(host.sh(f"systemctl show --value -p {what}")) for what in (
        f"ExecMainExitTimestampMonotonic {RESTORE_UNIT}", "ActiveEnterTimestampMonotonic multi-user.target"))
    assert 0 < restored < ordinary, "VMs came back with the ordinary boot"
    in_scopes(lab)
    # libvirtd was given the last kernel's answers of QEMU, and has asked it again since, in a new process.
    assert host.run("test -e /run/host-update/capabilities-kept").code != 0
    asked = int(host.sh("virsh domcapabilities > /dev/null; stat -c %Y /var/cache/libvirt/qemu/capabilities/*.xml | sort -n | head -1"))
    assert asked > int(host.sh(f"date -d \"$(systemctl show --value -p ExecMainExitTimestamp {RESTORE_UNIT})\" +%s"))
    # And logind, which it did not find then, not to shut the host down.
    wait_until(lambda: "libvirt" in host.sh("systemd-inhibit --list --no-legend").lower(), 120, "libvirtd holds an inhibitor lock")
    # A libvirtd that starts again finds them.
    host.sh("systemctl restart libvirtd && virsh -q list")
    for guest in lab.guests:
        assert observe.state(host, guest.name) == "running (unpaused)"
    in_scopes(lab)


def in_scopes(lab):
    """Each QEMU is in the scope that systemd-machined made for it, not in the restorer's service."""
    for guest in lab.guests:
        group = lab.host.sh(f"cat /proc/$(cat /run/libvirt/qemu/{guest.name}.pid)/cgroup")
        assert "/machine.slice/machine-qemu" in group and guest.name in group, group


def test_nothing_to_restore(lab):
    """Without a handover `restore` does nothing, and says so."""
    result = lab.service.call("restore")
    assert result.code == 2
    assert "no " in (result.out + result.err)
