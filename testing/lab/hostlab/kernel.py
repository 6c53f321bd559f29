"""The kernels of a host with the Live Update Orchestrator, which no Debian kernel has: built from Debian's own source
package with ../kernel/liveupdate.config. Two, which differ by nothing but their names, and one that understands nothing that
they hand over. With them the kernel's own tests of it. Cached by what goes in.

    /usr/bin/python3 -m hostlab.kernel      builds them if need be and prints where they are
"""

import dataclasses
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

from hostlab import archive
from hostlab.emulator import PAYLOAD
from hostlab.image import Kernel, cache_dir, drop_unused, locked, say

CONFIG = pathlib.Path(__file__).resolve().parent.parent / "kernel/liveupdate.config"
PACKAGE = "linux-source-7.3"
NAMES = ("-older", "-newer")
FOREIGN = "-foreign"
ABI_HEADER = "include/linux/kho/abi/luo.h"
SELFTESTS = "tools/testing/selftests/liveupdate"


@dataclasses.dataclass(frozen=True)
class Kernels:
    older: Kernel
    newer: Kernel
    foreign: Kernel          # Of another LUO ABI: what the others preserve, it would not find.
    selftests: pathlib.Path  # Folder of static programs.


def ensure():
    """Returns the Kernels; builds them first where the cache has none of these inputs."""
    with locked("kernel"):
        apt = archive.PrivateApt(cache_dir() / "apt-kernel", archive.kernel_sources())
        version = archive.remembered(cache_dir(), f"{PACKAGE} {CONFIG}", lambda: _version(apt))
        inputs = version.encode() + CONFIG.read_bytes() + pathlib.Path(__file__).read_bytes()
        folder = cache_dir() / f"kernel-{hashlib.sha256(inputs).hexdigest()[:16]}"
        if not folder.exists():
            _build(folder, apt, version)
            drop_unused("kernel-*", keep=folder)
        os.utime(folder)
    return Kernels(*(_kernel(folder, name) for name in (*NAMES, FOREIGN)), folder / "selftests")


def _kernel(folder, name):
    path = next(folder.glob(f"vmlinuz-*{name}"))
    return Kernel(path.name.removeprefix("vmlinuz-"), path, None, PAYLOAD)


def _version(apt):
    apt.update()
    return apt.candidate(PACKAGE)


def _build(folder, apt, version):
    started = time.monotonic()
    say(f"building kernels with the Live Update Orchestrator from {PACKAGE} {version}: seven minutes on two processors …")
    with tempfile.TemporaryDirectory(prefix="host-kernel-", dir=cache_dir()) as scratch:
        scratch = pathlib.Path(scratch)
        apt.download(PACKAGE, scratch)
        _run("dpkg-deb", "-x", next(scratch.glob("*.deb")), scratch / "package")
        _run("tar", "-xf", next(scratch.glob(f"package/usr/src/{PACKAGE}.tar.*")), "-C", scratch)
        tree, out = scratch / PACKAGE, scratch / "out"
        out.mkdir()
        _make(tree, f"KCONFIG_ALLCONFIG={CONFIG}", "allnoconfig")
        _check_config((tree / ".config").read_text())
        _make_selftests(tree, out / "selftests")
        for name in NAMES:
            _make_kernel(tree, name, out)
        _change_abi(tree / ABI_HEADER)
        _make_kernel(tree, FOREIGN, out)
        out.rename(folder)
    say(f"kernels built in {time.monotonic() - started:.0f} s")


def _make_kernel(tree, name, out):
    # On the command line: by another configuration everything would be compiled again.
    _make(tree, f"-j{os.cpu_count()}", f"LOCALVERSION={name}", "bzImage")
    release = (tree / "include/config/kernel.release").read_text().strip()
    shutil.copy(tree / "arch/x86/boot/bzImage", out / f"vmlinuz-{release}")
    shutil.copy(tree / ".config", out / f"config-{release}")


def _make_selftests(tree, out):
    out.mkdir()
    _make(tree, "headers")
    _make(tree / SELFTESTS, f"OUTPUT={out}", "LDFLAGS=-static", f"KHDR_INCLUDES=-I{tree}/usr/include")


def _change_abi(header):
    """Gives the ABI the version after the next, as a kernel would have that lays its structures out differently."""
    text, changed = re.subn(r'(#define LUO_ABI_COMPATIBLE\s+"luo-v)(\d+)"', lambda m: f'{m[1]}{int(m[2]) + 2}"', header.read_text())
    if changed != 1:
        raise RuntimeError(f"{header}: no LUO_ABI_COMPATIBLE")
    header.write_text(text)


def _check_config(config):
    """Kconfig drops an option whose needs are not met, in silence."""
    lines = set(config.splitlines())
    # "# CONFIG_X is not set" of an option that can't be seen is left out by Kconfig: that is as good.
    missing = [line for line in CONFIG.read_text().splitlines() if line.startswith("CONFIG_") and line not in lines]
    if missing:
        raise RuntimeError(f"the kernel's configuration lacks {', '.join(missing)}")


def _make(tree, *arguments):
    # The same inputs give the same bytes.
    environment = dict(os.environ, KBUILD_BUILD_TIMESTAMP="2026-01-01", KBUILD_BUILD_USER="lab", KBUILD_BUILD_HOST="lab")
    _run("make", "-s", "-C", tree, *arguments, env=environment)


def _run(*command, env=None):
    done = subprocess.run([str(word) for word in command], env=env, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} failed with {done.returncode}: {done.stdout[-4000:]}")


if __name__ == "__main__":
    print(ensure())
