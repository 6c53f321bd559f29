"""A host whose new kernel does not get as far as running VMs, and that comes back in its rescue kernel."""

from hostlab import service
from hostlab.agent import AgentError
from hostlab.deadline import LabTimeout, wait_until
from hostlab.host import BOOT_S

ROOM = "crashkernel=1G"  # What the target's command line needs.
CRASH = "echo c > /proc/sysrq-trigger"
STOP_THE_RESTORER = (f"until systemctl is-active {service.RESTORE_UNIT} | grep -q activating; do sleep 0.2; done;"
                     f"systemctl kill -s STOP {service.RESTORE_UNIT};")
WAIT_FOR_EVER = "exec sleep infinity"

# In the new kernel alone: the rescue kernel has the same root file system.
UNIT = """[Unit]
DefaultDependencies=no
ConditionKernelCommandLine=!host_update.rescue
After=host-update-rescue.service host-update-hold.service
{order}
[Service]
Type={type}
ExecStart=/bin/sh -c '{before} cp /proc/sys/kernel/random/boot_id /root/crashed; uname -r >> /root/crashed; sync; {end}'
[Install]
WantedBy=host-update-restore.service
"""


def configure(host, watchdog_s=360):
    host.put_file(service.CONFIG, f"backend = dax\nrescue = on\nrescue-watchdog = {watchdog_s}\n")


def put_unit(host, type, order="", before="", end=CRASH):
    """Something that ends the new kernel. What is in `before` happens first."""
    host.put_file("/etc/systemd/system/crash.service", UNIT.format(type=type, order=order, before=before, end=end))
    host.sh("systemctl enable --quiet crash.service")


def is_in(host):
    """Whether the host runs in a rescue kernel."""
    try:
        host.agent.resync(5)
        return "host_update.rescue=" in host.read("/proc/cmdline")
    except (AgentError, LabTimeout, OSError):
        return False


def update_into(lab):
    """Updates, and waits for the rescue kernel's own restore. The host has booted twice then. Returns the new kernel's boot id and
    release, as it noted them before its end."""
    host = lab.host
    try:
        lab.service.update(host.flavor.newer, append=ROOM, wait_for_restore=False)
    except (AgentError, LabTimeout):
        pass  # The new kernel answered, and has just gone.
    wait_until(lambda: is_in(host), BOOT_S, "the rescue kernel runs")
    host.wait_for_boot()
    lab.service.wait_for_restore()
    return host.read("/root/crashed").split()
