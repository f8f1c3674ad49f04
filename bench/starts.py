"""`trilith up` to its first answer, and what all of it takes while nothing happens."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from demo.process import Up

from bench import machine
from bench.client import Api
from bench.plan import Plan
from bench.real import Namespace, real_up
from bench.table import Row, Table

_SIMULATED = ("--simulated", "2", "--clouds-yaml", "none")


def simulated(plan: Plan, name: str) -> Up:
    return Up(plan.folder / name, listen=plan.listen(), args=_SIMULATED,
              env={"TRILITH_ADMIN_PASSWORD": plan.password})  # fmt: skip


def run(table: Table, plan: Plan) -> None:
    first: list[float] = []
    later: list[float] = []
    cpu: list[float] = []
    for number in range(plan.count(10, least=4)):
        up = simulated(plan, f"start-{number}")
        for took in (first, later):
            began = time.perf_counter()
            facts = up.start()
            _answers(facts)
            took.append(time.perf_counter() - began)
            if took is later:
                cpu.append(machine.cpu_seconds(facts["pid"]))
            up.stop()
    spent = sorted(cpu)[len(cpu) // 2]
    table.times("start", "`trilith up` to first answer, no daemons, new state", first,
                note="makes the database and the first image; not a goal of its own")  # fmt: skip
    table.times("start", "`trilith up` to first answer, no daemons", later, goal=1500, note=f"{spent:.2f} s CPU")


def idle_simulated(table: Table, plan: Plan) -> None:
    up = simulated(plan, "idle")
    facts = up.start()
    try:
        _answers(facts)
        Api(facts)  # one log-in: the memory of the password check is part of any cloud in use
        time.sleep(3)
        idle(table, plan, "idle, simulated", lambda: [facts["pid"]], facts["pid"])
    finally:
        up.stop()


def run_real(table: Table, plan: Plan) -> None:
    """First start, second start, and a minute of nothing, with every daemon."""
    with Namespace(plan) as namespace:
        up = real_up(plan, "r")
        try:
            began = time.perf_counter()
            facts = up.start()
            namespace.ready(facts)
            table.add(Row("start", "`trilith up` to daemons ready, new state", time.perf_counter() - began, "s",
                          note="probes of this host included"))  # fmt: skip
            answered, ready, adopted = [], [], []
            for _ in range(plan.count(5, least=2)):
                up.stop()
                began = time.perf_counter()
                facts = up.start()
                answered.append(time.perf_counter() - began)
                namespace.ready(facts)
                adopted.append(time.perf_counter() - began)
            table.times("start", "`trilith up` again beside its running daemons, to node ready", adopted,
                        note=f"first API answer after {statistics.median(answered) * 1e3:.0f} ms")  # fmt: skip
            for _ in range(plan.count(3, least=2)):
                up.stop()
                up.down()
                began = time.perf_counter()
                facts = up.start()
                namespace.ready(facts)
                ready.append(time.perf_counter() - began)
            table.times("start", "`trilith up`, second start, all daemons started and ready", ready, goal=3000)
            Api(facts)
            time.sleep(5)
            idle(table, plan, "idle, real", namespace.processes, facts["pid"])
        finally:
            up.stop()
            up.down()


def idle(table: Table, plan: Plan, section: str, processes: Callable[[], list[int]], control: int) -> None:
    before = {p.pid: p for pid in processes() if (p := machine.look(pid))}
    began = time.monotonic()
    time.sleep(plan.idle_seconds)
    after = [p for pid in processes() if (p := machine.look(pid)) and pid in before]
    took = time.monotonic() - began
    total_pss = total_cpu = 0.0
    for p in sorted(after, key=lambda p: (p.pid != control, -p.pss)):
        percent = (p.cpu - before[p.pid].cpu) / took * 100
        mine = p.pid == control
        name = "control plane" if mine else p.name
        table.add(Row(section, f"{name}: PSS", p.pss, "MiB", goal=150 if mine else None, note=f"RSS {p.rss:.0f} MiB"))
        table.add(Row(section, f"{name}: CPU over {took:.0f} s", percent, "% of a core", goal=1 if mine else None))
        total_pss += p.pss
        total_cpu += percent
    if len(after) > 1:
        table.add(Row(section, f"all {len(after)} processes: PSS", total_pss, "MiB"))
        table.add(Row(section, f"all {len(after)} processes: CPU", total_cpu, "% of a core"))


def _answers(facts: dict[str, str]) -> None:
    """The first answer: the version document, which needs no token."""
    api = Api(facts, token="none")
    status, _headers, _data = api.request("GET", "/identity/v3")
    if status != 200:
        raise RuntimeError(f"the API answered {status}")
