"""The outer emulator: one QEMU process (TCG) that is the hypervisor host's hardware."""

import atexit
import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

from hostlab.qmp import Qmp

PAYLOAD = "/mnt/payload"  # Where the host mounts its second disk.
COMMAND_LINE = " ".join([
    "root=/dev/vda rw", "console=ttyS0", "net.ifnames=0",
    # What is slow only because it is emulated:
    "init_on_alloc=0 transparent_hugepage=madvise mitigations=off fsck.mode=skip nowatchdog",
    "norandmaps",  # See README.md, "What is slow in the emulator".
    "panic=-1",
])

_running = set()


def _end_with_parent():
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@atexit.register
def _end_all():
    for emulator in list(_running):
        emulator.stop()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Emulator:
    """Starts with the constructor, ends with `stop`, with this process, or by itself when the host powers off.

    `disks` are (path, format) pairs, in the host /dev/vda, /dev/vdb, …; `forwards` are (local port, address, port)
    triples into the emulated network, `options` more of QEMU's. With `saved`, a state of the first disk made by `save_state`, it goes on from
    there in place of booting. The serial console goes line by line to `console`, each line with this machine's seconds
    since the start.
    """

    def __init__(self, folder, kernel, ram, disks, console, forwards, command_line, saved=None, options=()):
        self.folder = pathlib.Path(folder)
        self.agent_path = self.folder / "agent.sock"
        self.qmp_path = self.folder / "qmp.sock"
        self.started = time.monotonic()
        self._lines = []  # (seconds since start, text)
        network = "user,id=net0" + "".join(f",hostfwd=tcp:127.0.0.1:{l}-{a}:{p}" for l, a, p in forwards)
        command = [
            "qemu-system-x86_64", "-name", "host", "-machine", "q35", "-accel", "tcg,thread=multi",
            "-cpu", "max,-erms,-vgif,-la57", "-smp", "1", "-m", ram, "-display", "none", "-nodefaults", "-no-user-config",
            "-kernel", str(kernel.boot_kernel), "-append", command_line,
            *(["-initrd", str(kernel.boot_initrd)] if kernel.boot_initrd else []),
            "-netdev", network, "-device", "virtio-net-pci,netdev=net0,mac=52:54:00:00:02:15",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=agent,path={self.agent_path},server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
            "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
            "-serial", "stdio", "-device", "virtio-rng-pci", *options,
        ]
        for number, (path, kind) in enumerate(disks):
            readonly = ",readonly=on" if kind == "raw" else ",cache=unsafe"
            command += ["-drive", f"if=none,id=disk{number},file={path},format={kind}{readonly}",
                        "-device", f"virtio-blk-pci,drive=disk{number}"]
        if saved:
            command += ["-loadvm", saved]
        self._console = open(console, "w", buffering=1)
        self.errors = self.folder / "emulator.log"
        with open(self.errors, "w") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                            stderr=errors, preexec_fn=_end_with_parent)
        _running.add(self)
        self._reader = threading.Thread(target=self._read_console, daemon=True)
        self._reader.start()

    def _read_console(self):
        for raw in self.process.stdout:
            at, text = time.monotonic() - self.started, raw.decode(errors="replace").rstrip()
            self._lines.append((at, text))
            self._console.write(f"{at:10.3f} {text}\n")

    def console(self, since=0.0):
        """Lines of the serial console as (seconds since the start, text), from `since` on."""
        return [line for line in list(self._lines) if line[0] >= since]

    def now(self):
        return time.monotonic() - self.started

    def running(self):
        return self.process.poll() is None

    def save_state(self, name):
        """Puts the whole machine's state into its first disk under this name; the machine does not run after it."""
        with Qmp(self.qmp_path) as qmp:
            qmp.call("stop")
            problem = qmp.human(f"savevm {name}").strip()
        if problem:
            raise RuntimeError(f"savevm: {problem}")

    def stop(self):
        _running.discard(self)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(timeout=5)
        self._console.close()
