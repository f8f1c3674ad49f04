"""Machines of the cloud, and what placement knows of them (Placement's own nouns)."""

from __future__ import annotations

from dataclasses import dataclass, field

from trilith.model.guest import HostFacts
from trilith.model.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Node(Record):
    """alive is what the agent's connection says; enabled is the operator's wish (os-services)."""

    name: str
    enabled: bool = True
    disabled_reason: str = ""
    forced_down: bool = False
    alive: bool = False
    alive_at: float = 0.0
    zone: str = "nova"
    simulated: bool = False
    facts: HostFacts | None = None
    chassis: str = ""
    epoch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceProvider(Record):
    """generation is Placement's own compare-and-swap counter."""

    name: str
    generation: int = 0
    parent_id: str = ""
    root_id: str = ""
    node_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory(Record):
    provider_id: str
    resource_class: str
    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = 2147483647
    step_size: int = 1
    allocation_ratio: float = 1.0
    used: int = 0  # sum of the allocations, kept by conditional updates in their transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation(Record):
    provider_id: str
    consumer_id: str
    resource_class: str
    used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer(Record):
    """id is the consumer's uuid (a server's). type: "" where none was given (Placement's "unknown")."""

    project_id: str
    user_id: str
    generation: int = 0
    type: str = "INSTANCE"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderTraits(Record):
    """id is the provider's."""

    traits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAggregates(Record):
    """id is the provider's."""

    aggregates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait(Record):
    """A custom trait; id is its name. Standard ones are built in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceClass(Record):
    """A custom class; id is its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota(Record):
    """A limit set for a project (or a quota class: project_id "class:default"). -1 is unlimited."""

    project_id: str
    resource: str
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUse(Record):
    """What a project uses of a counted resource; changed only by conditional updates. parent for nesting."""

    project_id: str
    resource: str
    used: int = 0
    parent_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate(Record):
    name: str
    zone: str = ""
    hosts: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    number: int = 0  # Nova's integer id
