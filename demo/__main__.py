"""`make demo`: start the cloud on this machine, show it on real guests, end it, and show that nothing of it is left."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from demo import host, pictures
from demo.ledger import Ledger
from demo.process import Up, connect
from demo.scenario import Scenario
from trilith.agent.local_node import run_directory
from trilith.cli import probe_kernel
from trilith.config import Settings
from trilith.errors import TrilithError
from trilith.images import BuiltImage

STATE = Path("/var/lib/trilith-demo")
LISTEN = "127.0.0.1:7481"
#: of its own, so that a cloud that runs here already is not in the way
SETTINGS = {
    "TRILITH_INTEGRATION_BRIDGE": "td-int",
    "TRILITH_EXTERNAL_BRIDGE": "td-ex",
    "TRILITH_EXTERNAL_CIDR": "172.24.8.0/24",
    "TRILITH_CLOUDS_YAML": "none",
    "TRILITH_CONTAINER_POOL_GIB": "48",
}
#: seconds for this machine's own node to say what it can run
_NODE_PATIENCE = 90.0
_LET_GO = 20.0


def main() -> int:
    if os.geteuid() != 0:
        sys.stderr.write("make demo runs real containers, machines and networks: run it as root.\n")
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    up = Up(STATE, listen=LISTEN, env=SETTINGS)
    if (STATE / "trilith.db").exists():
        sys.stdout.write("an earlier demo did not end: ending it\n")
        up.down()
        shutil.rmtree(STATE)
    ledger = Ledger()
    before = host.look()
    code = 1
    advice: list[str] = []
    marks = [str(STATE), run_directory(Settings(state=STATE)).name]
    try:
        _show(up, ledger, marks, advice)
        code = 0
    except KeyboardInterrupt:
        sys.stdout.write("\ninterrupted: cleaning up\n")
        code = 130
    except (TrilithError, RuntimeError, OSError) as err:
        sys.stderr.write(f"\nthe demo failed: {err}\n")
    except Exception as err:  # noqa: BLE001  whatever the client raised: what was started must end all the same
        sys.stderr.write(f"\nthe demo failed: {type(err).__name__}: {err}\n")
    if code == 1 and (STATE / "up.log").exists():
        sys.stderr.write(f"the end of the cloud's log:\n{up.tail(2000)}\n")
    code = _end(up, ledger, before, marks) or code
    sys.stdout.write("\n" + ledger.table())
    if advice:
        sys.stdout.write("\nwhat the advisor says of the two servers that just ran\n\n" + "\n".join(advice))
    sys.stdout.write("\neverything worked, and nothing is left\n" if code == 0 else "\nthe demo did NOT succeed\n")
    return code


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _show(up: Up, ledger: Ledger, marks: list[str], advice: list[str]) -> None:
    """advice: gets what the advisor said of the servers, lines."""
    images = [_picture(name, ledger) for name in ("tiny", "debian-12")]
    # the probe of what KVM can do here boots this kernel, so it must lie there before the node looks
    probe_kernel.hand_over(images[0].path, STATE / "node" / "probe-kernel")
    with ledger.step("trilith up, to the first answer") as notes:
        facts = up.start()
        notes.append(facts["url"])
    cloud = connect(facts)
    with ledger.step("this machine's node") as notes:
        traits = _node(cloud)
        kvm = "CUSTOM_KVM_LINUX" in traits
        notes.append("VMs under KVM" if kvm else "VMs are emulated: KVM does not run a Linux kernel here")
    for image in images:
        with ledger.step(f"upload {image.name}") as notes:
            pictures.upload(cloud, image)
            notes.append(f"{image.path.stat().st_size / 2**20:.0f} MiB")
    machine = images[1] if kvm else images[0]
    scenario = Scenario(
        cloud=cloud,
        ledger=ledger,
        folder=STATE / "keys",
        container_image=images[1].name,
        container_user=images[1].properties["os_admin_user"],
        machine_image=machine.name,
        machine_user=machine.properties["os_admin_user"],
        machine_flavor="m1.small" if kvm else "m1.tiny",
        ids=marks,
        advice=advice,
    )
    scenario.run()
    with ledger.step("delete the images"):
        for image in images:
            cloud.image.delete_image(cloud.image.find_image(image.name))


def _picture(name: str, ledger: Ledger) -> BuiltImage:
    with ledger.step(f"image {name}") as notes:
        image, fresh = pictures.built(name)
        notes.append("built" if fresh else "built before")
        return image


def _node(cloud: Any) -> set[str]:
    """The traits of the one node, once it is up. Raises RuntimeError."""
    end = time.monotonic() + _NODE_PATIENCE
    while time.monotonic() < end:
        # the node says what it can run when it has found out, which takes seconds on its first start
        if [h for h in cloud.compute.hypervisors() if h.state == "up"]:
            provider = next(iter(cloud.placement.resource_providers()))
            answer = cloud.placement.get(f"/resource_providers/{provider.id}/traits", microversion="1.6")
            return set(answer.json()["traits"])
        time.sleep(0.2)
    raise RuntimeError(f"no node within {_NODE_PATIENCE:.0f} s")


def _end(up: Up, ledger: Ledger, before: host.Host, marks: list[str]) -> int:
    """Stop all of it and look. 0 when nothing is left."""
    # a second Ctrl-C must not leave half of it behind
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if (STATE / "trilith.db").exists():
            with ledger.step("trilith down --guests") as notes:
                said = up.down()
                up.stop()
                notes += [line for line in said.splitlines() if "removed" in line]
        with ledger.step("look for what is left on this machine") as notes:
            # the kernel lets go of a loop device some time after its last user, and tells nobody
            end = time.monotonic() + _LET_GO
            while (left := host.look().left_since(before, marks)) and time.monotonic() < end:
                time.sleep(0.2)
            if left:
                raise RuntimeError("left: " + "; ".join(f"{kind}: {', '.join(what)}" for kind, what in left.items()))
            notes.append("no process, namespace, interface, mount, loop device or cgroup")
        shutil.rmtree(STATE, ignore_errors=True)
    except (RuntimeError, OSError) as err:
        sys.stderr.write(f"\n{err}\nits files are kept in {STATE}\n")
        up.kill()
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
