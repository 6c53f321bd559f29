"""A Debian guest with a database: not a write that was acknowledged to its client is lost in a live update.

The client is outside of the host, the guest's own view is asked of its agent.
"""

import json

import pytest

from hostlab import observe, service
from hostlab.database import DATABASE, Client, Connection
from hostlab.deadline import wait_until

GUESTS = (DATABASE,)
CLOCK_S = 2.0  # A blackout is many times as long.


def look(host):
    """What must be the same for a guest that has not booted again, and its uptime in seconds."""
    same = {"boot_id": DATABASE.read(host, "/proc/sys/kernel/random/boot_id").strip(),
            "os": DATABASE.ask(host, "guest-get-osinfo")["id"],
            "modules": len(DATABASE.read(host, "/proc/modules").splitlines())}
    return same, float(DATABASE.read(host, "/proc/uptime").split()[0])


def server(lab):
    """The database's own name for its run: another one means that it was started again."""
    with Connection(lab.host.echo_port) as connection:
        lines = connection.call("INFO", "server").splitlines()
    return next(line.partition(":")[2] for line in lines if line.startswith("run_id:"))


def check_clock(host):
    """The guest's wall clock is the host's, as near as an agent's answer can tell."""
    before = float(host.sh("date +%s.%N"))
    guest = DATABASE.ask(host, "guest-get-time") / 1e9
    after = float(host.sh("date +%s.%N"))
    assert before - CLOCK_S < guest < after + CLOCK_S, f"the guest's clock shows {guest:.1f}, the host's {before:.1f} to {after:.1f}"


@pytest.mark.parametrize("target", ["newer", "older"])
def test_no_acknowledged_write_is_lost(lab, logs, target):
    host = lab.host
    kernel = getattr(host.flavor, target)
    domain = observe.domain(host, "database")
    before, uptime = look(host)
    run_id = server(lab)
    client = Client(host.echo_port)
    report = lab.service.update(kernel, program=service.CTL, options="--yes")
    written = client.acknowledged
    (logs / f"report-to-{target}.json").write_text(json.dumps(report, indent=1))
    assert report["result"] == "UPDATED", report
    wait_until(lambda: client.acknowledged > written + 50, 300, "the database acknowledges writes again")
    client.stop()
    print(f"{report['kernel_before']} → {report['kernel_after']}: {client}")

    observe.check_domain_as_before(host, "database", domain)
    wait_until(lambda: DATABASE.ask(host, "guest-ping") is not None, 120, "the guest's agent answers")
    vm = report["vms"][0]
    assert vm["guest_agent"] == "answered" and vm["guest_clock"] in ("set", "right"), vm
    check_clock(host)
    after, uptime_after = look(host)
    assert after == before, "the guest booted again"
    assert uptime_after > uptime
    assert server(lab) == run_id, "the database was started again"
    with Connection(host.echo_port) as connection:
        assert connection.missing(client.acknowledged) == []
    assert client.broken == [] and client.connections == 1, f"the connection broke: {client}"
    assert lab.service.leftovers() == []
