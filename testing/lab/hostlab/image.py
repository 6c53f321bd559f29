"""Builds the emulated host's disk: Debian with libvirt, QEMU and three kernels. Cached by the hash of what goes in.

    /usr/bin/python3 -m hostlab.image      builds it if need be and prints where it is
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from hostlab import archive

LAB = pathlib.Path(__file__).resolve().parent.parent
OVERLAY = LAB / "image"
DISK_BYTES = 6 << 30

PACKAGES = """
    systemd systemd-sysv udev dbus kmod iproute2 e2fsprogs lz4 initramfs-tools
    qemu-guest-agent apparmor
    libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils seabios ovmf swtpm swtpm-tools
    libabsl20220623 libgrpc++1.51 libprotobuf32 libelf1 libsystemd0 libssl3 libxxhash0
""".split()  # The last line: what our own package depends on, so that it installs without an archive.

# Nothing that a test looks at, and each costs emulated boot time, or wakes up when the clock steps.
MASKED_UNITS = """
    getty@tty1.service serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer
    e2scrub_all.timer e2scrub_reap.service fstrim.timer logrotate.timer systemd-tmpfiles-clean.timer systemd-networkd-wait-online.service
    systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-hwdb-update.service
    systemd-pstore.service proc-sys-fs-binfmt_misc.automount modprobe@drm.service modprobe@fuse.service modprobe@configfs.service
    dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount
""".split()

KERNELS = ("older", "newer", "backports")
GUEST_MODULES = ["virtio_pci", "virtio_blk", "virtio_net"]
# Each takes an emulated guest seconds to load: not for the usual ones.
MORE_GUEST_MODULES = GUEST_MODULES + ["virtio_scsi", "sd_mod", "virtio_console", "virtio-rng", "virtio_balloon", "efivarfs"]


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel of the host. `boot_*` are paths on this machine, `kernel` and `initrd` paths in the host."""
    release: str
    boot_kernel: pathlib.Path
    boot_initrd: pathlib.Path | None  # None: it needs none.
    folder: str = "/boot"

    @property
    def kernel(self):
        return f"{self.folder}/vmlinuz-{self.release}"

    @property
    def initrd(self):
        return f"{self.folder}/initrd.img-{self.release}" if self.boot_initrd else ""

    @property
    def arguments(self):
        """As host-update takes it."""
        return f"--kernel {self.kernel}" + (f" --initrd {self.initrd}" if self.initrd else " --no-initrd")


@dataclasses.dataclass(frozen=True)
class Image:
    disk: pathlib.Path
    older: Kernel
    newer: Kernel
    backports: Kernel            # Of a later series.
    guest_modules: pathlib.Path  # Of the older kernel, under which the guests run: 00-first.ko, 01-second.ko, …
    more_guest_modules: pathlib.Path  # The same, for guests with other devices than a disk and a NIC.


def cache_dir():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = pathlib.Path(base) / "host-update"
    path.mkdir(parents=True, exist_ok=True)
    return path


def say(text):
    print(f"lab: {text}", file=sys.stderr, flush=True)


def drop_unused(pattern, keep):
    """Removes from the cache what matches and has not been used for a day: each is a gigabyte."""
    for path in cache_dir().glob(pattern):
        if path == keep or time.time() - path.stat().st_mtime < 24 * 3600:
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def locked(name):
    """Only one process at a time builds the thing of this name."""
    with open(cache_dir() / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _hash_of_sources():
    digest = hashlib.sha256()
    files = [pathlib.Path(__file__), pathlib.Path(archive.__file__)]
    files += sorted(p for p in OVERLAY.rglob("*") if p.is_file() and p.name != "README.md")
    for path in files:
        digest.update(str(path.relative_to(LAB)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def ensure():
    """Returns the image; builds it first where the cache has none of these inputs."""
    with locked("image"):
        resolved = archive.resolve(PACKAGES, cache_dir())
        key = hashlib.sha256((_hash_of_sources() + json.dumps(resolved)).encode()).hexdigest()[:16]
        folder = cache_dir() / f"image-{key}"
        if not folder.exists():
            _build(folder, resolved)
            drop_unused("image-*", keep=folder)
        os.utime(folder)
    kernels = {name: Kernel(resolved[name], folder / f"vmlinuz-{resolved[name]}",
                            folder / f"initrd.img-{resolved[name]}") for name in KERNELS}
    return Image(folder / "disk.raw", **kernels, guest_modules=folder / "guest-modules",
                 more_guest_modules=folder / "more-guest-modules")


def _build(folder, resolved):
    started = time.monotonic()
    say(f"building the host image ({len(resolved['versions'])} packages) …")
    # The tree has device nodes and foreign owners: it must lie where this user may make them.
    with tempfile.TemporaryDirectory(prefix="host-image-", dir=cache_dir()) as scratch:
        scratch = pathlib.Path(scratch)
        tree, out = scratch / "tree", scratch / "out"
        out.mkdir()
        _mmdebstrap_host(tree, scratch, resolved)
        for release in (resolved[which] for which in KERNELS):
            for name in ("vmlinuz", "initrd.img"):
                shutil.copy(tree / "boot" / f"{name}-{release}", out)
        modules = tree / "lib/modules" / resolved["older"]
        _copy_guest_modules(GUEST_MODULES, modules, out / "guest-modules")
        _copy_guest_modules(MORE_GUEST_MODULES, modules, out / "more-guest-modules")
        disk = out / "disk.raw"
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=1",
                        "-d", tree, disk, str(DISK_BYTES // 1024)], check=True, stdout=subprocess.DEVNULL)
        (out / "packages").write_text("\n".join(resolved["versions"]) + "\n")
        out.rename(folder)
    say(f"host image built in {time.monotonic() - started:.0f} s")


def _copy_guest_modules(names, modules, out):
    """Copies what the modules `names` need, named so that they sort in the order in which they can be loaded."""
    out.mkdir()
    dependencies = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, needs = line.partition(":")
        dependencies[pathlib.Path(path).stem] = [*reversed(needs.split()), path]
    in_order = list(dict.fromkeys(path for name in names for path in dependencies[name]))
    for number, path in enumerate(in_order):
        shutil.copy(modules / path, out / f"{number:02}-{pathlib.Path(path).name}")


def _mmdebstrap_host(tree, scratch, resolved):
    mask = " ".join(f'"$1/etc/systemd/system/{unit}"' for unit in MASKED_UNITS)
    mmdebstrap(tree, scratch, PACKAGES + [f"linux-image-{resolved[name]}" for name in KERNELS], [
        ("essential", f'cp -r "{OVERLAY}/usr" "$1/"'),
        ("customize", f'cp -r "{OVERLAY}/etc" "$1/"'),
        ("customize", 'for f in "$1"/etc/*/*.append; do cat "$f" >> "${f%.append}"; rm "$f"; done'),
        ("customize", 'mkdir -p "$1/var/lib/host-update/ram" "$1/var/log/guests" "$1/var/lib/guests" '
                      '"$1/var/log/journal" "$1/mnt/payload"; echo host > "$1/etc/hostname"; '
                      'echo "127.0.0.1 localhost host" > "$1/etc/hosts"; : > "$1/etc/machine-id"'),
        ("customize", 'chroot "$1" passwd -d root'),
        ("customize", f'for unit in {mask}; do ln -sf /dev/null "$unit"; done'),
        ("customize", 'chroot "$1" systemctl enable systemd-networkd.service'),
    ])


def mmdebstrap(tree, scratch, packages, hooks):
    """Installs Debian with these packages into the folder `tree`. `hooks` are (stage, shell script with the tree in $1)."""
    pin = scratch / "pin"
    pin.write_text(archive.PIN)
    hooks = [("setup", f'install -D -m 644 "{pin}" "$1/etc/apt/preferences.d/backports"'), *hooks]
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--format=directory",
               "--include=" + ",".join(packages)]
    for option in archive.apt_options():
        name, value = option.split("=", 1)
        command.append(f'--aptopt={name} "{value}"')
    command += [f"--{stage}-hook={script}" for stage, script in hooks]
    # No documentation in the disk: a third of its files.
    command += ["--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--dpkgopt=path-exclude=/usr/share/locale/*", archive.RELEASE, str(tree), "-"]
    done = subprocess.run(command, input="\n".join(archive.sources()) + "\n", text=True, capture_output=True)
    if done.returncode != 0:
        sys.stderr.write(done.stderr[-8000:])
        raise RuntimeError(f"mmdebstrap failed with {done.returncode}")


if __name__ == "__main__":
    print(ensure())
