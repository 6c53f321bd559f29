"""A QEMU that does not know the guests' machines, put in place of the host's: Debian 12's own, the one that emulates the host."""

import pathlib
import shutil

from hostlab import product
from hostlab.emulator import PAYLOAD

FOLDER = "older-qemu"
PROGRAM = "/usr/bin/qemu-system-x86_64"
MODULES = "/usr/lib/x86_64-linux-gnu/qemu"


def add_to_payload(payload):
    """With its libraries and modules, for the host has those of its own QEMU only."""
    folder = pathlib.Path(payload) / FOLDER
    folder.mkdir()
    shutil.copy(PROGRAM, folder / "qemu")
    for library in product.shared_libraries(PROGRAM):
        shutil.copy(library, folder)
    shutil.copytree(MODULES, folder / "modules")
    wrapper = folder / pathlib.Path(PROGRAM).name
    here = f"{PAYLOAD}/{FOLDER}"
    wrapper.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={here} QEMU_MODULE_DIR={here}/modules exec {here}/qemu "$@"\n')
    wrapper.chmod(0o755)


def put(host):
    host.sh(f"mount --bind {PAYLOAD}/{FOLDER}/qemu-system-x86_64 {PROGRAM}")


def take_back(host):
    host.sh(f"umount {PROGRAM}")
