"""The emulated hypervisor host, as the scenarios use it.

Booting it and starting guests takes minutes of an emulator's time and is the same for all. So it is done once: the
emulator's whole state with the guests running is kept in the cache, and a scenario goes on from there within seconds
(`Host.ready`). What is tested is never part of that state: the package is installed into the running host.
"""

import hashlib
import pathlib
import shutil
import subprocess
import tempfile
import time

from hostlab import guests as lab_guests
from hostlab import image as host_image
from hostlab import wdat
from hostlab.agent import Agent, AgentError
from hostlab.deadline import LabTimeout, wait_until
from hostlab.emulator import PAYLOAD, Emulator, free_port

BOOT_S = 300       # Generous: other work may share this machine's processors.
SHORT_S = 120
ECHO_ADDRESS, ECHO_PORT = "10.0.2.50", 7000
# A saved state remembers the size of each disk.
PAYLOAD_MIB = 256
STATE = "ready"
EMULATOR_FAULT = "RIP: 0010:__svm_vcpu_run+"


class Host:
    """A running host. A context manager: leaves no process behind. Logs go to the folder `logs`."""

    def __init__(self, logs, payload, flavor, disk=None, saved=None):
        """`payload` is a folder whose content the host sees at /mnt/payload. `disk` and `saved` are for `ready`."""
        self.image = host_image.ensure()
        self.flavor = flavor
        self.logs = pathlib.Path(logs)
        self.logs.mkdir(parents=True, exist_ok=True)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="host-lab-"))
        self.emulator = None
        try:
            self.disk = self.folder / "disk.qcow2"
            if disk:
                subprocess.run(["cp", "--reflink=auto", "--sparse=always", disk, self.disk], check=True)
            else:
                subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self.image.disk,
                                self.disk], check=True)
            self.echo_port = free_port()
            self.emulator = Emulator(
                self.folder, flavor.older, flavor.ram,
                [(self.disk, "qcow2"), (_payload_disk(payload, flavor, self.folder), "raw")],
                self.logs / "host-console.log", [(self.echo_port, ECHO_ADDRESS, ECHO_PORT)], flavor.command_line, saved,
                wdat.options(self.folder, flavor.watchdog) if flavor.watchdog else [])
            self.agent = Agent(self.emulator.agent_path)
            self.wait_for_boot()
            if saved:
                # Its clock stood still since the state was saved.
                self.sh(f"date -s @{time.time():.3f}")
            self.sh(f"mount -o ro /dev/vdb {PAYLOAD}")
        except BaseException:
            self.close()
            raise

    @classmethod
    def ready(cls, logs, payload, flavor, guests=lab_guests.THREE, guest_init=None):
        """A host under the flavor's older kernel in which `guests` have run for a while; they stand still until `resume_guests`."""
        return cls(logs, payload, flavor, _saved_disk(flavor, guests, guest_init), STATE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.emulator:
            self.emulator.stop()
            shutil.copy(self.emulator.errors, self.logs / "emulator.log")
        shutil.rmtree(self.folder, ignore_errors=True)

    # Commands and files.

    def run(self, command, timeout=SHORT_S, data=None):
        """Runs a shell command in the host; returns its Result whatever its exit code."""
        return self.agent.run(command, timeout, data)

    def sh(self, command, timeout=SHORT_S):
        """Runs a command that must succeed; returns what it printed, stripped."""
        return self.run(command, timeout).check().out.strip()

    def put_file(self, path, content):
        self.agent.write_file(path, content.encode() if isinstance(content, str) else content)

    def get_file(self, path):
        return self.agent.read_file(path)

    def read(self, path):
        return self.get_file(path).decode(errors="replace")

    def preserved_mib(self):
        """Used in the DAX file system; 0 where there is none."""
        return int(self.sh("df -m --output=used /var/lib/host-update/ram | tail -1")) if self.flavor.name == "dax" else 0

    def resume_guests(self):
        self.sh("for d in $(virsh -q list --name --state-paused); do virsh -q resume $d; done")

    # Boots.

    def wait_for_boot(self, timeout=BOOT_S):
        """Returns when the agent of the host answers and libvirt does too."""
        self._sync(timeout)
        wait_until(lambda: self.run("virsh -q list").code == 0, timeout, "libvirt answers in the host")

    def _sync(self, timeout):
        end = time.monotonic() + timeout
        while True:
            if not self.emulator.running():
                raise AgentError(f"the emulator ended: {self.emulator.errors.read_text()[-500:]}")
            try:
                return self.agent.resync(min(10.0, max(0.1, end - time.monotonic())))
            except (LabTimeout, AgentError, OSError):
                self.agent.close()
                if time.monotonic() > end:
                    raise LabTimeout(f"the host's agent does not answer within {timeout:.0f} s") from None
                time.sleep(0.2)

    def boot_id(self):
        return self.read("/proc/sys/kernel/random/boot_id").strip()

    def kernel(self):
        return self.sh("uname -r")

    def wait_for_new_boot(self, old_boot_id, timeout=BOOT_S, while_old=lambda: None):
        """Returns the new boot_id once a kernel other than the one of `old_boot_id` answers. Calls `while_old` now and
        then as long as the old one does; what that raises comes through."""
        def other_boot():
            try:
                self.agent.resync(5)
                now = self.boot_id()
            except (LabTimeout, AgentError, OSError):
                if not self.emulator.running():
                    raise
                return None
            if now != old_boot_id:
                return now
            try:
                while_old()
            except (LabTimeout, AgentError, OSError):
                pass  # It has just gone.
            return None
        new = wait_until(other_boot, timeout, "the host runs another kernel")
        self.run(f"mountpoint -q {PAYLOAD} || mount -o ro /dev/vdb {PAYLOAD}")
        return new

    def collect_logs(self):
        """Copies what host, guests, libvirt and QEMU have written; what can't be read is left out."""
        commands = {
            "host-journal.log": "journalctl --no-pager -o short-precise",
            "host-kernel.log": "dmesg",
            "domains.log": "virsh list --all; for d in $(virsh -q list --all --name); do virsh dominfo $d; "
                           "virsh domstate --reason $d; virsh dumpxml $d; done",
            "preserved.log": "ls -laRi /var/lib/host-update; df /var/lib/host-update/ram",
        }
        files = ["/var/log/guests/*", "/var/log/libvirt/*.log", "/var/log/libvirt/qemu/*.log",
                 "/var/lib/host-update/history/*"]
        try:
            for name, command in commands.items():
                (self.logs / name).write_text(self.run(command, 60).out)
            for path in self.run("ls -d " + " ".join(files) + " 2>/dev/null").out.split():
                kind = pathlib.Path(path).parent.name
                target = self.logs / kind / pathlib.Path(path).name
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(self.get_file(path))
        except (AgentError, LabTimeout, OSError) as problem:
            (self.logs / "logs-incomplete").write_text(f"{problem}\n")


def _payload_disk(folder, flavor, scratch):
    """A read-only disk with the content of `folder`: the cheapest way of handing the host many or large files. Kernels
    that are not part of the host's image lie there too."""
    for kernel in (flavor.older, flavor.newer):
        if kernel.folder == PAYLOAD:
            shutil.copy(kernel.boot_kernel, folder)
    disk = scratch / "payload.raw"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", folder, disk, f"{PAYLOAD_MIB}M"],
                   check=True, stdout=subprocess.DEVNULL)
    return disk


def _saved_disk(flavor, guests, guest_init):
    """The cached disk in which the state of a host with these guests running lies; makes it if need be."""
    image = host_image.ensure()
    with tempfile.TemporaryDirectory(prefix="host-lab-") as payload:
        initramfs = pathlib.Path(payload) / "guest.cpio"
        modules = image.guest_modules if guests == lab_guests.THREE else image.more_guest_modules
        lab_guests.make_initramfs(initramfs, guest_init, modules.iterdir())
        for guest in guests:
            guest.add_to_payload(payload)
        digest = hashlib.sha256(f"{image.disk} {guests} {flavor}".encode())
        for path in sorted(pathlib.Path(payload).iterdir()):
            digest.update(path.read_bytes())
        for guest in guests:
            digest.update(guest.xml(lab_guests.KERNEL, lab_guests.INITRD, flavor.ram_source).encode())
        # One version of QEMU does not go on from another's state.
        digest.update(subprocess.run(["qemu-system-x86_64", "--version"], check=True, stdout=subprocess.PIPE).stdout)
        for source in ("host.py", "guests.py", "domain.xml", "emulator.py"):
            digest.update((pathlib.Path(__file__).parent / source).read_bytes())
        disk = host_image.cache_dir() / f"ready-{digest.hexdigest()[:16]}.qcow2"
        with host_image.locked(disk.stem):
            if not disk.exists():
                _make_saved_disk_again(disk, payload, flavor, guests)
                host_image.drop_unused("ready-*.qcow2", keep=disk)
            disk.touch()
    return disk


def _make_saved_disk_again(disk, payload, flavor, guests, tries=3):
    """Tries again where the emulator's own fault (README.md) ended it."""
    for left in reversed(range(tries)):
        try:
            return _make_saved_disk(disk, payload, flavor, guests)
        except (AgentError, LabTimeout):
            console = disk.with_suffix(".logs") / "host-console.log"
            if not left or not console.exists() or EMULATOR_FAULT not in console.read_text():
                raise
            host_image.say("the emulated processor broke its kernel (the emulator's fault); once more")


def _make_saved_disk(disk, payload, flavor, guests):
    started = time.monotonic()
    host_image.say(f"booting a {flavor.name} host with {len(guests)} guests, once for all scenarios …")
    logs = disk.with_suffix(".logs")
    with Host(logs, payload, flavor) as host:
        host.sh(f"cp {PAYLOAD}/guest.cpio {lab_guests.INITRD}; cp {host.image.older.kernel} {lab_guests.KERNEL}")
        try:
            for guest in guests:
                lab_guests.define(host, guest)
            lab_guests.start(host, guests)
        except (AgentError, LabTimeout):
            host.collect_logs()  # Which guest hangs, and where.
            raise
        # systemd may have unmounted it already: it does if the mount was there before it knew of the device.
        host.sh(f"! mountpoint -q {PAYLOAD} || umount {PAYLOAD}; sync")
        # No virtual processor may be inside a guest when the emulator's own state is saved: one of three guests
        # was reset by that.
        host.sh("for d in $(virsh -q list --name); do virsh -q suspend $d; done")
        host.emulator.save_state(STATE)
        host.emulator.stop()
        shutil.move(host.disk, disk.with_suffix(".part"))
    disk.with_suffix(".part").rename(disk)
    shutil.rmtree(logs)
    host_image.say(f"host with guests is ready after {time.monotonic() - started:.0f} s")
