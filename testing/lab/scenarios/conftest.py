"""Fixtures of the scenarios. Each scenario has a folder of logs; `testing/lab/run` prints where."""

import pathlib
import time

import pytest

from hostlab import flavor as flavors
from hostlab import foreign, observe, product
from hostlab.echo import EchoClient
from hostlab.guests import THREE
from hostlab.lab import running_lab


def pytest_addoption(parser):
    group = parser.getgroup("lab")
    group.addoption("--logs", default="lab-logs", help="folder for the scenarios' logs")
    group.addoption("--flavor", default="dax", help="what the host keeps memory by: dax or luo")
    group.addoption("--guest-kernel", help="also run a guest with this kernel")
    group.addoption("--guest-initrd", help="… and this initramfs")
    group.addoption("--domain", help="also run the guest of this libvirt domain XML, its disks taken along")
    group.addoption("--asan", action="store_true", help="with sanitizers in the package's programs; what they find fails the scenario")
    group.addoption("--keep", action="store_true", help="after the scenario, leave the host running until Enter")


def pytest_collection_modifyitems(config, items):
    """Leaves out what is about the other flavor of host: @pytest.mark.only("luo")."""
    flavor = config.getoption("--flavor")
    others = [item for item in items if any(flavor not in mark.args for mark in item.iter_markers("only"))]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


@pytest.fixture(scope="session")
def flavor(request):
    """Not a parameter: pytest would put a scenario's tests into another order, and each begins where the last one ended."""
    return flavors.get(request.config.getoption("--flavor"))


@pytest.fixture(scope="session")
def payload(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("payload")
    product.make_payload(folder, request.config.getoption("--asan"))
    return folder


@pytest.fixture(scope="module")
def logs(request, flavor):
    scenario = request.module.__name__.rpartition("test_")[2]
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = pathlib.Path(request.config.getoption("--logs")) / f"{scenario}-{flavor.name}-{stamp}"
    folder.mkdir(parents=True)
    print(f"\nlogs of {scenario}: {folder.resolve()}", flush=True)
    return folder


@pytest.fixture(scope="module")
def lab(request, payload, logs, flavor):
    """One for all tests of a module; with its GUESTS and SIZE, if it has other than the usual ones, and CONFINED or with a WATCHDOG if it says so."""
    options = request.config.getoption
    guests = foreign.from_options(options("--guest-kernel"), options("--guest-initrd"), options("--domain"))
    own = getattr(request.module, "GUESTS", THREE)
    if getattr(request.module, "CONFINED", False):
        flavor = flavors.confined(flavor)
    if getattr(request.module, "WATCHDOG", False):
        flavor = flavors.watched(flavor)
    flavor = flavors.sized(flavor, **getattr(request.module, "SIZE", {"ram": flavor.ram, "preserved": flavor.preserved}))
    with running_lab(logs, payload, flavor, guests, own) as lab:
        yield lab
        if options("--asan"):
            observe.check_sanitizers_silent(lab.host)
        if options("--keep"):
            input(f"\nThe host runs on; its agent listens on {lab.host.emulator.agent_path}. Enter ends it. ")


@pytest.fixture
def echo(lab):
    """A client that talks to the guest with the NIC all the while."""
    client = EchoClient(lab.host.echo_port)
    yield client
    if not client.broken:
        client.stop()


@pytest.fixture
def unharmed(lab):
    """Takes stock, lets the test do what it likes, and asserts that no VM and no memory has come to harm."""
    before = observe.Before(lab.host, lab.guests)
    yield before
    assert lab.host.boot_id() == before.boot_id
    assert lab.host.sh("cat /sys/kernel/kexec_loaded") == "0"
    assert lab.service.leftovers() == []
    for guest in lab.guests:
        observe.check_guest_undisturbed(lab.host, guest, before)
