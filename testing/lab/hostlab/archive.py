"""Which Debian archive this machine uses, and what the host image would get from it now.

Nothing here names an archive: addresses come from the machine's own apt configuration.
"""

import hashlib
import json
import os
import pathlib
import re
import subprocess
import time

RELEASE = "bookworm"
BACKPORTS = RELEASE + "-backports"
KERNEL_SUITE = "trixie-backports"
# libvirt 11.3 and QEMU 10.0 (with the firmware it asks for) come from backports; nothing else may move.
PIN = f"""Package: qemu-* src:qemu src:libvirt seabios
Pin: release n={BACKPORTS}
Pin-Priority: 990
"""
KERNEL_NAME = re.compile(r"^linux-image-(6\.1\.0-(\d+)-cloud-amd64)$")
BACKPORTS_KERNEL_NAME = re.compile(r"^linux-image-(6\.12\.(\d+)\+deb12-cloud-amd64)$")
# How long a resolution of package versions is used before the archive is asked again.
RESOLUTION_LIFETIME_S = 24 * 3600


class ArchiveError(RuntimeError):
    pass


def sources():
    """apt source lines for the image: the release, its updates, its security updates, and backports."""
    fmt = "$(REPO_URI)|$(CODENAME)|$(ORIGIN)|$(LABEL)"
    out = subprocess.run(
        ["apt-get", "indextargets", "--format", fmt, "Created-By: Packages"],
        check=True, capture_output=True, text=True).stdout
    by_suite = {}
    for line in out.splitlines():
        uri, codename, origin, label = line.split("|")
        if origin == "Debian" and codename.startswith(RELEASE):
            by_suite.setdefault(codename, uri)
    if RELEASE not in by_suite:
        raise ArchiveError(
            f"apt on this machine has no {RELEASE} archive (or `apt-get update` never ran): run testing/setup")
    main = by_suite[RELEASE]
    security = by_suite.get(RELEASE + "-security")
    lines = [f"deb {main} {suite} main" for suite in (RELEASE, RELEASE + "-updates", BACKPORTS)]
    if security:
        lines.append(f"deb {security} {RELEASE}-security main")
    return lines


def kernel_sources():
    """apt source lines for the newest kernel's source: the backports of the release after this one."""
    main = next(line.split()[1] for line in sources() if line.split()[2] == RELEASE)
    return [f"deb {main} {KERNEL_SUITE} main"]


def apt_options():
    """The machine's own ways of reaching the archive (proxies, checks of dates) as apt options."""
    out = subprocess.run(
        ["apt-config", "dump", "--format", "%f=%v%n"], check=True, capture_output=True, text=True).stdout
    wanted = re.compile(r"^Acquire::(http|https|Check-Valid-Until|Check-Date|Retries)(::\S*)?=(.+)$")
    return [line for line in out.splitlines() if wanted.match(line)]


class PrivateApt:
    """apt with package lists of its own, so that asking never changes the machine."""

    def __init__(self, root, source_lines=None):
        """`source_lines`: those of `sources()` if None."""
        self.root = pathlib.Path(root)
        for name in ("etc/apt/preferences.d", "etc/apt/apt.conf.d", "etc/apt/sources.list.d",
                     "state/lists/partial", "cache/archives/partial"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "state/status").touch()
        (self.root / "etc/apt/sources.list").write_text("\n".join(source_lines or sources()) + "\n")
        (self.root / "etc/apt/preferences.d/backports").write_text(PIN)

    def _run(self, program, *arguments, folder=None):
        etc, state, cache = (self.root / n for n in ("etc/apt", "state", "cache"))
        options = [f"Dir::Etc={etc}", f"Dir::Etc::trusted=/etc/apt/trusted.gpg",
                   "Dir::Etc::trustedparts=/etc/apt/trusted.gpg.d", f"Dir::State={state}",
                   f"Dir::State::status={state}/status", f"Dir::Cache={cache}", "APT::Sandbox::User=root",
                   "APT::Install-Recommends=false", "Acquire::Languages=none", *apt_options()]
        command = [program] + [word for o in options for word in ("-o", o)] + list(arguments)
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        if done.returncode != 0:
            raise ArchiveError(f"{program} {' '.join(arguments)}: {(done.stdout + done.stderr).strip()}")
        return done.stdout

    def update(self):
        self._run("apt-get", "update")

    def kernels(self, name=KERNEL_NAME):
        """ABI names of the signed cloud kernels of this release (or of its backports), oldest first."""
        names = self._run("apt-cache", "pkgnames", "linux-image-6.1").split()
        found = [(int(m.group(2)), m.group(1)) for m in map(name.match, names) if m]
        return [abi for _, abi in sorted(found)]

    def candidate(self, package):
        """The version that would be installed."""
        found = re.search(r"Candidate: (\d\S*)", self._run("apt-cache", "policy", package))
        if not found:
            raise ArchiveError(f"the archive has no {package}")
        return found.group(1)

    def download(self, package, folder):
        """Puts the package's .deb into `folder`."""
        self._run("apt-get", "-q", "download", package, folder=folder)

    def would_install(self, packages):
        """`name version` for each package that an empty system would get."""
        out = self._run("apt-get", "-s", "install", *packages)
        return sorted(f"{m.group(1)} {m.group(2)}" for m in re.finditer(r"^Inst (\S+) \((\S+) ", out, re.M))


def remembered(cache, question, ask):
    """The answer of `ask()`, which must be fit for JSON.

    Asked at most once a day; an archive that can't be reached is no reason to fail while an older answer exists.
    """
    key = hashlib.sha256(json.dumps([question, sources(), PIN]).encode()).hexdigest()[:16]
    answer_file = pathlib.Path(cache) / f"resolved-{key}.json"
    if answer_file.exists() and time.time() - answer_file.stat().st_mtime < RESOLUTION_LIFETIME_S:
        return json.loads(answer_file.read_text())
    try:
        answer = ask()
    except ArchiveError:
        if answer_file.exists():
            return json.loads(answer_file.read_text())
        raise
    scratch = answer_file.with_suffix(f".{os.getpid()}")
    scratch.write_text(json.dumps(answer, indent=1))
    scratch.rename(answer_file)
    return answer


def resolve(packages, cache):
    """The kernels and all package versions an image would have if it were built now."""
    question = [packages, KERNEL_NAME.pattern, BACKPORTS_KERNEL_NAME.pattern]
    return remembered(cache, question, lambda: _resolve(packages, cache))


def would_install(packages, cache):
    """`name version` for each package that an image of these would have if it were built now."""
    def ask():
        apt = PrivateApt(pathlib.Path(cache) / "apt")
        apt.update()
        return apt.would_install(packages)
    return remembered(cache, ["would_install", packages], ask)


def _resolve(packages, cache):
    apt = PrivateApt(pathlib.Path(cache) / "apt")
    apt.update()
    kernels = apt.kernels()
    if len(kernels) < 2:
        raise ArchiveError(f"the archive has {len(kernels)} cloud kernel(s) of the 6.1 series, two are needed")
    backports = apt.kernels(BACKPORTS_KERNEL_NAME)
    if not backports:
        raise ArchiveError("the archive has no cloud kernel of the 6.12 series in its backports")
    found = {"older": kernels[0], "newer": kernels[-1], "backports": backports[-1]}
    versions = apt.would_install(packages + [f"linux-image-{k}" for k in found.values()])
    return {**found, "versions": versions}
