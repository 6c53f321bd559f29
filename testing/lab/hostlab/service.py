"""host-update in the emulated host: calls it as an operator would and takes its JSON."""

import json
import re
import time

from hostlab.agent import AgentError
from hostlab.deadline import LabTimeout, wait_until
from hostlab.host import BOOT_S, PAYLOAD

CONFIG = "/etc/host-update.conf"
HOOKS = "/etc/host-update/hooks.d"
PROGRAM = "/usr/sbin/host-update"
CTL = "/usr/bin/hostupdatectl"  # The daemon's client.
FAULTY = f"{PAYLOAD}/host-update-faulty"
STORE = "/var/lib/host-update/ram/host-update"
RESTORE_UNIT = "host-update-restore.service"
# Each look costs the emulated host's only processor half a second, and this one falls into the blackout.
LOOK_S = 12.0
QUIET_S, REPORTED = 60.0, "host blackout"
NO_RESTORE = f"systemd.mask={RESTORE_UNIT}"  # For --append: that boot restores nothing by itself.
UPDATE_LOG = "/var/log/update.log"

OK, FAILED, NOTHING, NO_GO, NO_LIBVIRT, NO_PERMISSION, VM_NOT_BACK, ABORTED, OVER_BUDGET, BUSY = range(10)


class UpdateFailed(RuntimeError):
    """The update ended in the old kernel; `result` is how."""

    def __init__(self, result):
        super().__init__(f"exit {result.code}: {result.out}{result.err}")
        self.result = result


class Service:
    def __init__(self, host):
        self.host = host

    def install(self):
        self.host.sh(f"dpkg -i {PAYLOAD}/host-update.deb", BOOT_S)
        self.host.put_file(CONFIG, f"backend = {self.host.flavor.name}\n")

    def put_hook(self, when, name, script):
        """Puts an executable into /etc/host-update/hooks.d; returns its path."""
        path = f"{HOOKS}/{when}/{name}"
        self.host.put_file(path, f"#!/bin/sh\n{script}\n")
        self.host.sh(f"chmod 755 {path}")
        return path

    def call(self, arguments, program=PROGRAM, fault="", timeout=180):
        """Runs a sub-command; returns its Result."""
        environment = f"HOST_UPDATE_FAULT={fault} " if fault else ""
        return self.host.run(f"{environment}{program} {arguments}", timeout)

    def json(self, arguments, **how):
        """Runs a sub-command with --json; returns its Result and the message."""
        result = self.call(arguments + " --json", **how)
        try:
            return result, json.loads(result.out)
        except ValueError:
            raise AssertionError(f"no JSON from {arguments}: exit {result.code}: {result.out}{result.err}") from None

    def ctl(self, arguments, user=None, timeout=180):
        """The same by the daemon's client, as root or another user."""
        return self.host.run(f"{f'runuser -u {user} -- ' if user else ''}{CTL} {arguments}", timeout)

    def ctl_json(self, arguments, **how):
        result = self.ctl(arguments + " --json", **how)
        try:
            return result, json.loads(result.out)
        except ValueError:
            raise AssertionError(f"no JSON from {arguments}: exit {result.code}: {result.out}{result.err}") from None

    def status(self):
        result, status = self.json("status")
        result.check()
        return status

    def report(self):
        result, report = self.json("report")
        result.check()
        return report

    def update_arguments(self, kernel, append=""):
        quoted = f" --append '{append}'" if append else ""
        return f"update {kernel.arguments}{quoted}"

    def update(self, kernel, append="", wait_for_restore=True, timeout=BOOT_S, program=PROGRAM, options="",
               command=None):
        """A whole live update into `kernel`, by `command` if that is given; returns the report (None without
        `wait_for_restore`).

        UpdateFailed if the program comes back instead of jumping.
        """
        old, started = self.host.boot_id(), self.host.emulator.now()
        command = command or f"{program} {self.update_arguments(kernel, append)} {options}"
        # What it prints must be in a file: nobody reads it after the jump.
        pid = self.host.agent.start(f"{command} > {UPDATE_LOG} 2>&1")

        def check_still_at_it():
            ended = self.host.agent.poll(pid)
            if ended:
                raise UpdateFailed(self.host.run(f"cat {UPDATE_LOG}; exit {ended[0]}"))

        if wait_for_restore:
            self._leave_alone(started, check_still_at_it)
        self.host.wait_for_new_boot(old, timeout, while_old=check_still_at_it)
        if not wait_for_restore:
            return None
        self.wait_for_restore(timeout)
        return self.report()

    def jump(self, kernel, **how):
        """The same up to the boot of `kernel`, in which nothing is restored by itself."""
        self.update(kernel, append=NO_RESTORE, wait_for_restore=False, **how)
        self.host.wait_for_boot()

    def _leave_alone(self, since, check_still_at_it):
        """Asks the host nothing in the blackout, which that would make longer: from when it no longer answers until its restorer has
        said on the console how it went, a minute at most."""
        try:
            while True:
                self.host.agent.resync(3)
                check_still_at_it()
                time.sleep(0.5)
        except (LabTimeout, AgentError, OSError):
            self.host.agent.close()
        end = time.monotonic() + QUIET_S
        while time.monotonic() < end and not any(REPORTED in line for _, line in self.host.emulator.console(since)):
            time.sleep(0.2)

    def wait_for_restore(self, timeout=BOOT_S):
        """Returns how the restore unit of this boot ended: "success" or what systemd calls it."""
        def ended():
            shown = self.host.sh(f"systemctl show -p ActiveState -p Result {RESTORE_UNIT}")
            state = dict(line.split("=", 1) for line in shown.splitlines())
            return state["Result"] if state["ActiveState"] in ("active", "failed") else None
        try:
            return wait_until(ended, timeout, "the restore unit has ended", interval=LOOK_S)
        except LabTimeout:
            self.host.run(f"systemctl status {RESTORE_UNIT}; systemctl list-jobs")
            raise

    def leftovers(self):
        """What an update that is over must not leave: names of files in preserved memory and the runtime folder."""
        found = self.host.run(f"find {STORE} -mindepth 1 \\( -path '*/running' -o -path '*/running/*' \\) -prune -o "
                              f"-mindepth 1 -print; find /run/host-update -type s -o -name 'journal*'").out.split()
        expected = {f"{STORE}/{name}" for name in ("incoming", "discarded")}
        expected |= {f"/run/host-update/{name}.sock" for name in ("api", "api-ro", "worker")}
        return [path for path in found if path not in expected]


class Handover:
    """The bytes of a handover that waits in the host, to be damaged and mended. format.h has the layout."""

    def __init__(self, host):
        self.host = host
        host.sh(f"cp {self.path} /root/handover")

    @property
    def path(self):
        """Where it lies now: the first `restore` takes it over into the incoming sets."""
        found = self.host.sh(f"find {STORE} -name handover").split()
        assert len(found) == 1, f"expected one handover, found {found}"
        return found[0]

    def mend(self):
        self.host.sh(f"cat /root/handover > {self.path}")

    def read(self, offset, size):
        out = self.host.sh(f"tail -c +{offset + 1} /root/handover | head -c {size} | od -An -v -tx1 -w64")
        return bytes.fromhex(re.sub(r"\s", "", out))

    def flip(self, offset):
        """Inverts one byte."""
        value = self.read(offset, 1)[0] ^ 0xFF
        self.host.sh(f"printf '\\{value:03o}' | dd of={self.path} bs=1 seek={offset} conv=notrunc status=none")

    def truncate(self, size):
        self.host.sh(f"truncate -s {size} {self.path}")

    def total_size(self):
        return int.from_bytes(self.read(16, 8), "little")

    def host_section(self):
        return int.from_bytes(self.read(24, 8), "little")

    def section_of(self, name):
        """(offset, size) of a VM's section, by the directory in the host section."""
        section = self.read(self.host_section(), self.total_size() - self.host_section())
        at = 0
        while at < len(section):
            kind = int.from_bytes(section[at:at + 4], "little")
            size = int.from_bytes(section[at + 8:at + 16], "little")
            body = section[at + 24:at + 24 + size]
            if kind == 2:
                for entry in (body[i:i + 312] for i in range(0, size, 312)):
                    if entry[56:].rstrip(b"\0").decode() == name:
                        return int.from_bytes(entry[:8], "little"), int.from_bytes(entry[8:16], "little")
            at += 24 + (size + 7) // 8 * 8
        raise AssertionError(f"no VM {name} in the handover")
