"""What a VM may have: machine types, firmware, devices, NUMA, plugged memory, a TPM; transient, paused, with a snapshot.

Each guest is looked at from inside, by what it says on its console, and from outside, through libvirt. hostlab/coverage.py says which
guest has what.
"""

import json
import re

import pytest

from hostlab import coverage, observe, service
from hostlab import guests as lab_guests
from hostlab.coverage import I440FX, LOOK_S, MACHINES, NUMA, PLAIN, Q35
from hostlab.deadline import wait_until
from hostlab.update_run import live_update

GUESTS = MACHINES
DIAL_PORT = 7001
BALLOON_KIB = 152 << 10


def said(lab, guest, kind):
    return lab_guests.console(lab.host, guest).said[kind]


def seen(lab, guest):
    return coverage.seen(lab.host, guest)


def test_enable(lab):
    """`enable` makes a VM that anybody may have defined fit for updates; a transient one has nothing that it could change."""
    host, path = lab.host, PLAIN.xml_path
    host.put_file(path, coverage.plain_xml(lab_guests.KERNEL, lab_guests.INITRD))
    host.sh(f"virsh -q define {path}")
    before = host.sh("virsh dumpxml --inactive plain")
    shown = lab.service.ctl("enable plain --dry-run").check().out
    assert "aux-ram-share=on" in shown and "memoryBacking" in shown, shown
    assert host.sh("virsh dumpxml --inactive plain") == before, "a dry run changed the definition"
    lab.service.ctl("enable plain").check()
    after = host.sh("virsh dumpxml --inactive plain")
    assert f"<source type='{host.flavor.ram_source}'/>" in after and "aux-ram-share=on" in after, after
    refused = lab.service.ctl("enable numa")
    assert refused.code == service.FAILED and "transient" in refused.out + refused.err, refused
    lab_guests.start(host, [PLAIN], running=GUESTS)
    lab.guests = (*lab.guests, PLAIN)


def test_set_up(lab):
    """What happens to VMs while they run: memory is plugged in, the balloon takes some, a connection is opened, one is paused."""
    host = lab.host
    host.put_file("/root/dimm.xml", coverage.DIMM)
    host.sh("virsh -q attach-device numa /root/dimm.xml --live")
    wait_until(lambda: said(lab, NUMA, "PLUGGED"), 300, "the guest uses the memory that was plugged in", LOOK_S)
    host.sh(f"virsh -q setmem i440fx {BALLOON_KIB}K --live")
    wait_until(lambda: _balloon(lab) == BALLOON_KIB, 300, "the balloon has its size", LOOK_S)
    _serve_dial(lab)
    wait_until(lambda: said(lab, I440FX, "DIAL"), 120, "the guest talks through the user network", LOOK_S)
    assert coverage.SNAPSHOT in host.sh("virsh snapshot-list still --name")


def _balloon(lab):
    return int(lab.host.sh("virsh dommemstat i440fx | awk '$1 == \"actual\" { print $2 }'"))


def _serve_dial(lab):
    lab.host.sh(f"systemd-run -q --unit dial systemd-socket-activate --accept --inetd -l 127.0.0.1:{DIAL_PORT} cat")


def _vnc_greeting(lab, guest):
    display = int(lab.host.sh(f"virsh vncdisplay {guest.name}").rpartition(":")[2])
    return lab.host.sh(f"timeout 20 bash -c 'exec 3<>/dev/tcp/127.0.0.1/{5900 + display}; head -c 12 <&3'")


def _pty_lines(lab):
    path = re.search(r"<serial type='pty'>\s*<source path='([^']*)'", lab.host.sh("virsh dumpxml i440fx")).group(1)
    return [int(line) for line in lab.host.sh(f"timeout 20 head -n 3 {path}").split()[1:]]


def _counted(lab):
    """What the guest wrote to its virtio console."""
    return [int(line) for line in lab.host.sh(f"cat {Q35.count_log}").split()]


def _devices(lab):
    """What QEMU says about devices, where a guest without a driver can't be asked."""
    monitor = "virsh qemu-monitor-command --hmp"
    return (lab.host.sh(f"{monitor} i440fx info usb"),
            re.findall(r"\bi6300esb\b|\btpm-crb\b|\bvirtio-vga\b|\bvirtio-scsi-pci\b",
                       lab.host.sh(f"{monitor} q35 info qtree")),
            # The new QEMU finds it there from the start.
            lab.host.sh(f"{monitor} numa info memory-devices | grep -v hotplugged"),
            lab.host.sh("virsh snapshot-list still --name"))


@pytest.mark.parametrize("target", ["newer", "older"])
def test_update(lab, echo, logs, target):
    """All of them cross the kexec and come back as they were, there and back again."""
    host = lab.host
    host.sh("virsh -q suspend still")
    machines = {guest.name: seen(lab, guest) for guest in (I440FX, Q35, NUMA)}
    assert machines["q35"]["pcr"] not in ("-", "0" * 16), machines
    assert machines["i440fx"]["rng"] == "ok", machines
    assert (machines["numa"]["cpus"], machines["numa"]["nodes"]) == ("0-3", "0-1"), machines
    plugged = said(lab, NUMA, "PLUGGED")[-1]
    devices = _devices(lab)

    run = live_update(lab, echo, target)
    (logs / f"report-to-{target}.json").write_text(json.dumps(run.report, indent=1))
    (logs / f"guests-view-to-{target}.txt").write_text(run.guests_view())
    print(run.guests_view())
    run.check()

    assert {guest.name: seen(lab, guest) for guest in (I440FX, Q35, NUMA)} == machines
    count = len(said(lab, NUMA, "PLUGGED"))
    now = wait_until(lambda: said(lab, NUMA, "PLUGGED")[count + 1:], 300, "plugged memory is verified again", LOOK_S)[-1]
    assert now["bad"] == "0" and now["sum"] == plugged["sum"], (plugged, now)
    assert _devices(lab) == devices
    assert _balloon(lab) == BALLOON_KIB
    for guest in (I440FX, Q35):
        assert _vnc_greeting(lab, guest).startswith("RFB 003."), guest.name
    lines = _pty_lines(lab)
    assert lines == list(range(lines[0], lines[0] + len(lines))), lines
    counted = _counted(lab)
    assert counted == list(range(1, len(counted) + 1)), "lines on the virtio console were lost"


def test_user_network(lab):
    """What is lost: connections through QEMU's user network, whose other end was QEMU. New ones can be made."""
    _serve_dial(lab)
    wait_until(lambda: any(words.get("lost") for words in said(lab, I440FX, "DIAL")), 120, "the connection is lost", LOOK_S)
    wait_until(lambda: int(said(lab, I440FX, "DIAL")[-1]["connection"]) > 1, 120, "the guest has connected anew", LOOK_S)


def test_balloon_still_works(lab):
    lab.host.sh(f"virsh -q setmem i440fx {I440FX.memory_mib << 10}K --live")
    wait_until(lambda: _balloon(lab) == I440FX.memory_mib << 10, 120, "the balloon gives memory back", LOOK_S)


def test_undo(lab):
    """What `enable` put into the definition, it takes out again."""
    lab.service.ctl("enable --undo plain").check()
    after = lab.host.sh("virsh dumpxml --inactive plain")
    assert "memoryBacking" not in after and "aux-ram-share" not in after, after
