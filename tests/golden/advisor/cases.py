"""Workloads with what the advisor must say of them, and why somebody who knows the field would say so."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

from trilith.model.figures import Figure, FigureName, Figures
from trilith.model.guest import Pillar
from trilith.placement.advisor.here import PillarNodes, PillarsHere
from trilith.placement.advisor.rules import Rules
from trilith.placement.advisor.rules_file import SHIPPED, load_rules
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

KVM, XEN, LXC = Pillar.KVM, Pillar.XEN, Pillar.LXC
START = FigureName.START_TO_FIRST_ANSWER

TEXT = resources.files("trilith.placement.advisor").joinpath(SHIPPED).read_text()


def rules(operators: str = "") -> Rules:
    return load_rules(TEXT, operators)


def nodes(pillar: Pillar, *traits: str, emulated: bool = False, resources: tuple[str, ...] = ()) -> PillarNodes:
    able = frozenset({"live_migration"} if pillar is not LXC else ())
    return PillarNodes(
        pillar=pillar,
        traits=frozenset(traits),
        capabilities=able | ({"emulated"} if emulated else set()),
        resources=frozenset(("VCPU", "MEMORY_MB", *resources)),
        emulated=emulated,
    )


#: every pillar, nothing special
EVERYWHERE = PillarsHere(nodes=(nodes(KVM, "HW_CPU_X86_VMX"), nodes(XEN), nodes(LXC)))
SNP = PillarsHere(
    nodes=(nodes(KVM, "HW_CPU_X86_AMD_SEV_SNP", resources=("MEM_ENCRYPTION_CONTEXT",)), nodes(XEN), nodes(LXC))
)
EMULATED = PillarsHere(nodes=(nodes(KVM, emulated=True), nodes(LXC)))
NO_XEN = PillarsHere(nodes=(nodes(KVM), nodes(LXC)))
CONTAINERS = PillarsHere(nodes=(nodes(LXC),))
NOWHERE = PillarsHere()


def measured(pillar: Pillar, value: float, name: FigureName = START, unit: str = "ms", **more: Any) -> Figure:
    given = {"low": value, "high": value, "samples": 20, "source": "measured on a test's host, n=20"} | more
    return Figure(name=name, pillar=pillar, value=value, unit=unit, **given)


UNMEASURED = Figures()
FAST_HOST = Figures(figures=(measured(LXC, 40), measured(KVM, 900), measured(XEN, 1100)))


@dataclass(frozen=True, kw_only=True)
class Case:
    """best: for the workload; choice: of what is here (the same, where it is not given). conflicts: the demands'."""

    why: str
    workload: Workload
    best: Pillar | None
    choice: Pillar | str | None = "best"
    here: PillarsHere = EVERYWHERE
    figures: Figures = UNMEASURED
    refused: tuple[Pillar, ...] = ()
    conflicts: tuple[tuple[str, ...], ...] = ()
    lifts: tuple[tuple[tuple[str, ...], Pillar], ...] = ()


#: the decision table, row by row: each demand alone
ROWS: dict[str, tuple[Workload, Pillar]] = {
    "resources: over 10 nodes": (Workload(nodes=11), KVM),
    "resources: small, high isolation": (Workload(nodes=4, hardware_isolation=True), XEN),
    "resources: micro-services": (Workload(application=Application.MICRO_SERVICES), LXC),
    "security: basic isolation": (Workload(hardware_isolation=False), KVM),
    "security: hardware-level": (Workload(hardware_isolation=True), XEN),
    "security: finance": (Workload(compliance=Compliance.FINANCE), XEN),
    "security: government": (Workload(compliance=Compliance.GOVERNMENT), XEN),
    "security: compliance demands": (Workload(compliance=Compliance.AUDIT), LXC),
    "network: ordinary": (Workload(network=Network.ORDINARY), KVM),
    "network: SDN": (Workload(network=Network.SDN), XEN),
    "network: low latency": (Workload(network=Network.LOW_LATENCY), LXC),
    "operations: a skilled team": (Workload(team=Team.SKILLED), KVM),
    "operations: custom development": (Workload(team=Team.DEVELOPERS), XEN),
    "operations: quick deployment": (Workload(operating_effort=Effort.LOW), LXC),
}

#: the four scenarios: workload, pillar, and what must be in what gets it
SCENARIOS: dict[str, tuple[Workload, Pillar, str]] = {
    "very large data centre": (
        Workload(
            site=Site.DATA_CENTRE,
            servers=5000,
            nodes=200,
            application=Application.VIRTUAL_MACHINES,
            network=Network.ORDINARY,
            team=Team.SKILLED,
            tenants=40,
        ),
        KVM,
        "OpenStack networks",
    ),
    "hybrid cloud": (
        Workload(cross_cloud_migration=True, live_migration=True, stateful=True, network=Network.SDN),
        XEN,
        "Between clouds a server moves as an image",
    ),
    "edge node": (
        Workload(
            site=Site.EDGE,
            application=Application.MICRO_SERVICES,
            network=Network.LOW_LATENCY,
            memory_per_guest_mib=128,
            operating_effort=Effort.LOW,
        ),
        LXC,
        "",
    ),
    "security-sensitive": (
        Workload(compliance=Compliance.GOVERNMENT, hardware_isolation=True, tenants=3, nodes=6),
        XEN,
        "hw_vm_mode=xen is PV",
    ),
}

CASES: tuple[Case, ...] = (
    Case(why="nothing is demanded: what costs a node least", workload=Workload(), best=LXC),
    Case(why="Windows has no place in a container", workload=Workload(operating_system=OperatingSystem.WINDOWS),
         best=KVM, refused=(LXC,)),
    Case(why="a BSD runs on machines only; a skilled team runs KVM",
         workload=Workload(operating_system=OperatingSystem.BSD, team=Team.SKILLED), best=KVM, refused=(LXC,)),
    Case(why="modules need a kernel of one's own", workload=Workload(kernel_modules=True, stateful=True), best=KVM,
         refused=(LXC,)),
    Case(why="nested virtualization is KVM's: a container has no device, Xen calls it experimental",
         workload=Workload(nested_virtualization=True), best=KVM, refused=(LXC, XEN)),
    Case(why="nested virtualization where the nodes emulate: fits KVM, is not here",
         workload=Workload(nested_virtualization=True), here=EMULATED, best=KVM, choice=None, refused=(LXC, XEN),
         conflicts=(("nested_virtualization",),), lifts=((("nested_virtualization",), LXC),)),
    Case(why="secure boot and a TPM are KVM's here",
         workload=Workload(firmware=Firmware.SECURE_BOOT, tpm=True),
         here=PillarsHere(nodes=(nodes(KVM, "COMPUTE_SECURITY_UEFI_SECURE_BOOT", "COMPUTE_SECURITY_TPM_2_0"),)),
         best=KVM, refused=(LXC, XEN)),
    Case(why="own kernel, hardware isolation, start in 50 ms: no machine starts so fast, no container has the others",
         workload=Workload(own_kernel=True, hardware_isolation=True, start_within_ms=50), best=None,
         refused=(KVM, XEN, LXC),
         conflicts=(("hardware_isolation", "start_within"), ("own_kernel", "start_within")),
         lifts=((("start_within",), XEN), (("hardware_isolation", "own_kernel"), LXC))),
    Case(why="the same by measurement: containers start in 40 ms here, machines in 900",
         workload=Workload(own_kernel=True, start_within_ms=50), figures=FAST_HOST, best=None,
         refused=(KVM, XEN, LXC), conflicts=(("own_kernel", "start_within"),),
         lifts=((("own_kernel",), LXC), (("start_within",), KVM))),
    Case(why="a start in 50 ms alone is a container's", workload=Workload(start_within_ms=50), best=LXC,
         refused=(KVM, XEN)),
    Case(why="a start in 50 ms where containers were measured at 90: what was measured refuses",
         workload=Workload(start_within_ms=50), figures=Figures(figures=(measured(LXC, 90),)), best=None,
         refused=(KVM, XEN, LXC), conflicts=(("start_within",),), lifts=((("start_within",), LXC),)),
    Case(why="an own kernel and a start in 5 s are no contradiction",
         workload=Workload(own_kernel=True, start_within_ms=5000), best=KVM, refused=(LXC,)),
    Case(why="a figure under emulation is not KVM's: the demand of 5 s stays open for KVM, and is not met here",
         workload=Workload(own_kernel=True, start_within_ms=5000), here=EMULATED,
         figures=Figures(figures=(measured(KVM, 40_000, emulated=True),)), best=KVM, choice=None, refused=(LXC,),
         conflicts=(("own_kernel", "start_within"),),
         lifts=((("own_kernel",), LXC), (("start_within",), KVM))),
    Case(why="live migration and containers: containers do not move while they run",
         workload=Workload(live_migration=True, application=Application.MICRO_SERVICES, operating_effort=Effort.LOW),
         best=KVM, refused=(LXC,)),
    Case(why="confidential computing where a node offers it: KVM, and by name",
         workload=Workload(confidential_computing=True), here=SNP, best=KVM, refused=(LXC, XEN)),
    Case(why="confidential computing where no node offers it: fits KVM, is not here",
         workload=Workload(confidential_computing=True, team=Team.SKILLED), best=KVM, choice=None, refused=(LXC, XEN),
         conflicts=(("confidential_computing",),), lifts=((("confidential_computing",), KVM),)),
    Case(why="government with SEV-SNP nodes: KVM is no basic isolation there, and costs a node less than Xen",
         workload=Workload(compliance=Compliance.GOVERNMENT, hardware_isolation=True), here=SNP, best=KVM,
         refused=(LXC,)),
    Case(why="government where there is no Xen: Xen fits better, KVM is what the cloud has",
         workload=Workload(compliance=Compliance.GOVERNMENT, hardware_isolation=True), here=NO_XEN, best=XEN,
         choice=KVM, refused=(LXC,)),
    Case(why="hardware isolation where machines are emulated: an emulator is no hardware",
         workload=Workload(hardware_isolation=True), here=EMULATED, best=XEN, choice=None, refused=(LXC,),
         conflicts=(("hardware_isolation",),), lifts=((("hardware_isolation",), LXC),)),
    Case(why="no shared kernel in a cloud of containers: nothing here",
         workload=Workload(shared_kernel_allowed=False, tenants=5), here=CONTAINERS, best=XEN, choice=None,
         refused=(LXC,), conflicts=(("shared_kernel_allowed",),), lifts=((("shared_kernel_allowed",), LXC),)),
    Case(why="GPUs: no driver gives a guest a device, whatever the pillar", workload=Workload(gpus=1), best=LXC,
         choice=None, conflicts=(("gpus",),), lifts=((("gpus",), LXC),)),
    Case(why="GPUs and an own kernel: only the GPUs are in the way",
         workload=Workload(gpus=1, own_kernel=True), best=KVM, choice=None, refused=(LXC,),
         conflicts=(("gpus",),), lifts=((("gpus",), KVM),)),
    Case(why="300 small services a node: memory decides",
         workload=Workload(guests_per_node=300, memory_per_guest_mib=64), best=LXC),
    Case(why="a million packets a second with 20 µs of latency, on a trusted kernel",
         workload=Workload(packet_rate_pps=1_000_000, latency_us=20, shared_kernel_allowed=True), best=LXC),
    Case(why="the claim of 35 µs for KVM refuses nothing, a measured one does",
         workload=Workload(latency_us=20, own_kernel=True), best=KVM, refused=(LXC,)),
    Case(why="… measured at 60 µs on KVM and 15 on Xen",
         workload=Workload(latency_us=20, own_kernel=True), best=XEN, refused=(KVM, LXC),
         figures=Figures(figures=(
             measured(KVM, 60, FigureName.SCHEDULING_LATENCY, "µs"),
             measured(XEN, 15, FigureName.SCHEDULING_LATENCY, "µs"),
         ))),
    Case(why="low latency by the table, but here a KVM machine's round trip was measured far below a container's",
         workload=Workload(network=Network.LOW_LATENCY), best=KVM,
         figures=Figures(figures=(
             measured(KVM, 30, FigureName.NETWORK_ROUND_TRIP, "µs"),
             measured(LXC, 400, FigureName.NETWORK_ROUND_TRIP, "µs"),
         ))),
    Case(why="tenants who do not trust each other, on machines of one estate",
         workload=Workload(tenants=20, application=Application.VIRTUAL_MACHINES, nodes=30), best=KVM),
    Case(why="a cloud without nodes: the advice stands, nothing is here", workload=Workload(own_kernel=True),
         here=NOWHERE, best=KVM, choice=None, refused=(LXC,), conflicts=((),)),
    Case(why="an edge node that must run Windows: the scenario gives way to the hard constraint",
         workload=Workload(site=Site.EDGE, operating_system=OperatingSystem.WINDOWS), best=KVM, refused=(LXC,)),
)  # fmt: skip
