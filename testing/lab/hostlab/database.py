"""A whole Debian as a guest, with systemd, a guest agent and a database, and a client of that database outside of the host.

    /usr/bin/python3 -m hostlab.database      makes the guest's disk if need be and prints where it is
"""

import dataclasses
import hashlib
import json
import pathlib
import shlex
import shutil
import socket
import string
import subprocess
import tempfile
import threading
import time

from hostlab import archive
from hostlab import guests as lab_guests
from hostlab import image as host_image
from hostlab import product
from hostlab.deadline import wait_until
from hostlab.guests import LIGHT, Guest

PACKAGES = "systemd systemd-sysv iproute2 qemu-guest-agent redis-server".split()
MODULES = host_image.GUEST_MODULES + ["ext4", "virtio_console", "virtio-rng"]
ADDRESS, PORT = "10.0.2.50", 7000  # What the lab forwards to (host.py).
DISK_BYTES = 768 << 20
TEMPLATE = string.Template((pathlib.Path(__file__).parent / "machines/database.xml").read_text())
PAYLOAD = "/mnt/payload"
# What is acknowledged is on the disk. And it wakes once a second, not ten times, when nobody asks it.
REDIS = f"""
bind 0.0.0.0
protected-mode no
port {PORT}
appendonly yes
appendfsync always
save ""
hz 1
dynamic-hz no
jemalloc-bg-thread no
"""
# What systemd starts, and nothing besides: each program more is half a minute in a guest of an emulated host. Nobody loads modules
# or names devices there, so the initramfs has loaded all, and the agent is given its channel by the name that the kernel gave it.
TARGET = "database.target"
UNITS = {
    TARGET: """[Unit]
DefaultDependencies=no
Requires=network.service redis-server.service qemu-guest-agent.service
""",
    "network.service": f"""[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip address add {ADDRESS}/24 dev eth0
ExecStart=ip link set eth0 up
""",
    "redis-server.service": """[Unit]
DefaultDependencies=no
After=network.service
[Service]
Type=notify
User=redis
Group=redis
RuntimeDirectory=redis
ExecStart=/usr/bin/redis-server /etc/redis/redis.conf --supervised systemd --daemonize no
""",
    "qemu-guest-agent.service": """[Unit]
DefaultDependencies=no
After=redis-server.service
[Service]
ExecStart=sh -c 'exec qemu-ga -p /dev/vport*'
""",
}
SYSTEMD = """[Manager]
DefaultStandardOutput=tty
DefaultTimeoutStartSec=1h
"""


@dataclasses.dataclass(frozen=True)
class Database(Guest):
    """Not the lab's own program runs in it: what it is like is asked of its agent and of its database."""

    @property
    def initrd(self):
        return f"/var/lib/guests/{self.name}-initrd"

    def add_to_payload(self, folder):
        made = ensure()
        shutil.copy(made / "disk.qcow2", pathlib.Path(folder) / "database.qcow2")
        lab_guests.make_initramfs(pathlib.Path(folder) / "database.cpio", product.root_init(), (made / "modules").iterdir())

    def make_disk(self, host):
        host.sh(f"cp {PAYLOAD}/database.qcow2 {self.disk_path}; cp {PAYLOAD}/database.cpio {self.initrd}")

    def xml(self, kernel, initrd, ram_source):
        return TEMPLATE.substitute(name=self.name, vcpus=self.vcpus, memory=self.memory_mib, kernel=kernel, initrd=self.initrd,
                                   ram_source=ram_source, disk=self.disk_path, log=self.log, light=LIGHT)

    def wait_until_up(self, host, timeout):
        timeout *= 2  # systemd, and much else.
        ping = f"exec 3<>/dev/tcp/{ADDRESS}/{PORT}; printf \"PING\\r\\n\" >&3; head -c 5 <&3"
        wait_until(lambda: "PONG" in host.run(f"timeout 10 bash -c {shlex.quote(ping)}").out, timeout,
                   f"the database in {self.name} answers", interval=2.0)
        wait_until(lambda: self.ask(host, "guest-ping") is not None, timeout, f"the agent in {self.name} answers",
                   interval=2.0)

    def ask(self, host, command, **arguments):
        """What the guest's agent answers; None if it does not."""
        question = shlex.quote(json.dumps({"execute": command, "arguments": arguments}))
        answer = host.run(f"virsh qemu-agent-command {self.name} {question} --timeout 20")
        return json.loads(answer.out)["return"] if answer.code == 0 else None

    def read(self, host, path):
        handle = self.ask(host, "guest-file-open", path=path, mode="r")
        part = self.ask(host, "guest-file-read", handle=handle, count=4096)
        self.ask(host, "guest-file-close", handle=handle)
        return subprocess.run(["base64", "-d"], input=part["buf-b64"], text=True, check=True, capture_output=True).stdout


DATABASE = Database("database", memory_mib=384, disk=True, address=ADDRESS)


class Client:
    """Writes numbered keys one after the other, each when the one before was acknowledged, until `stop`. A connection that breaks
    is opened anew, and the key that was under way is written again."""

    def __init__(self, port):
        self.acknowledged = 0  # Keys 0, 1, … below it.
        self.connections = 0
        self.broken = []       # Why each connection ended.
        self.longest_gap_s = 0.0
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()
        wait_until(lambda: self.acknowledged > 0, 180, "the database acknowledges the first key")

    def _write(self):
        last = time.monotonic()
        while not self._stop.is_set():
            try:
                with Connection(self._port) as connection:
                    self.connections += 1
                    while not self._stop.is_set():
                        connection.call("SET", key(self.acknowledged), value(self.acknowledged))
                        self.acknowledged += 1
                        now = time.monotonic()
                        self.longest_gap_s, last = max(self.longest_gap_s, now - last), now
                        self._stop.wait(0.02)
            except OSError as problem:
                self.broken.append(str(problem))
                self._stop.wait(1)

    def stop(self):
        self._stop.set()
        self._thread.join(timeout=120)
        assert not self._thread.is_alive(), "the database does not answer any more"

    def __str__(self):
        return (f"{self.acknowledged} writes acknowledged, {self.connections} connection(s)"
                f"{''.join(f', broken: {why}' for why in self.broken)}, longest gap {self.longest_gap_s:.2f} s")


def key(number):
    return f"key-{number:08}"


def value(number):
    return f"value-{number * 2654435761 % (1 << 32):08x}"


class Connection:
    """One connection to the database, as its protocol (RESP) has it. OSError if it breaks, or does not come about within a minute."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), 60)
        self._file = self._socket.makefile("rb")
        # First of all a call that may be lost: ../README.md, "The user network's fault".
        self.call("PING")
        self._socket.settimeout(300)  # A blackout is none of its business.

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()
        self._socket.close()

    def call(self, *words):
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            parts.append(b"$%d\r\n%s\r\n" % (len(word), word.encode()))
        self._socket.sendall(b"".join(parts))
        return self._answer()

    def _answer(self):
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("closed by the other side")
        kind, text = line[:1], line[1:-2].decode()
        if kind == b"-":
            raise OSError(text)
        if kind == b"*":
            return [self._answer() for _ in range(int(text))]
        if kind == b"$":
            return None if text == "-1" else self._file.read(int(text) + 2)[:-2].decode()
        return text

    def missing(self, count):
        """The numbers below `count` whose key is gone or has another value."""
        gone = []
        for begin in range(0, count, 500):
            numbers = range(begin, min(begin + 500, count))
            found = self.call("MGET", *map(key, numbers))
            gone += [n for n, text in zip(numbers, found) if text != value(n)]
        return gone


def ensure():
    """A folder with the guest's disk, from the same archive as the host's, and modules of the host's older kernel."""
    image = host_image.ensure()
    resolved = archive.would_install(PACKAGES, host_image.cache_dir())
    inputs = json.dumps([resolved, str(image.disk)]) + pathlib.Path(__file__).read_text()
    key = hashlib.sha256(inputs.encode()).hexdigest()[:16]
    folder = host_image.cache_dir() / f"database-{key}"
    with host_image.locked("database"):
        if not folder.exists():
            _build(folder, image)
            host_image.drop_unused("database-*", keep=folder)
        folder.touch()
    return folder


def _build(folder, image):
    started = time.monotonic()
    host_image.say("building the database guest's disk …")
    with tempfile.TemporaryDirectory(prefix="host-image-", dir=host_image.cache_dir()) as scratch:
        scratch = pathlib.Path(scratch)
        tree, out, files = scratch / "tree", scratch / "out", scratch / "files"
        out.mkdir()
        _copy_modules(image, scratch, out / "modules")
        units = files / "etc/systemd/system"
        for name, text in UNITS.items():
            _write(units / name, text)
        _write(files / "etc/systemd/system.conf", SYSTEMD)
        _write(files / "etc/hostname", "database\n")
        _write(files / "etc/hosts", "127.0.0.1 localhost database\n")
        _write(scratch / "redis", REDIS)
        generators = "etc/systemd/system-generators"
        host_image.mmdebstrap(tree, scratch, PACKAGES, [
            ("customize", f'cp -r "{files}"/* "$1/"; cat "{scratch}/redis" >> "$1/etc/redis/redis.conf"'),
            ("customize", f'ln -sf {TARGET} "$1/etc/systemd/system/default.target"; mkdir -p "$1/{generators}"; '
                          f'for g in "$1"/lib/systemd/system-generators/*; do '
                          f'ln -s /dev/null "$1/{generators}/$(basename "$g")"; done'),
            ("customize", 'chroot "$1" passwd -d root'),
        ])
        raw = scratch / "disk.raw"
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-m", "0", "-d", tree, raw, str(DISK_BYTES // 1024)], check=True,
                       stdout=subprocess.DEVNULL)
        subprocess.run(["qemu-img", "convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", raw,
                        out / "disk.qcow2"], check=True)
        out.rename(folder)
    host_image.say(f"database guest's disk built in {time.monotonic() - started:.0f} s")


def _copy_modules(image, scratch, out):
    """MODULES and what they need, of the host's older kernel and from the host's disk, named so that they sort in the order in which
    they can be loaded."""
    folder, release = scratch / "lib/modules", image.older.release
    folder.mkdir(parents=True)
    out.mkdir()
    subprocess.run(["debugfs", "-R", f"rdump /usr/lib/modules/{release} {folder}", image.disk], check=True, capture_output=True)
    needed = subprocess.run(["modprobe", "-d", scratch, "-S", release, "--all", "--show-depends", *MODULES], check=True,
                            capture_output=True, text=True).stdout
    in_order = dict.fromkeys(line.split()[1] for line in needed.splitlines() if line.startswith("insmod "))
    for number, path in enumerate(in_order):
        shutil.copy(path, out / f"{number:02}-{pathlib.Path(path).name}")


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    print(ensure())
