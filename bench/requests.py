"""What a request costs: CPU of the control plane, beside a twentieth of OpenStack's own on the same kind of machine.

OpenStack's figures are of Debian's Zed packages with a fake hypervisor (two workers a service, all processes counted),
those of Placement 16.0 of its WSGI application alone, with SQLite and no token to check. What was not measured at the
same size is scaled: ports linearly from 0 and 550.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from demo.process import Up

from bench import machine
from bench.client import Api, Events, settled
from bench.plan import Plan
from bench.table import Row, Table, spread

SECTION = "requests"
#: how many times less CPU than OpenStack
GOAL = 20.0
_LATEST = {"OpenStack-API-Version": "placement 1.39"}


@dataclass(frozen=True)
class Known:
    """OpenStack's CPU milliseconds for the same request, and what they are of."""

    cpu: float
    of: str = ""


def run(table: Table, plan: Plan) -> None:
    up = Up(plan.folder / "requests", listen=plan.listen(), args=("--simulated", "2", "--clouds-yaml", "none"),
            env={"TRILITH_ADMIN_PASSWORD": plan.password})  # fmt: skip
    facts = up.start()
    try:
        api = Api(facts)
        api.unlimited()
        bench = _Bench(table, plan, api, facts["pid"])
        _tokens(bench)
        _servers(bench)
        _network(bench)
        bench.get("image list", "/image/v2/images", 200, Known(20))
        _candidates(bench)
    finally:
        up.stop()


@dataclass
class _Bench:
    table: Table
    plan: Plan
    api: Api
    pid: int

    def measure(self, what: str, rounds: int, once: Callable[[], None], known: Known | None, size: str = "") -> None:
        """Median CPU of one `once` (what the cloud does at its own times is in few of them), and how many of them one
        client gets in a second."""
        for _ in range(3):
            once()
        rounds = self.plan.count(rounds)
        spent: list[float] = []
        began = time.perf_counter()
        for _ in range(rounds):
            cpu = machine.cpu_seconds(self.pid)
            once()
            spent.append((machine.cpu_seconds(self.pid) - cpu) * 1e3)
        took, middle = time.perf_counter() - began, statistics.median(spent)
        note = f"{rounds / took:,.0f} a second from one client"
        if size:
            note += f"; {size}"
        if known is not None:
            note += f"; OpenStack {known.cpu:,.0f} ms{', ' + known.of if known.of else ''}: "
            note += f"{known.cpu / middle:,.0f} times as much"
        goal = known.cpu / GOAL if known else None
        self.table.add(Row(SECTION, what, middle, "ms CPU", spread(spent), rounds, goal, note=note))

    def get(self, what: str, path: str, rounds: int, known: Known | None, *, headers: dict[str, str] | None = None,
            wanted: int = 200) -> None:  # fmt: skip
        size = [0]

        def once() -> None:
            status, _headers, data = self.api.request("GET", path, headers=headers)
            if status != wanted:
                raise RuntimeError(f"GET {path}: {status} {data[:300]!r}")
            size[0] = len(data)

        once()
        self.measure(what, rounds, once, known, f"{size[0] / 1024:,.0f} KiB" if size[0] > 10_240 else "")


def _tokens(bench: _Bench) -> None:
    path = "/identity/v3/auth/tokens"
    body = bench.api.rescope()

    def made() -> None:
        status, _headers, data = bench.api.request("POST", path, body)
        if status != 201:
            raise RuntimeError(f"token: {status} {data[:300]!r}")

    bench.measure("token create (no password to verify)", 300, made, Known(22, "of a check"))
    bench.get("token check", path, 400, Known(17), headers={"X-Subject-Token": bench.api.token})
    bench.get("flavor list", "/compute/v2.1/flavors", 200, Known(13))
    bench.get("network list", "/network/v2.0/networks", 200, Known(103))


def _servers(bench: _Bench) -> None:
    api = bench.api
    image = api.image("tiny")
    assert image is not None
    flavor = api.flavor("bench.none", ram=1, disk=0)
    path, have = "/compute/v2.1/servers/detail", 0
    for total, rounds, known in ((0, 200, Known(30)), (100, 50, Known(301)), (1000, 12, Known(2400))):
        events = Events(api)
        made = [api.create(f"list-{number}", image["id"], flavor) for number in range(have, total)]
        for server in made:
            settled(api, events, server)
        events.close()
        have = total
        found = len(api.call("GET", path)["servers"])
        if found != total:
            raise RuntimeError(f"the list has {found} of {total} servers")
        bench.get(f"server list with details, {total:,}", path, rounds, known)

    def pages() -> None:
        seen, rest = 0, f"{path}?limit=100"
        while rest:
            page = api.call("GET", rest)
            seen += len(page["servers"])
            links = page.get("servers_links", [])
            rest = links[0]["href"].partition(api.facts["url"].partition("/identity")[0])[2] if links else ""
        if seen != have:
            raise RuntimeError(f"the pages have {seen} of {have} servers")

    bench.measure("the same in pages of 100", 6, pages, Known(2400, "in one page"))


def _network(bench: _Bench) -> None:
    api = bench.api
    network = api.network("bench", "10.66.0.0/16")
    for _ in range(10):
        ports = [{"network_id": network, "name": "bench"}] * 100
        api.call("POST", "/network/v2.0/ports", {"ports": ports})
    path = "/network/v2.0/ports"
    found = len(api.call("GET", path)["ports"])
    if found < 1000:
        raise RuntimeError(f"the list has {found} of 1000 ports")
    bench.get("port list, 1,000", path, 12, Known(38 + (290 - 38) / 550 * 1000, "scaled from 550"))
    group = api.call("POST", "/network/v2.0/security-groups", {"security_group": {"name": "bench"}})["security_group"]
    number = iter(range(1, 65_000))

    def rule() -> None:
        port = next(number)
        body = {"security_group_id": group["id"], "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp"}
        body |= {"port_range_min": port, "port_range_max": port}
        api.call("POST", "/network/v2.0/security-group-rules", {"security_group_rule": body})

    bench.measure("security group rule create", 60, rule, Known(190))


def _candidates(bench: _Bench) -> None:
    """1,000 hosts as Nova describes them, beside the cloud's own nodes."""
    api = bench.api
    traits = list(api.call("GET", "/placement/traits?name=startswith:HW_CPU_X86_A", headers=_LATEST)["traits"])
    stock = {"VCPU": {"total": 64, "allocation_ratio": 16.0}, "MEMORY_MB": {"total": 262144, "reserved": 512},
             "DISK_GB": {"total": 4000}}  # fmt: skip
    for number in range(1000):
        made = api.call("POST", "/placement/resource_providers", {"name": f"host-{number}"}, headers=_LATEST)
        base, generation = f"/placement/resource_providers/{made['uuid']}", made["generation"]
        body: dict[str, object] = {"inventories": stock, "resource_provider_generation": generation}
        api.call("PUT", f"{base}/inventories", body, headers=_LATEST)
        body = {"traits": traits if number % 10 else traits[:1], "resource_provider_generation": generation + 1}
        api.call("PUT", f"{base}/traits", body, headers=_LATEST)
    wanted = "/placement/allocation_candidates?resources=VCPU:2,MEMORY_MB:4096,DISK_GB:40"
    for what, query, known in (
        ("all", "", Known(PLACEMENT_ALL, "Placement's own")),
        ("limit 10", "&limit=10", Known(PLACEMENT_LIMIT, "Placement's own")),
        ("required trait", f"&required={traits[-1]}&limit=1000", None),
        ("two groups", "&resources1=VCPU:1&group_policy=none&limit=1000", None),
        ("what nobody has", "&resources1=VGPU:1&group_policy=none", None),
    ):
        bench.get(f"allocation candidates over 1,000 providers, {what}", wanted + query, 40, known, headers=_LATEST)
    bench.get("provider list, 1,000", "/placement/resource_providers", 40, None, headers=_LATEST)


#: CPU milliseconds of Placement 16.0 for the same questions over the same 1,000 providers, one process, SQLite, noauth
PLACEMENT_ALL = 177.0
PLACEMENT_LIMIT = 113.0
