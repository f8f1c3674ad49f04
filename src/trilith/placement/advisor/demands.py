"""The table of demands: each one's name, the field of Workload that keeps it, what it may be, and its words. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum

from trilith.placement.advisor import quantity
from trilith.placement.advisor.quantity import Kind, NotAllowed
from trilith.placement.advisor.workload import (
    Application,
    Compliance,
    Effort,
    Firmware,
    Network,
    OperatingSystem,
    Site,
    Team,
    Workload,
)

Value = bool | int | float | StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """words: how messages call it, with {} for its value; of a flag the words of true and of false.

    One of these says what it may be: flag; words of a vocabulary; a number from low to high, with a kind and the
    field's unit where it is an amount. whole: counts.
    """

    name: str
    field: str
    words: str
    words_zh: str
    negative: str = ""
    negative_zh: str = ""
    flag: bool = False
    vocabulary: type[StrEnum] | None = None
    kind: Kind | None = None
    unit: str = ""
    low: float = 0
    high: float = math.inf
    whole: bool = True

    @property
    def allowed(self) -> str:
        if self.flag:
            return "true or false"
        if self.vocabulary:
            return ", ".join(self.vocabulary)
        bounds = f"from {quantity.show(self.low, self.unit)} to {quantity.show(self.high, self.unit)}"
        if self.kind:
            return f"a {self.kind} {bounds}, with one of {quantity.units_of(self.kind)}"
        return f"a whole number {bounds}"

    def parse(self, given: object, *, bare: bool = False) -> Value:
        """A value as a file or form has it. bare: a number is in the field's own unit. Raises NotAllowed."""
        if self.flag:
            if isinstance(given, bool):
                return given
            raise NotAllowed(f"{self.name} is {_shown(given)}", self.allowed)
        if self.vocabulary:
            if isinstance(given, str) and given in list(self.vocabulary):
                return self.vocabulary(given)
            raise NotAllowed(f"{self.name} is {_shown(given)}", self.allowed)
        number = self._number(given, bare=bare)
        if not math.isfinite(number) or not self.low <= number <= self.high:
            raise NotAllowed(f"{self.name} is {_shown(given)}", self.allowed)
        if self.whole:
            if self.kind:  # an amount in another unit is rounded up: 1 GB is 954 MiB
                return math.ceil(number - 1e-9)
            if number != int(number):
                raise NotAllowed(f"{self.name} is {_shown(given)}", self.allowed)
            return int(number)
        return number

    def _number(self, given: object, *, bare: bool) -> float:
        if isinstance(given, bool) or not isinstance(given, int | float | str):
            raise NotAllowed(f"{self.name} is {_shown(given)}", self.allowed)
        if not isinstance(given, str):
            if self.kind and not bare:
                raise NotAllowed(f"{self.name} is {given:g} without a unit", self.allowed)
            return float(given)
        if self.kind is None:
            raise NotAllowed(f"{self.name} is {_shown(given)}", self.allowed)
        if bare:
            self._same_unit(given)
        return quantity.in_unit(given, self.kind, self.unit)

    def _same_unit(self, given: str) -> None:
        """A field whose name says its unit takes no other."""
        written = quantity.read(given, self.kind).unit
        if written != self.unit and (written, self.unit) != ("us", "µs"):
            raise NotAllowed(
                f"{self.field} says {self.unit}, its value says {written or 'nothing'}: contradictory units",
                f"a number in {self.unit}, or {self.name} with a unit",
            )

    def show(self, value: Value, *, chinese: bool = False) -> str:
        """The demand in words: "own kernel", "start within 50 ms"."""
        words, negative = (self.words_zh, self.negative_zh) if chinese else (self.words, self.negative)
        if self.flag:
            return words if value else negative
        shown = quantity.show(value, self.unit) if isinstance(value, int | float) else str(value)
        return words.format(shown)


def _shown(given: object) -> str:
    text = repr(given)
    return text if len(text) <= 40 else text[:37] + "..."


def _count(name: str, words: str, words_zh: str, high: int, *, field: str = "") -> Demand:
    return Demand(name=name, field=field or name, words=words, words_zh=words_zh, low=1, high=high)


def _flag(name: str, words: str, words_zh: str, negative: str, negative_zh: str) -> Demand:
    return Demand(
        name=name,
        field=name,
        words=words,
        words_zh=words_zh,
        negative=negative,
        negative_zh=negative_zh,
        flag=True,
    )


def _choice(name: str, words: str, words_zh: str, vocabulary: type[StrEnum]) -> Demand:
    return Demand(name=name, field=name, words=words, words_zh=words_zh, vocabulary=vocabulary)


_HOUR_MS = 3_600_000

DEMANDS: tuple[Demand, ...] = (
    _choice("application", "application: {}", "应用类型：{}", Application),
    _choice("site", "site: {}", "地点：{}", Site),
    _count("servers", "servers: {}", "{} 台服务器", 10_000_000),
    _count("nodes", "nodes: {}", "{} 个节点", 100_000),
    _count("tenants", "tenants: {}", "{} 个租户", 1_000_000),
    _flag(
        "shared_kernel_allowed", "a shared kernel is allowed", "允许共享内核", "no shared kernel", "不允许共享内核"
    ),
    _flag(
        "hardware_isolation",
        "hardware isolation",
        "硬件级隔离",
        "basic isolation is enough",
        "基本隔离即可",
    ),
    _choice("compliance", "compliance: {}", "合规要求：{}", Compliance),
    _flag("own_kernel", "own kernel", "自有内核", "no own kernel", "不需要自有内核"),
    _flag("kernel_modules", "kernel modules", "加载内核模块", "no kernel modules", "不加载内核模块"),
    _flag(
        "nested_virtualization", "nested virtualization", "嵌套虚拟化", "no nested virtualization", "不需要嵌套虚拟化"
    ),
    _choice("operating_system", "operating system: {}", "操作系统：{}", OperatingSystem),
    _choice("firmware", "firmware: {}", "固件：{}", Firmware),
    _flag("tpm", "a TPM", "TPM", "no TPM", "不需要 TPM"),
    _choice("network", "network: {}", "网络：{}", Network),
    Demand(
        name="latency", field="latency_us", words="latency within {}", words_zh="延迟不超过 {}", kind=Kind.DURATION,
        unit="µs", low=1, high=1e7, whole=False,
    ),
    Demand(
        name="packet_rate", field="packet_rate_pps", words="{} a guest", words_zh="每台客户机 {}", kind=Kind.RATE,
        unit="pps", low=1, high=1e9,
    ),
    Demand(
        name="start_within", field="start_within_ms", words="start within {}", words_zh="{} 内启动",
        kind=Kind.DURATION, unit="ms", low=0.1, high=_HOUR_MS, whole=False,
    ),
    _count("guests_per_node", "guests a node: {}", "每节点 {} 台客户机", 100_000),
    Demand(
        name="memory_per_guest", field="memory_per_guest_mib", words="{} a guest", words_zh="每台客户机 {} 内存",
        kind=Kind.SIZE, unit="MiB", low=1, high=64 * 1024 * 1024,
    ),
    _flag("stateful", "state that lasts", "有状态", "no state that lasts", "无状态"),
    _flag("live_migration", "live migration", "热迁移", "no live migration", "不需要热迁移"),
    _flag(
        "cross_cloud_migration",
        "migration to and from another cloud",
        "跨云迁移",
        "no migration to another cloud",
        "不需要跨云迁移",
    ),
    _count("gpus", "GPUs a guest: {}", "每台客户机 {} 个 GPU", 64),
    _count("virtual_functions", "SR-IOV functions a guest: {}", "每台客户机 {} 个 SR-IOV 功能", 256),
    _flag(
        "confidential_computing",
        "confidential computing",
        "机密计算",
        "no confidential computing",
        "不需要机密计算",
    ),
    _choice("team", "team: {}", "团队：{}", Team),
    _choice("operating_effort", "operating effort: {}", "运维投入：{}", Effort),
)  # fmt: skip

BY_NAME: Mapping[str, Demand] = {d.name: d for d in DEMANDS}
BY_FIELD: Mapping[str, Demand] = {d.field: d for d in DEMANDS}
_FIELDS: tuple[tuple[str, str], ...] = tuple((d.name, d.field) for d in DEMANDS)
assert {d.field for d in DEMANDS} | {"title"} == {f.name for f in fields(Workload)}


def demanded(workload: Workload) -> dict[str, Value]:
    """Name → value of what the workload demands, in the table's order."""
    found = {}
    for name, field in _FIELDS:
        value = getattr(workload, field)
        if value is not None:
            found[name] = value
    return found


def in_words(workload: Workload, names: tuple[str, ...], *, chinese: bool = False) -> str:
    """The named demands with their values: "own kernel and start within 50 ms"."""
    shown = [BY_NAME[n].show(getattr(workload, BY_NAME[n].field), chinese=chinese) for n in names]
    if len(shown) < 2:
        return "".join(shown)
    return ("、".join(shown[:-1]) + " 和 " if chinese else ", ".join(shown[:-1]) + " and ") + shown[-1]
