"""What is tested, built from this tree: the Debian package, the program with faults, the guests' program."""

import os
import pathlib
import shlex
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[3]
FAULTY = "//testing/faults:host-update-faulty"
GUEST_INIT = "//testing/lab/guest:guest_init"
FLOOR = ("//testing/lab/floor:floor_init", "//testing/lab/floor:kexec_into")


def _bazel(*arguments):
    command = [*shlex.split(os.environ.get("BAZEL", "bazel")), *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def build(*targets):
    """Builds the targets optimised; returns the paths of their files, in order."""
    quiet = ["--noshow_progress", "--ui_event_filters=-info", "--symlink_prefix=/"]
    _bazel("build", "-c", "opt", *quiet, *targets)
    folder = pathlib.Path(_bazel("info", "-c", "opt", "bazel-bin").strip())
    return [folder / target.lstrip("/").replace(":", "/") for target in targets]


def make_payload(folder):
    """Puts into `folder` what a host is to see at /mnt/payload: package, faulty program and tools of scenarios."""
    folder = pathlib.Path(folder)
    subprocess.run([ROOT / "packaging/build-deb", folder], check=True, stdout=subprocess.DEVNULL)
    next(folder.glob("*.deb")).rename(folder / "host-update.deb")
    for path in build(FAULTY, *FLOOR):
        shutil.copy(path, folder)


def guest_init():
    return build(GUEST_INIT)[0]
