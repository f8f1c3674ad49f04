"""The guests of this node: plans kept on disk, turned into what the drivers need, and into what they do.

A plan on disk is all that is needed to start its server again without a controller. It holds user data and keys, so
it is readable by root only.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

import msgspec
import structlog

from trilith import errors
from trilith.drivers.contract import ComputeDriver, LiveMigrator, LocalSwitch, StorageDriver
from trilith.model.guest import (
    Artefact,
    BlobSource,
    GuestFacts,
    GuestSpec,
    ImageForm,
    NicSpec,
    Pillar,
    PowerState,
    RescueSpec,
)
from trilith.model.instance import InstanceData
from trilith.model.plan import GuestPlan, MetadataEndpoint, RescuePlan

log = structlog.get_logger("guests")


class ConfigDrives(Protocol):
    """Makes the config drive of a server."""

    async def write(self, instance: InstanceData, *, container: bool) -> str:
        """Path of a directory (containers; ids from 0) or an ISO file."""
        ...

    async def remove(self, server_id: str) -> None: ...


class Metadata(Protocol):
    """Answers the metadata requests of this node's servers."""

    async def serve(self, instance: InstanceData, endpoints: tuple[MetadataEndpoint, ...]) -> None: ...

    async def forget(self, server_id: str) -> None: ...


class Guests:
    """computes: a driver a pillar. The plan files are in <state>/guests."""

    def __init__(
        self,
        state: Path,
        *,
        computes: dict[Pillar, ComputeDriver],
        switch: LocalSwitch,
        storage: StorageDriver,
        config_drives: ConfigDrives | None,
        metadata: Metadata | None,
    ) -> None:
        self._dir = state / "guests"
        self._dir.mkdir(parents=True, exist_ok=True)
        self._dir.chmod(0o700)
        self.computes = computes
        self.switch = switch
        self.storage = storage
        self._config_drives = config_drives
        self._metadata = metadata
        self._plans: dict[str, GuestPlan] = {}
        self._specs: dict[str, GuestSpec] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def load(self) -> None:
        """Read the plans of an earlier run, and serve their metadata again. Called once, before anything else."""
        self._plans = await asyncio.to_thread(self._read_all)
        if self._metadata is None:
            return
        for plan in self._plans.values():
            try:
                await self._metadata.serve(plan.instance, plan.metadata)
            except errors.TrilithError as err:
                # one server without its metadata is no reason to leave the others without their agent
                log.error("metadata is not served", server=plan.server_id, error=str(err))

    async def redefine(self) -> None:
        """Lay out again what a driver forgot: a host's reboot takes the definitions that a private libvirt kept."""
        known = {fact.server_id for driver in self.computes.values() for fact in await driver.facts()}
        for plan in self._plans.values():
            if plan.server_id in known or plan.pillar not in self.computes:
                continue
            try:
                async with self.lock(plan.server_id):
                    await self._driver(plan.pillar).create(await self.spec(plan.server_id))
            except errors.TrilithError as err:
                log.error("a server could not be laid out again", server=plan.server_id, error=str(err))

    def plans(self) -> dict[str, GuestPlan]:
        return dict(self._plans)

    def lock(self, server_id: str) -> asyncio.Lock:
        return self._locks.setdefault(server_id, asyncio.Lock())

    def driver(self, server_id: str) -> ComputeDriver:
        """Raises Missing for a server that this node does not have."""
        return self._driver(self.plan(server_id).pillar)

    def plan(self, server_id: str) -> GuestPlan:
        plan = self._plans.get(server_id)
        if plan is None:
            raise errors.Missing(f"This node has no server {server_id}.")
        return plan

    async def realize(self, plan: GuestPlan) -> Artefact:
        """The image in the form that the plan's pillar starts. Raises Unsupported when it has none."""
        return await self._realize(plan.pillar, plan.blob, plan.kernel)

    async def _realize(self, pillar: Pillar, blob: BlobSource, kernel: BlobSource | None) -> Artefact:
        form = _form(blob, self._driver(pillar))
        artefact = await self.storage.realize(blob, form)
        if kernel is not None and form is ImageForm.DISK:
            boot = await self.storage.realize(kernel, form)
            artefact = replace(artefact, kernel=boot.kernel, initrd=boot.initrd, cmdline=boot.cmdline)
        return artefact

    async def create(self, plan: GuestPlan, progress: Callable[[int, str], None] | None = None) -> None:
        """Everything the server needs but its start. Repeatable."""
        artefact = await self.realize(plan)
        self._plans[plan.server_id] = plan
        await asyncio.to_thread(self._keep, plan)
        serving: asyncio.Task[None] | None = None
        if self._metadata is not None:  # beside: making a network's namespace takes longer than the rest together
            serve = self._metadata.serve(plan.instance, plan.metadata)
            serving = asyncio.create_task(serve, name=f"metadata-{plan.server_id}")
        try:
            spec = await self._laid_out(plan, artefact)
            await self._driver(plan.pillar).create(spec)
            self._specs[plan.server_id] = spec
            if serving is not None:
                await serving
        finally:
            if serving is not None and not serving.done():
                serving.cancel()
                await asyncio.wait([serving])

    async def update(self, plan: GuestPlan) -> None:
        """A changed plan (name, ports, keys) of a server that is laid out; its disk is left alone. One that is older
        than the plan kept here was outrun by a job's, and is dropped."""
        known = self._plans.get(plan.server_id)
        if known is not None and plan.revision < known.revision:
            return
        self._plans[plan.server_id] = plan
        self._specs.pop(plan.server_id, None)
        await asyncio.to_thread(self._keep, plan)
        if self._metadata is not None:
            await self._metadata.serve(plan.instance, plan.metadata)

    async def spec(self, server_id: str) -> GuestSpec:
        """The spec as it was created; after a restart of the agent made again from the plan."""
        known = self._specs.get(server_id)
        if known is not None:
            return known
        plan = self.plan(server_id)
        spec = await self._laid_out(plan, await self.realize(plan))
        self._specs[server_id] = spec
        return spec

    async def _laid_out(self, plan: GuestPlan, artefact: Artefact) -> GuestSpec:
        # side by side: each is a process or two and a wait for the disk
        try:
            async with asyncio.TaskGroup() as group:
                disk = group.create_task(self._disk(plan, artefact))
                drive = group.create_task(self._drive(plan, artefact))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None  # the first; the other was cancelled for it
        spec = self._spec(plan, artefact, disk.result(), drive.result())
        return spec if plan.rescue is None else replace(spec, rescue=await self._rescue_spec(plan, plan.rescue))

    async def _rescue_spec(self, plan: GuestPlan, rescue: RescuePlan) -> RescueSpec:
        artefact = await self._realize(plan.pillar, rescue.blob, rescue.kernel)
        disk = ""
        if artefact.form is ImageForm.DISK:
            disk = await self.storage.create_disk(_rescue_disk(plan.server_id), size_gib=0, backing=artefact)
        return RescueSpec(image=artefact, root_disk=disk, device=rescue.device, bus=rescue.bus, stable=rescue.stable)

    async def rescue(self, plan: GuestPlan) -> None:
        """What a stopped guest's next start boots from: the plan's rescue image, or its own root. Repeatable."""
        if plan.rescue is None:
            await self.storage.delete_disk(_rescue_disk(plan.server_id))
        await self.update(plan)
        await self._driver(plan.pillar).create(await self.spec(plan.server_id))

    async def park(self, server_id: str) -> None:
        """Off, and out of the network: everything else stays, for a later start. Repeatable."""
        await self.driver(server_id).stop(server_id, timeout=0)
        for nic in self.plan(server_id).nics:
            await self.switch.unplug(nic.ifname)
        if self._metadata is not None:
            await self._metadata.forget(server_id)

    async def receive(self, server_id: str) -> str:
        """Expect the guest, which is laid out here, from another node; where that sends it to."""
        driver = _migrator(self.driver(server_id))
        await self.replug(server_id)
        return await driver.receive(await self.spec(server_id))

    async def send(self, server_id: str, address: str) -> None:
        await _migrator(self.driver(server_id)).send(server_id, address)

    async def _disk(self, plan: GuestPlan, artefact: Artefact) -> str:
        if artefact.form is not ImageForm.DISK:
            return ""
        return await self.storage.create_disk(plan.server_id, size_gib=plan.disk_gib, backing=artefact)

    async def _drive(self, plan: GuestPlan, artefact: Artefact) -> str:
        if not plan.config_drive or self._config_drives is None or artefact.form is ImageForm.BARE:
            return ""
        # a container's driver mounts it idmapped, so that it lies on disk with ids from 0
        container = artefact.form is ImageForm.ROOTFS
        return await self._config_drives.write(plan.instance, container=container)

    async def has_disk(self, server_id: str) -> bool:
        return bool((await self.spec(server_id)).root_disk)

    async def plug(self, server_id: str) -> None:
        for nic in self.plan(server_id).nics:
            await self.switch.plug(ifname=nic.ifname, port_id=nic.port_id, mac=nic.mac)

    async def replug(self, server_id: str) -> None:
        """Before a start: a re-created interface of the same name is attached only after an unplug of its own."""
        for nic in self.plan(server_id).nics:
            await self.switch.unplug(nic.ifname)
            await self.switch.plug(ifname=nic.ifname, port_id=nic.port_id, mac=nic.mac)

    async def raise_links(self, server_id: str) -> None:
        """After a start: no interface stays down that the switch and the guest's driver raised at one time."""
        for nic in self.plan(server_id).nics:
            await self.switch.raise_link(nic.ifname)

    async def running(self, server_id: str) -> bool:
        """Running or paused."""
        return await _running(self.driver(server_id), server_id)

    async def start(self, server_id: str) -> None:
        spec = await self.spec(server_id)
        driver = self._driver(spec.pillar)
        if not await _running(driver, server_id):
            await self.replug(server_id)
        await driver.start(spec)
        await self.raise_links(server_id)

    async def delete(self, server_id: str) -> None:
        """Everything of a server, running or not, known or left over by a crash."""
        plan = self._plans.get(server_id)
        drivers = [self._driver(plan.pillar)] if plan is not None else list(self.computes.values())
        for driver in drivers:
            await driver.delete(server_id)
        for nic in plan.nics if plan is not None else ():
            await self.switch.unplug(nic.ifname)
        await self.storage.delete_disk(server_id)
        if plan is None or plan.rescue is not None:
            await self.storage.delete_disk(_rescue_disk(server_id))
        if self._config_drives is not None:
            await self._config_drives.remove(server_id)
        if self._metadata is not None:
            await self._metadata.forget(server_id)
        await asyncio.to_thread(shutil.rmtree, self._dir / server_id, True)
        await asyncio.to_thread(self._path(server_id).unlink, True)
        self._plans.pop(server_id, None)
        self._specs.pop(server_id, None)

    async def facts(self) -> list[GuestFacts]:
        """All guests of all drivers; a plan that no driver knows is a guest that is shut down."""
        found: dict[str, GuestFacts] = {}
        for driver in self.computes.values():
            for fact in await driver.facts():
                found[fact.server_id] = fact
        for server_id in self._plans:
            found.setdefault(server_id, GuestFacts(server_id=server_id, power=PowerState.SHUTDOWN))
        return list(found.values())

    async def fact(self, server_id: str) -> GuestFacts:
        """One guest's, from whichever driver has it; shut down where none has."""
        plan = self._plans.get(server_id)
        for pillar, driver in self.computes.items():
            if plan is not None and pillar is not plan.pillar:
                continue
            for fact in await driver.facts(server_id):
                return fact
        return GuestFacts(server_id=server_id, power=PowerState.SHUTDOWN, reason="" if plan is not None else "absent")

    def unplugged_nic(self, server_id: str, port_id: str) -> NicSpec:
        for nic in self.plan(server_id).nics:
            if nic.port_id == port_id:
                return nic
        raise errors.Missing(f"Server {server_id} has no port {port_id}.")

    def _driver(self, pillar: Pillar) -> ComputeDriver:
        driver = self.computes.get(pillar)
        if driver is None:
            raise errors.Unsupported(
                f"This node does not run {pillar} guests.", capability=str(pillar), hint="See `trilith doctor`."
            )
        return driver

    def _spec(self, plan: GuestPlan, artefact: Artefact, disk: str, drive: str) -> GuestSpec:
        return GuestSpec(
            server_id=plan.server_id,
            project_id=plan.project_id,
            cloud_id=plan.cloud_id,
            name=plan.name,
            hostname=plan.hostname,
            pillar=plan.pillar,
            vcpus=plan.vcpus,
            memory_mib=plan.memory_mib,
            disk_gib=plan.disk_gib,
            image=artefact,
            identity=plan.identity,
            nics=plan.nics,
            config_drive=drive,
            root_disk=disk,
            processes_max=plan.processes_max,
            properties=plan.properties,
            files=plan.instance.files,
        )

    def _path(self, server_id: str) -> Path:
        return self._dir / f"{server_id}.json"

    def _keep(self, plan: GuestPlan) -> None:
        path = self._path(plan.server_id)
        fresh = path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as f:
            f.write(msgspec.json.encode(plan))
        fresh.replace(path)

    def _read_all(self) -> dict[str, GuestPlan]:
        for leftover in self._dir.glob("*.new"):
            leftover.unlink()
        found: dict[str, GuestPlan] = {}
        for path in self._dir.glob("*.json"):
            try:
                plan = msgspec.json.decode(path.read_bytes(), type=GuestPlan)
            except msgspec.MsgspecError as err:
                # cut off by a power failure: the controller sends it anew, and the other guests need their agent now
                log.error("the plan of a server cannot be read", path=str(path), error=str(err))
                continue
            found[plan.server_id] = plan
        return found


def _rescue_disk(server_id: str) -> str:
    return f"{server_id}.rescue"


def _migrator(driver: ComputeDriver) -> LiveMigrator:
    if not isinstance(driver, LiveMigrator) or not driver.capabilities.live_migration:
        raise errors.Unsupported(
            f"{driver.capabilities.pillar} guests here do not move while they run.",
            capability="live_migration",
            hint="Migrate them stopped.",
        )
    return driver


def _form(blob: BlobSource, driver: ComputeDriver) -> ImageForm:
    """The first form of the driver that this blob may have; the storage driver finds out whether it has."""
    if blob.properties.get("trilith_boot") == "bare":
        wanted = ImageForm.BARE
    elif driver.capabilities.forms[0] is ImageForm.ROOTFS:
        wanted = ImageForm.ROOTFS
    else:
        wanted = ImageForm.DISK
    if wanted not in driver.capabilities.forms:
        raise errors.Unsupported(
            f"{driver.capabilities.pillar} does not start images of the form {wanted}.", capability=str(wanted)
        )
    return wanted


async def _running(driver: ComputeDriver, server_id: str) -> bool:
    alive = (PowerState.RUNNING, PowerState.PAUSED)
    return any(fact.power in alive for fact in await driver.facts(server_id))
