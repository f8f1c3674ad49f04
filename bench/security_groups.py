"""Rules of a security group, asked for in one request: how long until all are in force on the group's ports.

A real cloud with OVN in a namespace of its own; ports are plugged into its switch by hand, so that no guest's start is
part of it. In force: the switch's flow table has what it has when nothing changes any more.
"""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import machine
from bench.client import Api
from bench.plan import Plan
from bench.real import Namespace, real_up
from bench.table import Row, Table

SECTION = "security groups"
PORTS = 2
#: seconds without a change after which the flow table counts as settled
_STILL = 2.0
GOALS = {1000: 1.0, 10_000: 10.0}
#: what the rules have in common: those that differ in one value share rows in OVN, others have one each
KINDS = {"one port, many prefixes": False, "nothing in common": True}


def run(table: Table, plan: Plan) -> None:
    run_dir = plan.folder / "r"
    with Namespace(plan) as namespace:
        up = real_up(plan, "sg", RUN=str(run_dir), CONTAINER_POOL_GIB="1")
        facts = up.start()
        try:
            namespace.ready(facts)
            for turn, (count, kind) in enumerate(itertools.product(GOALS, KINDS)):
                _measure(table, Api(facts), facts, run_dir, count, kind, turn)
        finally:
            up.stop()
            up.down()


def _measure(table: Table, api: Api, facts: Mapping[str, Any], run_dir: Path, count: int, kind: str,
             turn: int) -> None:  # fmt: skip
    api.unlimited()
    project = api.call("GET", "/identity/v3/auth/tokens", headers={"X-Subject-Token": api.token})["token"]["project"]
    api.call("PUT", f"/network/v2.0/quotas/{project['id']}",
             {"quota": {"security_group": -1, "security_group_rule": -1}})  # fmt: skip
    network = api.network("rules", "10.77.0.0/24")
    body = {"security_group": {"name": f"rules-{turn}"}}
    group = api.call("POST", "/network/v2.0/security-groups", body)["security_group"]["id"]
    for number in range(PORTS):
        port = {"network_id": network, "security_groups": [group], "name": f"rules-{number}"}
        made = api.call("POST", "/network/v2.0/ports", {"port": port})["port"]
        _plug(run_dir, f"b{turn}-{number}", made["id"], made["mac_address"])
        _active(api, made["id"])
    before = _settled(run_dir)[0]
    step = int(KINDS[kind])  # 0: the same port for all
    rules = [
        {
            "security_group_id": group,
            "direction": "ingress",
            "ethertype": "IPv4",
            "protocol": "tcp",
            "port_range_min": 1 + number * step,
            "port_range_max": 1 + number * step,
            "remote_ip_prefix": f"198.18.{number // 256}.{number % 256}/32",
        }
        for number in range(count)
    ]
    cpu, began = machine.cpu_seconds(facts["pid"]), time.monotonic()
    answer = api.call("POST", "/network/v2.0/security-group-rules", {"security_group_rules": rules})
    answered = time.monotonic()
    if len(answer["security_group_rules"]) != count:
        raise RuntimeError(f"{len(answer['security_group_rules'])} of {count} rules were made")
    after, since = _settled(run_dir, before + count)
    spent = machine.cpu_seconds(facts["pid"]) - cpu
    note = f"answered after {answered - began:.2f} s; {after - before:,} flows; {spent:.2f} s CPU of the control plane"
    what = f"{count:,} rules in one request ({kind}), in force on {PORTS} ports"
    table.add(Row(SECTION, what, since - began, "s", goal=GOALS[count], note=note))
    one = {"security_group_id": group, "direction": "ingress", "ethertype": "IPv4", "protocol": "icmp"}
    began = time.monotonic()
    api.call("POST", "/network/v2.0/security-group-rules", {"security_group_rule": one})
    _, since = _settled(run_dir, after + PORTS)
    table.add(Row(SECTION, f"one rule more, after {count:,} ({kind})", since - began, "s"))


def _plug(run_dir: Path, name: str, port_id: str, mac: str) -> None:
    argv = ["ovs-vsctl", f"--db=unix:{run_dir}/db.sock", "add-port", "br-int", name, "--", "set", "Interface", name,
            "type=internal", f"external_ids:iface-id={port_id}", f"external_ids:attached-mac={mac}"]  # fmt: skip
    subprocess.run(argv, check=True)


def _active(api: Api, port_id: str) -> None:
    until = time.monotonic() + 30
    while api.call("GET", f"/network/v2.0/ports/{port_id}")["port"]["status"] != "ACTIVE":
        if time.monotonic() > until:
            raise RuntimeError(f"port {port_id} does not come up")
        time.sleep(0.05)


def _settled(run_dir: Path, least: int = 0) -> tuple[int, float]:
    """The number of flows once it stands still at `least` or more, and when it was reached."""
    count, since = _flows(run_dir), time.monotonic()
    until = since + 120
    while time.monotonic() < since + _STILL or count < least:
        now = _flows(run_dir)
        if now != count:
            count, since = now, time.monotonic()
        if time.monotonic() > until:
            raise RuntimeError(f"the flow table does not come to rest: {count} flows, {least} or more are wanted")
        time.sleep(0.02)
    return count, since


def _flows(run_dir: Path) -> int:
    argv = ["ovs-ofctl", "dump-aggregate", f"unix:{run_dir}/br-int.mgmt"]
    told = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return int(told.rsplit("flow_count=", 1)[1].split()[0])
