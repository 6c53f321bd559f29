"""A host with guests running and host-update installed: where every scenario begins."""

import contextlib
import dataclasses

from hostlab import guests as lab_guests
from hostlab import product
from hostlab.host import Host
from hostlab.service import Service


@dataclasses.dataclass
class Lab:
    host: Host
    service: Service
    guests: tuple = lab_guests.THREE
    foreign: tuple = ()  # Guests from the command line; they need not tick.

    def restart_guest(self, name):
        self.host.sh(f"rm -f {lab_guests.LOG_FOLDER}/{name}.log")
        lab_guests.start(self.host, [g for g in self.guests if g.name == name])


@contextlib.contextmanager
def running_lab(logs, payload, flavor, foreign=(), guests=lab_guests.THREE):
    """A Lab of this flavor under the older kernel with these guests; at the end its logs are in the folder `logs` and nothing runs any more."""
    for guest in foreign:
        guest.add_to_payload(payload)
    with Host.ready(logs, payload, flavor, guests, product.guest_init()) as host:
        try:
            service = Service(host)
            service.install()  # With nobody else on the one processor.
            host.sh("virsh -q version", 300)  # libvirtd may have to ask QEMU first.
            host.resume_guests()
            for guest in foreign:
                guest.start(host)
            yield Lab(host, service, guests, tuple(foreign))
        finally:
            host.collect_logs()
