"""The first boot after an update mounts the root file system by itself; where that is another than it was, the initramfs finds it."""

from hostlab.guests import Guest
from hostlab.update_run import live_update

GUESTS = (Guest("vm1", disk=True),)
BY_ITSELF = "without the initramfs"
BY_INITRAMFS = "another root file system; the initramfs finds the root file system"
HOOK = "/etc/host-update/hooks.d/pre-pause/50-other-root"


def _said(lab):
    """What early-init said in this boot, from the kernel's log."""
    return lab.host.sh("dmesg | grep 'host-update: .*initramfs' || true")


def test_asked_of_the_service(lab):
    """Its workers are units, with a /usr that is mounted apart: the host's is meant."""
    result = lab.service.ctl(f"check {lab.host.flavor.newer.arguments}")
    assert "the first boot mounts /dev/vda by itself" in result.out, result


def test_by_itself(lab):
    live_update(lab, None, "newer").check()
    assert BY_ITSELF in _said(lab)
    # As the ordinary boot would have it.
    mounted = lab.host.sh("findmnt -no OPTIONS,SOURCE / ; findmnt -no OPTIONS,SOURCE /var/lib/host-update/ram")
    assert "noatime" in mounted and "/dev/vda" in mounted and "dax=always" in mounted, mounted
    for folder in ("/proc", "/sys"):
        assert "noexec" in lab.host.sh(f"findmnt -no OPTIONS {folder}")
    assert lab.host.sh("systemctl list-units --failed --no-legend --plain") == ""


def test_by_the_initramfs(lab):
    """The file that tells the root file system from its copies is changed after the check, as if the disk were another."""
    lab.host.put_file(HOOK, "#!/bin/sh\nchmod 444 /etc/machine-id\nchmod 644 /etc/machine-id\n")
    lab.host.sh(f"chmod 755 {HOOK}")
    live_update(lab, None, "older").check()
    assert BY_INITRAMFS in _said(lab)
    lab.host.sh(f"rm {HOOK}")


def test_as_the_operator_says(lab):
    live_update(lab, None, "newer", options="--first-boot early-initramfs").check()
    assert _said(lab) == ""
