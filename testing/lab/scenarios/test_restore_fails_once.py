"""One VM's restore fails by itself, others go on; the unit reports it; a retry brings it back."""

from hostlab import observe, service
from hostlab.deadline import wait_until


def test_restore_fails_once(lab):
    """vm1's disk is not there when the new kernel restores it."""
    host = lab.host
    before = observe.Before(host, lab.guests)
    # The next boot finds no disk where vm1's should be: a unit that runs before the restore moves it.
    host.put_file("/etc/systemd/system/hide-disk.service", f"""[Unit]
DefaultDependencies=no
After=local-fs.target
Before={service.RESTORE_UNIT}
[Service]
Type=oneshot
ExecStart=/bin/mv /var/lib/guests/vm1.qcow2 /root/vm1.qcow2
[Install]
WantedBy={service.RESTORE_UNIT}
""")
    host.sh("systemctl enable --quiet hide-disk.service")
    report = lab.service.update(host.flavor.newer)
    assert report["result"] == "PARTIAL"
    results = {vm["name"]: vm["result"] for vm in report["vms"]}
    assert results == {"vm1": "NOT_RESTORED", "vm2": "RESTORED", "vm3": "RESTORED"}
    # The ordinary boot starts the unit once more.
    wait_until(lambda: host.run("systemctl is-active -q multi-user.target").code == 0, 180, "the ordinary boot is done", interval=5.0)
    assert lab.service.wait_for_restore() == "exit-code", "the unit hides that a VM is missing"
    for guest in lab.guests[1:]:
        observe.check_domain_as_before(host, guest.name, before.domains[guest.name])

    host.sh("systemctl disable --quiet hide-disk.service && mv /root/vm1.qcow2 /var/lib/guests/")
    assert lab.service.call("restore --retry vm1").code == service.OK
    for guest in lab.guests:
        observe.check_domain_as_before(host, guest.name, before.domains[guest.name])
        observe.check_guest_went_on(host, guest, before.consoles[guest.name])
    assert lab.service.leftovers() == []
