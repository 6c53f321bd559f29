"""One live update of an emulated host with three VMs, told as it goes. Called by testing/demo."""

import pathlib
import sys
import tempfile
import time

from hostlab import flavor, product, service
from hostlab.echo import EchoClient
from hostlab.lab import running_lab
from hostlab.update_run import live_update

started = time.monotonic()


def say(text):
    print(f"[{time.monotonic() - started:6.1f} s] {text}", flush=True)


def main():
    logs = pathlib.Path("lab-logs") / f"demo-{time.strftime('%Y%m%d-%H%M%S')}"
    with tempfile.TemporaryDirectory(prefix="host-lab-") as payload:
        say("building the package and the lab's programs")
        product.make_payload(payload)
        say("starting the emulated host and its three VMs (the first time this makes the host image: minutes)")
        with running_lab(logs, pathlib.Path(payload), flavor.get("dax")) as lab:
            newer = lab.host.flavor.newer
            say(f"the host runs {lab.host.kernel()}; hostupdatectl check and plan:")
            print(lab.service.ctl(f"plan {newer.arguments}").check().out)
            say(f"hostupdatectl update {newer.arguments} --yes")
            client = EchoClient(lab.host.echo_port)
            try:
                run = live_update(lab, client, "newer", program=service.CTL, options="--yes")
                run.check()
            finally:
                client.stop()
            say("updated; hostupdatectl report:\n")
            print(lab.service.ctl("report").check().out)
            print(run.guests_view())
    say(f"logs: {logs.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
