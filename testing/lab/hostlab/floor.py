"""The floor under every blackout: a kexec into the same kernel with a trivial init."""

from hostlab.deadline import wait_until
from hostlab.host import PAYLOAD
from hostlab.guests import make_initramfs

INITRAMFS = "floor.cpio"


def add_to_payload(payload):
    """What `measure` needs at /mnt/payload, beside what product.make_payload puts there."""
    make_initramfs(payload / INITRAMFS, payload / "floor_init")


def measure(host, how=""):
    """Seconds from the jump to the first instruction of a trivial init under `host`'s own kernel, which is gone then; `how`:
    kexec_into's option."""
    files = f"{host.flavor.older.kernel} {PAYLOAD}/{INITRAMFS}"
    host.agent.start(f"{PAYLOAD}/kexec_into {how} {files} '{host.flavor.command_line}'")
    wait_until(lambda: _at(host, "FLOOR first instruction"), 120, "the trivial init ran")
    return _at(host, "FLOOR first instruction") - _at(host, "FLOOR jump")


def _at(host, text):
    return next((at for at, line in host.emulator.console() if text in line), None)
