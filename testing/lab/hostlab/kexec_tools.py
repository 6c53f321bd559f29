"""Debian's kexec-tools, to compare with. They are not installed on this machine, where they would change how it reboots."""

import pathlib
import shutil
import subprocess
import tempfile

from hostlab import archive
from hostlab.image import cache_dir, locked

PACKAGE = "kexec-tools"


def folder():
    """With its `kexec` and, in lib/, the libraries of Xen that it is linked with; from this machine's archive, kept in the cache."""
    kept = cache_dir() / PACKAGE
    with locked(PACKAGE):
        if not kept.exists():
            with tempfile.TemporaryDirectory(dir=cache_dir()) as scratch:
                _fetch(pathlib.Path(scratch)).rename(kept)
    return kept


def _fetch(scratch):
    apt = archive.PrivateApt(cache_dir() / "apt")
    apt.update()
    needed = [line.split()[0] for line in apt.would_install([PACKAGE])]
    for name in [PACKAGE, *(name for name in needed if name.startswith("libxen"))]:
        apt.download(name, scratch)
    for package in scratch.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, scratch / "tree"], check=True)
    out = scratch / "out"
    (out / "lib").mkdir(parents=True)
    shutil.copy(scratch / "tree/sbin/kexec", out)
    for library in (scratch / "tree/usr/lib").rglob("*.so.*"):
        shutil.copy(library, out / "lib")
    return out
