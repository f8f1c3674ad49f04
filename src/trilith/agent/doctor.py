"""Is this host fit to be a node, and is the cloud on it well? Found by trying, each finding with what to do.

Trials run in directories, namespaces and cgroups of their own and leave nothing, also when they are cut short. The
host's own switch, libvirt, containers and interfaces are read at most.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from trilith.config import Settings
from trilith.errors import TrilithError


class Level(StrEnum):
    """fine; warning: works, less well or less safely; problem: does not work; unknown: could not be asked."""

    FINE = "fine"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """check names the row of CHECKS that found it. todo: what to do, "" when nothing. seconds: of its check so far."""

    check: str
    level: Level
    text: str
    todo: str = ""
    seconds: float = 0.0
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one check says; `examine` adds its name and time."""

    level: Level
    text: str
    todo: str = ""
    facts: dict[str, str] = field(default_factory=dict)


def fine(text: str, **facts: str) -> Said:
    return Said(level=Level.FINE, text=text, facts=facts)


def warning(text: str, todo: str = "", **facts: str) -> Said:
    return Said(level=Level.WARNING, text=text, todo=todo, facts=facts)


def problem(text: str, todo: str, **facts: str) -> Said:
    return Said(level=Level.PROBLEM, text=text, todo=todo, facts=facts)


def unknown(text: str, todo: str = "") -> Said:
    return Said(level=Level.UNKNOWN, text=text, todo=todo)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What is examined. scratch: a directory on the disk where servers would live, removed afterwards."""

    settings: Settings
    root: bool
    work: Path  # where trials make their directories


Check = Callable[[Patient], Awaitable[list[Said]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One check. trial: it starts something, and needs root for that."""

    name: str
    what: str
    run: Check
    trial: bool = False


def checks() -> tuple[Row, ...]:
    """All of them, in the order in which they are made. Imported here: a look at the table costs no driver."""
    from trilith.agent import doctor_cloud, doctor_host, doctor_trials

    return (
        Row(name="system", what="distribution and kernel", run=doctor_host.system),
        Row(name="packages", what="programs that are needed", run=doctor_host.packages),
        Row(name="clock", what="the clock", run=doctor_host.clock),
        Row(name="disk", what="disk space and speed", run=doctor_host.disk),
        Row(name="cgroups", what="control groups", run=doctor_host.cgroups),
        Row(name="user-namespaces", what="user namespaces", run=doctor_host.user_namespaces),
        Row(name="confinement", what="AppArmor, seccomp, lxcfs", run=doctor_host.confinement),
        Row(name="datapath", what="the switch's datapath", run=doctor_host.datapath),
        Row(name="firewall", what="nftables and forwarding", run=doctor_host.firewall),
        Row(name="ports", what="addresses to listen on", run=doctor_host.ports),
        Row(name="cloud", what="the cloud on this host", run=doctor_cloud.cloud),
        Row(name="kvm", what="KVM: two probe guests", run=doctor_trials.kvm, trial=True),
        Row(name="container", what="a container and its limits", run=doctor_trials.container, trial=True),
        Row(name="network", what="a ping through OVN", run=doctor_trials.network, trial=True),
    )


async def examine(
    settings: Settings,
    *,
    tell: Callable[[Finding], None],
    begin: Callable[[Row], None] = lambda row: None,
    only: frozenset[str] = frozenset(),
) -> list[Finding]:
    """Make all checks (or `only` those), one after the other: trials measure, and two at once would disturb.

    `begin` is called before each check, `tell` with each finding.
    """
    root = os.geteuid() == 0
    patient = Patient(settings=settings, root=root, work=await asyncio.to_thread(_work, settings, root))
    found: list[Finding] = []
    for row in checks():
        if only and row.name not in only:
            continue
        begin(row)
        began = time.monotonic()
        for said in await _said(row, patient):
            finding = Finding(
                check=row.name,
                level=said.level,
                text=said.text,
                todo=said.todo,
                seconds=round(time.monotonic() - began, 3),
                facts=said.facts,
            )
            found.append(finding)
            tell(finding)
    return found


async def _said(row: Row, patient: Patient) -> list[Said]:
    if row.trial and not patient.root:
        return [unknown(f"{row.what}: only root can try.", "sudo trilith doctor")]
    try:
        return await row.run(patient)
    except TrilithError as err:
        # a trial that fails in the driver's own words is the finding
        return [problem(f"{row.what}: {err.message}", err.hint or "What the checks above found may be why.")]


def _work(settings: Settings, root: bool) -> Path:
    """The nearest directory that exists, so that the trial's disk is that of the servers to come."""
    place = settings.state
    while not place.is_dir():
        place = place.parent
    if root and os.access(place, os.W_OK):
        return place
    return Path("/var/tmp")
