"""The floor of a live update in instructions: from the jump to the first instruction of a trivial init, by different ways of jumping.

The emulated processor counts what it executes (-icount), a nanosecond each, and idle time is skipped to the next timer: the figure
depends on the kernel and not on this machine. Nothing but a kernel and its init runs in this emulator.
"""

import pathlib
import re
import shutil
import subprocess
import tempfile

from hostlab import image, kexec_tools, product
from hostlab.guests import make_initramfs

RUN_S = 600
INTO, TOOLS = "/bin/kexec_into", "/bin/kexec"
# What the kernel that is jumped into is told. The lab's, but for what is about its disk and its guests.
COMMAND_LINE = "console=ttyS0 mitigations=off norandmaps panic=-1"
TOOLS_FILES = ["/kernel", "--initrd=/floor.cpio", "--command-line={line}"]
# Name: the program that stages the kernel.
WAYS = {
    "kexec_file_load": [INTO, "--stage-only", "/kernel", "/floor.cpio", "{line}"],
    "direct_vmlinux": [INTO, "--direct-jump=vmlinux", "--stage-only", "/kernel", "/floor.cpio", "{line}"],
    "direct_bzimage": [INTO, "--direct-jump=bzimage", "--stage-only", "/kernel", "/floor.cpio", "{line}"],
    "kexec_tools_s": [TOOLS, "-s", "-l", *TOOLS_FILES],
    "kexec_tools_c": [TOOLS, "-c", "-l", *TOOLS_FILES],
}


def measure(ways, kernel=None):
    """Yields (way, words, instructions in thousands of millions) for each (way, words for the command line) of `ways`. `kernel`: the
    host's older one if None."""
    kernel = kernel or image.ensure().older.boot_kernel
    with tempfile.TemporaryDirectory(prefix="instructions-") as scratch:
        scratch = pathlib.Path(scratch)
        root = scratch / "root"
        _make_root(root, kernel)
        for way, words in ways:
            line = f"{COMMAND_LINE} {words}".strip()
            (root / "stage").write_text("".join(word.format(line=line) + "\n" for word in WAYS[way]))
            yield way, words, _run(root, kernel, scratch / "stage.cpio")


def _add_program(root, program, name, libraries=""):
    """With the shared libraries that the loader says it needs, all in one folder where it will look. `libraries`: where else they are."""
    shutil.copy(program, root / name)
    for library in product.shared_libraries(program, libraries):
        target = root / ("lib64" if "/ld-linux" in library else "lib/x86_64-linux-gnu")
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)


def _make_root(root, kernel):
    """The tree of the initramfs that the jump leaves; /stage is put there for each run."""
    first_init, floor_init, into = product.build(product.FIRST_INIT, *product.FLOOR)
    for name in ("bin", "dev", "proc", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(first_init, root / "init")
    shutil.copy(kernel, root / "kernel")
    make_initramfs(root / "floor.cpio", floor_init)
    _add_program(root, into, INTO.lstrip("/"))
    tools = kexec_tools.folder()
    _add_program(root, tools / "kexec", TOOLS.lstrip("/"), tools / "lib")


def _run(root, kernel, archive):
    with open(archive, "wb") as out:
        names = "\0".join(sorted(str(path.relative_to(root)) for path in root.rglob("*")))
        subprocess.run(["cpio", "--quiet", "-0", "-o", "-H", "newc"], cwd=root, input=names.encode(), stdout=out, check=True)
    command = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off",
               "-cpu", "max,-erms,-la57", "-m", "1G", "-display", "none", "-nodefaults", "-no-user-config", "-serial", "stdio",
               "-kernel", kernel, "-initrd", archive, "-append", "console=ttyS0 quiet norandmaps panic=-1", "-no-reboot"]
    console = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=RUN_S).stdout
    jump, first = (re.search(rf"FLOOR {what} (\d+)", console) for what in ("jump", "first instruction"))
    if not jump or not first:
        raise RuntimeError(f"no trivial init after the jump: {console[-1000:]}")
    return (int(first[1]) - int(jump[1])) / 1e9
