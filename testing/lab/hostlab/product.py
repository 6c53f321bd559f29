"""What is tested, built from this tree: the Debian package, the program with faults, the guests' program."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile

from hostlab.image import cache_dir, locked, say

ROOT = pathlib.Path(__file__).resolve().parents[3]
FAULTY = "//testing/faults:host-update-faulty"
GUEST_INIT = "//testing/lab/guest:guest_init"
ROOT_INIT = "//testing/lab/guest:root_init"
FIRST_INIT = "//testing/lab/floor:first_init"
FLOOR = ("//testing/lab/floor:floor_init", "//testing/lab/floor:kexec_into")


def _bazel_command():
    return shlex.split(os.environ.get("BAZEL", "bazel"))


def _bazel(*arguments):
    command = [*_bazel_command(), *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def build(*targets):
    """Builds the targets optimised; returns the paths of their files, in order."""
    quiet = ["--noshow_progress", "--ui_event_filters=-info", "--symlink_prefix=/"]
    _bazel("build", "-c", "opt", *quiet, *targets)
    folder = pathlib.Path(_bazel("info", "-c", "opt", "bazel-bin").strip())
    return [folder / target.lstrip("/").replace(":", "/") for target in targets]


def make_payload(folder, asan=False):
    """Puts into `folder` what a host is to see at /mnt/payload: package, faulty program and tools of scenarios. With `asan` the
    package's programs have sanitizers in them."""
    folder = pathlib.Path(folder)
    environment = {**os.environ, "BUILD_FLAGS": "--config=asan_package"} if asan else None
    subprocess.run([ROOT / "packaging/build-deb", folder], check=True, stdout=subprocess.DEVNULL, env=environment)
    next(folder.glob("*.deb")).rename(folder / "host-update.deb")
    for path in build(FAULTY, *FLOOR):
        shutil.copy(path, folder)


def shared_libraries(program, also_in=""):
    """The files of those that the loader finds for it, itself among them. `also_in`: a folder where it is to look first."""
    environment = {"LD_LIBRARY_PATH": str(also_in)} if also_in else {}
    listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True, env=environment).stdout
    return re.findall(r"(/\S+) \(0x", listed)


def has_commit(commit):
    return subprocess.run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, stderr=subprocess.DEVNULL).returncode == 0


def package_of(commit):
    """The package as another commit of this repository builds it, by that commit's own means; kept in the cache."""
    package = cache_dir() / f"host-update-{commit}.deb"
    with locked("package"):
        if not package.exists():
            say(f"building the package of commit {commit} …")
            _build_package(commit, package)
    return package


def _build_package(commit, package):
    with tempfile.TemporaryDirectory(prefix="package-", dir=cache_dir()) as scratch:
        tree, out = pathlib.Path(scratch) / "tree", pathlib.Path(scratch) / "out"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", tree, commit], cwd=ROOT, check=True)
        try:
            subprocess.run([tree / "packaging/build-deb", out], check=True, stdout=subprocess.DEVNULL)
        finally:
            # Each folder has a Bazel server of its own, with output of a gigabyte.
            subprocess.run([*_bazel_command(), "clean", "--expunge"], cwd=tree, stderr=subprocess.DEVNULL)
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)
        next(out.glob("*.deb")).rename(package)


def unpack_program(package, path):
    """Takes the program host-update out of a package."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["dpkg-deb", "-x", package, scratch], check=True)
        shutil.copy(pathlib.Path(scratch) / "usr/sbin/host-update", path)


def guest_init():
    return build(GUEST_INIT)[0]


def root_init():
    return build(ROOT_INIT)[0]
