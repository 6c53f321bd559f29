"""Guests that are not the lab's own: any kernel with its initramfs, or any libvirt domain with its disks.

They are asked for nothing. That they went on is judged from outside: the same domain runs, on the same memory, and its
console shows no second boot.
"""

import os
import pathlib
import shutil
import xml.etree.ElementTree as xml

from hostlab import guests as lab_guests
from hostlab import observe
from hostlab.deadline import wait_until
from hostlab.guests import Guest
from hostlab.host import PAYLOAD, PAYLOAD_MIB

FOLDER = "/var/lib/guests"
BOOT_MARK = "Linux version"
QUIET_S = 20


def from_options(kernel, initrd, domain):
    """The guests that these options of `testing/lab/run` ask for."""
    if bool(kernel) != bool(initrd):
        raise ValueError("--guest-kernel and --guest-initrd go together")
    found = []
    if kernel:
        found.append(ForeignGuest(_kernel_xml(kernel, initrd)))
    if domain:
        found.append(ForeignGuest(pathlib.Path(domain).read_text(), os.path.dirname(os.path.abspath(domain))))
    return found


def _kernel_xml(kernel, initrd):
    guest = Guest("foreign")
    text = lab_guests.domain_xml(guest, os.path.abspath(kernel), os.path.abspath(initrd))
    return text.replace(" quiet ", " ")


class ForeignGuest:
    def __init__(self, text, folder="/"):
        self._tree = xml.fromstring(text)
        self._folder = folder
        self.name = self._tree.findtext("name")
        self.log = f"{lab_guests.LOG_FOLDER}/{self.name}.log"
        self._files = []  # Base names of what the definition needs.
        self._before = None

    def add_to_payload(self, payload):
        """Takes along every file that the definition names, and lets it name them where they will lie in the host."""
        kernel_files = [e for e in (self._tree.find("os/kernel"), self._tree.find("os/initrd")) if e is not None]
        for element in kernel_files:
            element.text = self._take(payload, element.text)
        for source in self._tree.findall("devices/disk/source[@file]"):
            source.set("file", self._take(payload, source.get("file")))
        size = sum(p.stat().st_size for p in pathlib.Path(payload).iterdir()) >> 20
        if size > PAYLOAD_MIB * 9 // 10:
            raise ValueError(f"the guest's files make {size} MiB; the lab takes {PAYLOAD_MIB * 9 // 10}")
        for console in self._tree.findall("devices/serial") + self._tree.findall("devices/console"):
            self._tree.find("devices").remove(console)
        console = xml.fromstring(f"<serial type='file'><source path='{self.log}' append='on'/></serial>")
        self._tree.find("devices").append(console)
        (pathlib.Path(payload) / f"{self.name}.xml").write_text(xml.tostring(self._tree, encoding="unicode"))

    def _take(self, payload, path):
        source = pathlib.Path(self._folder, path)
        name = f"{self.name}-{source.name}"
        shutil.copy(source, pathlib.Path(payload) / name)
        self._files.append(name)
        return f"{FOLDER}/{name}"

    def start(self, host):
        for name in self._files:
            host.sh(f"cp {PAYLOAD}/{name} {FOLDER}/")
        host.sh(f"virsh -q define {PAYLOAD}/{self.name}.xml && virsh -q start {self.name}", 180)
        self._wait_until_quiet(host)
        self._before = observe.domain(host, self.name), self._console(host)

    def _console(self, host):
        return host.run(f"cat {self.log}").out

    def _wait_until_quiet(self, host):
        """A guest that has booted says nothing for a while. One that talks for ever is taken as booted after that."""
        state = {"size": -1, "since": host.emulator.now()}

        def quiet():
            size = len(self._console(host))
            if size != state["size"]:
                state.update(size=size, since=host.emulator.now())
            return size > 0 and host.emulator.now() - state["since"] > QUIET_S
        try:
            wait_until(quiet, 180, "", interval=2.0)
        except RuntimeError:
            assert state["size"] > 0, f"{self.name} says nothing on its serial console"

    def check_went_on(self, host):
        domain, console = self._before
        observe.check_domain_as_before(host, self.name, domain)
        now = self._console(host)
        assert now.startswith(console), f"{self.name}'s console was written anew"
        assert now.count(BOOT_MARK) == console.count(BOOT_MARK), f"{self.name} booted again"
        assert "Kernel panic" not in now[len(console):]
