"""What a workload demands, each demand typed and optional: one that is None is no demand. Pure data.

A demand's name (`start_within`) is what files, forms, rules and messages call it; the field that keeps it says the unit
(`start_within_ms`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Application(StrEnum):
    """What the servers are for (the decision table's row on resources)."""

    VIRTUAL_MACHINES = "virtual-machines"  # an estate of whole machines
    MICRO_SERVICES = "micro-services"  # many small, light programs


class Site(StrEnum):
    DATA_CENTRE = "data-centre"
    EDGE = "edge"  # small machines far from it


class Compliance(StrEnum):
    """The regime that the workload is audited under."""

    AUDIT = "audit"  # hardening and evidence are demanded, hardware is not spoken of
    FINANCE = "finance"
    GOVERNMENT = "government"


class OperatingSystem(StrEnum):
    LINUX = "linux"
    WINDOWS = "windows"
    BSD = "bsd"
    OTHER = "other"


class Firmware(StrEnum):
    BIOS = "bios"
    UEFI = "uefi"
    SECURE_BOOT = "secure-boot"  # UEFI that starts signed loaders only


class Network(StrEnum):
    ORDINARY = "ordinary"
    SDN = "sdn"  # programmed networks are the point of it
    LOW_LATENCY = "low-latency"


class Team(StrEnum):
    GENERAL = "general"  # knows Linux
    SKILLED = "skilled"  # has run virtualisation before
    DEVELOPERS = "developers"  # changes the platform itself: custom development


class Effort(StrEnum):
    LOW = "low"  # quick to deploy, little to run
    ORDINARY = "ordinary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """title is no demand. Durations are in the unit that the field's name ends with, memory in MiB.

    servers, nodes: its scale. tenants: parties who do not trust each other. start_within_ms: from the order to start
    until the guest answers. latency_us: from an event until the guest's thread runs. packet_rate_pps: packets a second
    and guest. guests_per_node: the density. gpus, virtual_functions (SR-IOV): devices a guest.
    """

    title: str = ""
    application: Application | None = None
    site: Site | None = None
    servers: int | None = None
    nodes: int | None = None
    tenants: int | None = None
    shared_kernel_allowed: bool | None = None
    hardware_isolation: bool | None = None
    compliance: Compliance | None = None
    own_kernel: bool | None = None
    kernel_modules: bool | None = None
    nested_virtualization: bool | None = None
    operating_system: OperatingSystem | None = None
    firmware: Firmware | None = None
    tpm: bool | None = None
    network: Network | None = None
    latency_us: float | None = None
    packet_rate_pps: int | None = None
    start_within_ms: float | None = None
    guests_per_node: int | None = None
    memory_per_guest_mib: int | None = None
    stateful: bool | None = None
    live_migration: bool | None = None
    cross_cloud_migration: bool | None = None
    gpus: int | None = None
    virtual_functions: int | None = None
    confidential_computing: bool | None = None
    team: Team | None = None
    operating_effort: Effort | None = None
