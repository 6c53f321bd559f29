"""The emulated host's hardware watchdog: the TCO timer of q35's chipset, which firmware tells the kernel of as servers' firmware does,
by an ACPI WDAT table ("Hardware Watchdog Timers Design Specification", Microsoft, 2006; the kernel's names are in acpi/actbl3.h). Debian's
cloud kernels have its driver, wdat_wdt, and none for the timer itself.
"""

import struct

DEVICE = "/dev/watchdog0"
WORDS = "watchdog.stop_on_reboot=0"

# ICH9 (Intel 316972), chapters 13.9, "TCO registers", at the I/O port that SeaBIOS gives the power management, and 10.1.45, "GCS".
TCO = 0x600 + 0x60
RELOAD, CONTROL, TIMER = TCO, TCO + 0x08, TCO + 0x12
HALT = 1 << 11
GCS = 0xFED1F410
NO_REBOOT = 1 << 5
TICK_MS = 2 * 600  # It has to run out twice.
MAX_TICKS = 0x3FF

READ_VALUE, WRITE_VALUE, WRITE_COUNTDOWN, PRESERVE = 0, 2, 3, 0x80
MEMORY, PORT = 0, 1


def _entry(action, instruction, register, value, mask):
    space = PORT if register < 0x10000 else MEMORY
    bits, access = (16, 2) if space == PORT else (32, 3)
    return struct.pack("<BBH BBBBQ II", action, instruction, 0, space, bits, 0, access, register, value, mask)


def table():
    """All but its header, which the emulator writes."""
    entries = [
        _entry(1, WRITE_VALUE, RELOAD, 1, 0xFFFF),
        _entry(6, WRITE_COUNTDOWN, TIMER, 0, MAX_TICKS),
        _entry(8, READ_VALUE, CONTROL, 0, HALT),
        _entry(9, WRITE_VALUE | PRESERVE, GCS, 0, NO_REBOOT),
        _entry(9, WRITE_VALUE | PRESERVE, CONTROL, 0, HALT),
        _entry(11, WRITE_VALUE | PRESERVE, CONTROL, HALT, HALT),
    ]
    no_pci_device = (0xFF, 0xFF, 0xFF, 0xFF)  # The kernel compares the segment, of 16 bits, with this too.
    return struct.pack("<I HBBB3x III B3x I", 32, *no_pci_device, TICK_MS, MAX_TICKS, 2, 1, len(entries)) + b"".join(entries)


def options(folder, table):
    """Of an emulator whose firmware has this table, which goes into a file in `folder`."""
    path = folder / "wdat"
    path.write_bytes(table)
    return ["-global", "ICH9-LPC.noreboot=false", "-acpitable", f"sig=WDAT,rev=1,oem_id=LAB,oem_table_id=WATCHDOG,data={path}"]
