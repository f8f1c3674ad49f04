"""The control plane alone, over simulated nodes: requests, jobs and the store, with no guest behind them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from demo.process import Up

from bench import machine
from bench.client import Api, Events, gone, settled
from bench.plan import Plan
from bench.table import Row, Table

SECTION = "control plane"


def run(table: Table, plan: Plan) -> None:
    up = Up(plan.folder / "control", listen=plan.listen(), args=("--simulated", "2", "--clouds-yaml", "none"),
            env={"TRILITH_ADMIN_PASSWORD": plan.password})  # fmt: skip
    facts = up.start()
    try:
        api = Api(facts)
        api.unlimited()
        image = api.image("tiny")
        assert image is not None
        flavor = api.flavor("bench.none", ram=1, disk=0)
        network = api.network("bench", "10.66.0.0/18")
        tokens(table, plan, api, facts["pid"])
        for net, goal in (("", 20.0), (network, 30.0)):
            one_by_one(table, plan, api, facts["pid"], image["id"], flavor, net, goal)
        many(table, plan, api, facts["pid"], image["id"], flavor, network)
        listing(table, plan, api, facts["pid"], image["id"], flavor)
    finally:
        up.stop()


def one_by_one(table: Table, plan: Plan, api: Api, pid: int, image: str, flavor: str, network: str,
               goal: float) -> None:  # fmt: skip
    events = Events(api)
    took: list[float] = []
    spent = 0.0
    try:
        for number in range(plan.count(60) + 5):
            cpu = machine.cpu_seconds(pid)
            began = time.perf_counter()
            server = api.create(f"one-{number}", image, flavor, network)
            settled(api, events, server)
            if number >= 5:  # the first ones fill caches
                took.append(time.perf_counter() - began)
                spent += machine.cpu_seconds(pid) - cpu
            api.delete(server)
            gone(api, events, server)
    finally:
        events.close()
    what = "POST /servers to ACTIVE, " + ("one port" if network else "no port")
    table.times(SECTION, what, took, goal=goal, note=f"{spent / len(took) * 1e3:.0f} ms CPU of the control plane each")


def many(table: Table, plan: Plan, api: Api, pid: int, image: str, flavor: str, network: str) -> None:
    """100 servers from 8 clients, each waiting for its own before it makes the next."""
    for net, what in (("", "no port"), (network, "one port")):
        total, clients = plan.count(100), 8
        events = Events(api)
        try:
            cpu, began = machine.cpu_seconds(pid), time.perf_counter()
            made = _burst(api, events, total, clients, image, flavor, net)
            took, spent = time.perf_counter() - began, machine.cpu_seconds(pid) - cpu
            note = f"{total / took:.0f} a second; {spent / total * 1e3:.0f} ms CPU each"
            table.add(Row(SECTION, f"{total} servers from {clients} clients, {what}", took, "s", note=note))
            for server in made:
                api.delete(server)
            for server in made:
                gone(api, events, server)
        finally:
            events.close()


def _burst(api: Api, events: Events, total: int, clients: int, image: str, flavor: str, network: str) -> list[str]:
    numbers = iter(range(total))
    lock = threading.Lock()
    made: list[str] = []

    def work() -> None:
        mine = api.again()
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            server = mine.create(f"many-{number}", image, flavor, network)
            settled(mine, events, server)
            made.append(server)

    in_threads(clients, work)
    if len(made) != total:
        raise RuntimeError(f"{len(made)} of {total} servers became ACTIVE")
    return made


def listing(table: Table, plan: Plan, api: Api, pid: int, image: str, flavor: str) -> None:
    total = plan.count(1000, least=200)
    events = Events(api)
    made = [api.create(f"list-{number}", image, flavor) for number in range(total)]
    for server in made:
        settled(api, events, server)
    events.close()
    took, path = [], "/compute/v2.1/servers/detail"
    cpu = machine.cpu_seconds(pid)
    rounds = plan.count(20)
    for _ in range(rounds):
        began = time.perf_counter()
        found = api.call("GET", path)["servers"]
        took.append(time.perf_counter() - began)
        if len(found) != total:
            raise RuntimeError(f"the list has {len(found)} of {total} servers")
    spent = (machine.cpu_seconds(pid) - cpu) / rounds * 1e3
    goal = 100.0 if total == 1000 else None
    table.times(SECTION, f"list of {total:,} servers with details", took, goal=goal, note=f"{spent:.0f} ms CPU each")


def tokens(table: Table, plan: Plan, api: Api, pid: int) -> None:
    def rate(what: str, count: int, request: Callable[[], int], wanted: int) -> None:
        for _ in range(3):
            request()
        cpu, took = machine.cpu_seconds(pid), []
        for _ in range(count):
            began = time.perf_counter()
            status = request()
            took.append(time.perf_counter() - began)
            if status != wanted:
                raise RuntimeError(f"{what}: {status}")
        spent = (machine.cpu_seconds(pid) - cpu) / count
        table.times(SECTION, what, took, note=f"{spent * 1e3:.2f} ms CPU; {1 / spent:,.0f} a second and core")

    path = "/identity/v3/auth/tokens"
    password, token = api.credentials(), api.rescope()
    subject = {"X-Subject-Token": api.token}
    rate("token made, password checked", plan.count(20), lambda: api.request("POST", path, password)[0], 201)
    rate("token made from a token", plan.count(200), lambda: api.request("POST", path, token)[0], 201)
    rate("token checked", plan.count(400), lambda: api.request("GET", path, headers=subject)[0], 200)
    rate("request with a token (GET one flavor list)", plan.count(200),
         lambda: api.request("GET", "/compute/v2.1/flavors")[0], 200)  # fmt: skip


def in_threads(count: int, work: Callable[[], None]) -> None:
    """Run `work` in so many threads. Raises the first failure."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as err:  # noqa: BLE001  raised below, in the caller's thread
            failures.append(err)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
