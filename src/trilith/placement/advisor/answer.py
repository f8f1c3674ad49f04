"""An advice with what it was asked about and what it stands on: what /trilith/v1/advice answers, and what a report is
made of. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trilith.model.figures import MeasuredHost
from trilith.model.guest import Pillar
from trilith.placement.advisor.advice import Advice


class AskedBy(StrEnum):
    """What the workload was read from."""

    WORKLOAD = "workload"  # demands as somebody wrote them
    REQUEST = "request"  # an image and a flavor
    SERVER = "server"  # one that runs, with what it uses


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a running server was seen to use. cpu_share: of its virtual CPUs, 0 to 1, the mean since it started; None
    where that is not known. memory_mib: now; 0 where the pillar does not count it. uptime: seconds."""

    cpu_share: float | None
    memory_mib: int
    memory_of_mib: int
    uptime: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """name: the workload's title, or the server's name. forms: pillars that the image has a form for. named: the one
    that image or flavor names, which then decides. runs_on: the one that the server has now."""

    by: AskedBy
    name: str = ""
    image: str = ""
    flavor: str = ""
    forms: tuple[Pillar, ...] = ()
    named: Pillar | None = None
    runs_on: Pillar | None = None
    observed: Observed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandShown:
    """One demand of the workload. name: as files and rules call it. words: with its value."""

    name: str
    value: bool | int | float | str
    words: str
    words_zh: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKind:
    """Nodes that run one pillar alike."""

    pillar: Pillar
    count: int
    emulated: bool
    traits: tuple[str, ...]
    capabilities: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """What the advice stands on. nodes: in service. measured: nodes whose figures were measured; host: that of the
    latest. at, measured_at: UTC, "" for never. rules_file: the operator's, "" for none.

    host, rules_file and the traits of kinds are for those who may list nodes.
    """

    cloud: str
    version: str
    at: str
    nodes: int
    kinds: tuple[NodeKind, ...]
    measured: tuple[str, ...] = ()
    host: MeasuredHost | None = None
    measured_at: str = ""
    rules_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    advice: Advice
    asked: Asked
    demands: tuple[DemandShown, ...]
    grounds: Grounds
