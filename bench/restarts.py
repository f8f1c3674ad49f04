"""A daemon killed with -9: how long a running guest is silent to a ping from outside, every 10 ms."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo import pictures

from bench.client import Api, Events, settled
from bench.plan import Plan
from bench.real import Namespace, real_up
from bench.table import Table

SECTION = "restart"
DAEMONS = ("ovs-vswitchd", "ovsdb-local", "ovn-controller", "ovsdb-central", "ovn-northd")
_REST = 61.0  # seconds after which a death counts as the first again: a crash loop is restarted ever later
_SETTLING = 3.0  # seconds: what the new daemon breaks while it starts belongs to what is measured


def run(table: Table, plan: Plan) -> None:
    tiny = pictures.built("tiny")[0]  # before: the namespace has no way out
    with Namespace(plan) as namespace:
        up = real_up(plan, "k")
        facts = up.start()
        try:
            namespace.ready(facts)
            address = _guest(Api(facts), tiny)
            found: dict[str, list[float]] = {name: [] for name in DAEMONS}
            for number in range(plan.count(4, least=1)):
                time.sleep(_REST if number else 0)
                for name in DAEMONS:
                    found[name].append(_silence(address, facts, name))
            for name, silences in found.items():
                goal = 1000 if name in ("ovs-vswitchd", "ovsdb-local") else None
                table.times(SECTION, f"{name} killed: longest silence of a container", silences, goal=goal)
        finally:
            up.stop()
            up.down()


def _guest(api: Api, tiny: Any) -> str:
    """A container's floating IP, answering."""
    api.unlimited()
    network = api.network("bench", "10.66.0.0/22")
    outside = api.call("GET", "/network/v2.0/networks?router:external=true")["networks"][0]["id"]
    body = {"name": "bench", "external_gateway_info": {"network_id": outside}}
    router = api.call("POST", "/network/v2.0/routers", {"router": body})["router"]["id"]
    subnet = api.call("GET", f"/network/v2.0/subnets?network_id={network}")["subnets"][0]["id"]
    api.call("PUT", f"/network/v2.0/routers/{router}/add_router_interface", {"subnet_id": subnet})
    group = api.call("GET", "/network/v2.0/security-groups?name=default")["security_groups"][0]["id"]
    rule = {"security_group_id": group, "direction": "ingress", "protocol": "icmp", "ethertype": "IPv4"}
    api.call("POST", "/network/v2.0/security-group-rules", {"security_group_rule": rule})
    image = api.upload("tiny", tiny.disk_format, tiny.path.read_bytes(), **tiny.properties)["id"]
    server = api.create("pinged", image, api.flavor("bench.lxc", ram=256, disk=2, pillar="lxc"), network)
    events = Events(api)
    try:
        settled(api, events, server)
    finally:
        events.close()
    port = api.call("GET", f"/network/v2.0/ports?device_id={server}")["ports"][0]["id"]
    body = {"floating_network_id": outside, "port_id": port}
    made = api.call("POST", "/network/v2.0/floatingips", {"floatingip": body})["floatingip"]
    return str(made["floating_ip_address"])


def _silence(address: str, facts: Mapping[str, Any], daemon: str) -> float:
    """Seconds. Raises RuntimeError for a guest that does not answer before or after."""
    subprocess.run(["ping", "-n", "-c", "1", "-w", "30", address], check=True, stdout=subprocess.DEVNULL)
    pinger = subprocess.Popen(["ping", "-n", "-D", "-i", "0.01", address], stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(0.3)
        os.kill(_pid(facts, daemon), signal.SIGKILL)
        time.sleep(_SETTLING)
    finally:
        pinger.send_signal(signal.SIGINT)
        out, _ = pinger.communicate(timeout=10)
    answers = [float(line[1 : line.index("]")]) for line in out.splitlines() if line.startswith("[") and "ttl=" in line]
    if len(answers) < 10 or time.time() - answers[-1] > 1:
        raise RuntimeError(f"{address} does not answer after {daemon} was killed")
    return max(b - a for a, b in itertools.pairwise(answers))


def _pid(facts: Mapping[str, Any], daemon: str) -> int:
    """The one that runs as a daemon of this cloud: all of its namespace with that mark."""
    mine = Path("/proc/thread-self/ns/net").stat().st_ino
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if (process / "ns/net").stat().st_ino == mine and f":{daemon}:".encode() in (
                process / "environ"
            ).read_bytes():
                return int(process.name)
        except OSError:  # it has ended
            continue
    raise RuntimeError(f"{daemon} does not run beside {facts['pid']}")
