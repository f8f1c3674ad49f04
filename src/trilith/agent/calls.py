"""The one table of node calls: name → argument type, result type, handler. Every call is idempotent."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from trilith import errors
from trilith.agent import volumes
from trilith.drivers.contract import ComputeDriver, GraphicalConsole, PasswordSetter
from trilith.model.guest import Artefact, BlobSource, ConsoleEndpoint, ExecResult, GuestFacts, ImageForm
from trilith.model.plan import GuestPlan

if TYPE_CHECKING:
    from trilith.agent.agent import Agent


class Nothing(msgspec.Struct, frozen=True):
    """No arguments, or no result."""


class PlanArgs(msgspec.Struct, frozen=True):
    plan: GuestPlan


class ServerArgs(msgspec.Struct, frozen=True):
    server_id: str


class StopArgs(msgspec.Struct, frozen=True):
    """timeout: seconds for the guest's own power-off; 0 takes the power away."""

    server_id: str
    timeout: float = 0.0


class RebootArgs(msgspec.Struct, frozen=True):
    server_id: str
    hard: bool = False


class ImageArgs(msgspec.Struct, frozen=True):
    blob: BlobSource
    form: ImageForm


class DropArgs(msgspec.Struct, frozen=True):
    sha256: str


class SnapshotArgs(msgspec.Struct, frozen=True):
    """dest: a new file on this node."""

    server_id: str
    dest: str


class PortArgs(msgspec.Struct, frozen=True):
    """plan: the server's plan with the port (plug) or without it (unplug)."""

    plan: GuestPlan
    port_id: str


class LogArgs(msgspec.Struct, frozen=True):
    server_id: str
    max_bytes: int


class ExecArgs(msgspec.Struct, frozen=True):
    server_id: str
    argv: tuple[str, ...]
    timeout: float = 60.0


class PasswordArgs(msgspec.Struct, frozen=True):
    """user: "" for the guest's administrator."""

    server_id: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"PasswordArgs(server_id={self.server_id!r}, user={self.user!r})"


class SendArgs(msgspec.Struct, frozen=True):
    """address: what `guest.receive` said at the destination."""

    server_id: str
    address: str


class Address(msgspec.Struct, frozen=True):
    address: str


_Size = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class TerminalArgs(msgspec.Struct, frozen=True):
    """Of a channel. rows, cols: characters, of the terminal at the controller's end."""

    server_id: str
    rows: _Size = 24
    cols: _Size = 80


class Snapshot(msgspec.Struct, frozen=True):
    disk_format: str
    path: str


class Log(msgspec.Struct, frozen=True):
    data: bytes


@dataclass(frozen=True)
class Call:
    args: type[Any]
    handler: Callable[[Agent, Any, Callable[[int, str], None]], Awaitable[Any]]
    summary: str


async def _create(agent: Agent, args: PlanArgs, progress: Callable[[int, str], None]) -> Nothing:
    async with agent.guests.lock(args.plan.server_id):
        await agent.guests.create(args.plan, progress)
    return Nothing()


async def _update(agent: Agent, args: PlanArgs, progress: Callable[[int, str], None]) -> Nothing:
    async with agent.guests.lock(args.plan.server_id):
        await agent.guests.update(args.plan)
    return Nothing()


async def _start(agent: Agent, args: ServerArgs, progress: Callable[[int, str], None]) -> Nothing:
    async with agent.guests.lock(args.server_id):
        await agent.guests.start(args.server_id)
    return Nothing()


async def _stop(agent: Agent, args: StopArgs, progress: Callable[[int, str], None]) -> Nothing:
    async with agent.guests.lock(args.server_id):
        await agent.guests.driver(args.server_id).stop(args.server_id, timeout=args.timeout)
    return Nothing()


async def _reboot(agent: Agent, args: RebootArgs, progress: Callable[[int, str], None]) -> Nothing:
    async with agent.guests.lock(args.server_id):
        spec = await agent.guests.spec(args.server_id)
        driver = agent.guests.driver(args.server_id)
        if args.hard:
            # power off and on: whatever state the guest is in, its interfaces are attached anew
            with contextlib.suppress(errors.Missing):  # a host's reboot takes what a private libvirt knew of it
                await driver.stop(args.server_id, timeout=0)
            await agent.guests.start(args.server_id)
        else:
            await driver.reboot(spec, hard=False)
    return Nothing()


async def _power(agent: Agent, args: ServerArgs, verb: str) -> Nothing:
    async with agent.guests.lock(args.server_id):
        driver = agent.guests.driver(args.server_id)
        capable = {"pause": driver.capabilities.pause, "unpause": driver.capabilities.pause}
        if not capable.get(verb, driver.capabilities.suspend):
            raise errors.Unsupported(f"{driver.capabilities.pillar} guests here cannot {verb}.", capability=verb)
        if verb == "pause":
            await driver.pause(args.server_id)
        elif verb == "unpause":
            await driver.unpause(args.server_id)
        elif verb == "suspend":
            await driver.suspend(args.server_id)
        else:
            await agent.guests.replug(args.server_id)
            await driver.resume(await agent.guests.spec(args.server_id))
            await agent.guests.raise_links(args.server_id)
    return Nothing()


async def _pause(agent: Agent, args: ServerArgs, progress: Callable[[int, str], None]) -> Nothing:
    return await _power(agent, args, "pause")


async def _unpause(agent: Agent, args: ServerArgs, progress: Callable[[int, str], None]) -> Nothing:
    return await _power(agent, args, "unpause")


async def _suspend(agent: Agent, args: ServerArgs, progress: Callable[[int, str], None]) -> Nothing:
    return await _power(agent, args, "suspend")


async def _resume(agent: Agent, args: ServerArgs, progress: Callable[[int, str], None]) -> Nothing:
    return await _power(agent, args, "resume")


async def _delete(agent: Agent, args: ServerArgs, progress: Callable[[int, str], None]) -> Nothing:
    async with agent.guests.lock(args.server_id):
        await agent.guests.delete(args.server_id)
    return Nothing()


async def _resize(agent: Agent, args: PlanArgs, progress: Callable[[int, str], None]) -> Nothing:
    """New sizes for a stopped (or live-resizable) server. The disk only grows."""
    plan = args.plan
    async with agent.guests.lock(plan.server_id):
        driver = agent.guests.driver(plan.server_id)
        await agent.guests.update(plan)
        spec = await agent.guests.spec(plan.server_id)
        if spec.root_disk and plan.disk_gib:
            await agent.guests.storage.resize_disk(plan.server_id, size_gib=plan.disk_gib)
        await driver.resize(spec)
    return Nothing()


async def _rebuild(agent: Agent, args: PlanArgs, progress: Callable[[int, str], None]) -> Nothing:
    """Everything of the old guest goes but its identity and ports; the new one is laid out, not started."""
    server_id = args.plan.server_id
    async with agent.guests.lock(server_id):
        await agent.guests.realize(args.plan)  # before anything is lost: a bad image leaves the old guest whole
        await agent.guests.delete(server_id)
        await agent.guests.create(args.plan, progress)
    return Nothing()


async def _keep_root(agent: Agent, args: ServerArgs, progress: Callable[[int, str], None]) -> Nothing:
    """The root as it is now is kept beside, until it is restored or forgotten."""
    async with agent.guests.lock(args.server_id):
        if await agent.guests.has_disk(args.server_id):
            await agent.guests.storage.keep_disk(args.server_id)
    return Nothing()


async def _restore_root(agent: Agent, args: PlanArgs, progress: Callable[[int, str], None]) -> Nothing:
    """The kept root and the plan's sizes; the guest is stopped first. Without a kept root only the sizes change."""
    plan = args.plan
    async with agent.guests.lock(plan.server_id):
        driver = agent.guests.driver(plan.server_id)
        await driver.stop(plan.server_id, timeout=0)
        await agent.guests.update(plan)
        await agent.guests.storage.restore_disk(plan.server_id)
        await driver.resize(await agent.guests.spec(plan.server_id))
    return Nothing()


async def _forget_root(agent: Agent, args: ServerArgs, progress: Callable[[int, str], None]) -> Nothing:
    async with agent.guests.lock(args.server_id):
        await agent.guests.storage.forget_disk(args.server_id)
    return Nothing()


async def _rescue(agent: Agent, args: PlanArgs, progress: Callable[[int, str], None]) -> Nothing:
    """Of a stopped server: with the plan's rescue disk, or without one."""
    async with agent.guests.lock(args.plan.server_id):
        await agent.guests.rescue(args.plan)
    return Nothing()


async def _park(agent: Agent, args: ServerArgs, progress: Callable[[int, str], None]) -> Nothing:
    async with agent.guests.lock(args.server_id):
        await agent.guests.park(args.server_id)
    return Nothing()


async def _receive(agent: Agent, args: ServerArgs, progress: Callable[[int, str], None]) -> Address:
    async with agent.guests.lock(args.server_id):
        return Address(await agent.guests.receive(args.server_id))


async def _send(agent: Agent, args: SendArgs, progress: Callable[[int, str], None]) -> Nothing:
    async with agent.guests.lock(args.server_id):
        await agent.guests.send(args.server_id, args.address)
    return Nothing()


async def _password(agent: Agent, args: PasswordArgs, progress: Callable[[int, str], None]) -> Nothing:
    async with agent.guests.lock(args.server_id):
        driver = agent.guests.driver(args.server_id)
        if not isinstance(driver, PasswordSetter) or not driver.capabilities.password:
            raise errors.Unsupported(
                f"{driver.capabilities.pillar} guests here have no way to set a password.", capability="password"
            )
        await driver.set_password(args.server_id, args.user, args.password)
    return Nothing()


async def _snapshot(agent: Agent, args: SnapshotArgs, progress: Callable[[int, str], None]) -> Snapshot:
    async with agent.guests.lock(args.server_id):
        driver = agent.guests.driver(args.server_id)
        await driver.snapshot(args.server_id, args.dest)
        return Snapshot(disk_format=driver.capabilities.snapshot_form, path=args.dest)


async def _plug(agent: Agent, args: PortArgs, progress: Callable[[int, str], None]) -> Nothing:
    async with agent.guests.lock(args.plan.server_id):
        driver = agent.guests.driver(args.plan.server_id)
        await agent.guests.update(args.plan)
        nic = agent.guests.unplugged_nic(args.plan.server_id, args.port_id)
        await agent.guests.switch.unplug(nic.ifname)
        await agent.guests.switch.plug(ifname=nic.ifname, port_id=nic.port_id, mac=nic.mac)
        await driver.plug(await agent.guests.spec(args.plan.server_id), nic)
        if await agent.guests.running(args.plan.server_id):
            await agent.guests.switch.raise_link(nic.ifname)
    return Nothing()


async def _unplug(agent: Agent, args: PortArgs, progress: Callable[[int, str], None]) -> Nothing:
    """args.plan is the new plan, without the port."""
    async with agent.guests.lock(args.plan.server_id):
        driver = agent.guests.driver(args.plan.server_id)
        old = agent.guests.plan(args.plan.server_id)
        nic = next((n for n in old.nics if n.port_id == args.port_id), None)
        if nic is not None:
            # while the plan kept here still has it: a try that is cut off leaves the next one something to find
            spec = await agent.guests.spec(args.plan.server_id)
            await driver.unplug(replace(spec, nics=args.plan.nics), nic)
            await agent.guests.switch.unplug(nic.ifname)
        await agent.guests.update(args.plan)
    return Nothing()


async def _console_log(agent: Agent, args: LogArgs, progress: Callable[[int, str], None]) -> Log:
    driver = agent.guests.driver(args.server_id)
    return Log(await driver.console_log(args.server_id, max_bytes=args.max_bytes))


async def _console(agent: Agent, args: ServerArgs, progress: Callable[[int, str], None]) -> ConsoleEndpoint:
    return await agent.guests.driver(args.server_id).console(args.server_id)


async def _screen(agent: Agent, args: ServerArgs, progress: Callable[[int, str], None]) -> ConsoleEndpoint:
    return await screen_of(agent.guests.driver(args.server_id), args.server_id)


async def screen_of(driver: ComputeDriver, server_id: str) -> ConsoleEndpoint:
    """Raises Unsupported where there is no screen, and what the driver raises."""
    if not driver.capabilities.vnc_console or not isinstance(driver, GraphicalConsole):
        raise errors.Unsupported(
            f"{driver.capabilities.pillar} guests here have no screen.",
            capability="vnc_console",
            hint="Use the serial console.",
        )
    return await driver.screen(server_id)


async def _exec(agent: Agent, args: ExecArgs, progress: Callable[[int, str], None]) -> ExecResult:
    driver = agent.guests.driver(args.server_id)
    if not driver.capabilities.execute:
        raise errors.Unsupported(
            f"{driver.capabilities.pillar} guests here run no commands from outside.",
            capability="execute",
            hint="Log in by ssh: `trilith shell`.",
        )
    return await driver.execute(args.server_id, args.argv, timeout=args.timeout)


async def _realize(agent: Agent, args: ImageArgs, progress: Callable[[int, str], None]) -> Artefact:
    return await agent.guests.storage.realize(args.blob, args.form)


async def _drop(agent: Agent, args: DropArgs, progress: Callable[[int, str], None]) -> Nothing:
    await agent.guests.storage.drop(args.sha256)
    return Nothing()


async def _facts(agent: Agent, args: Nothing, progress: Callable[[int, str], None]) -> list[GuestFacts]:
    return await agent.guests.facts()


async def _state(agent: Agent, args: ServerArgs, progress: Callable[[int, str], None]) -> GuestFacts:
    return await agent.guests.fact(args.server_id)


CALLS: dict[str, Call] = {
    "guest.create": Call(PlanArgs, _create, "lay out a server: disk, config drive, definition"),
    "guest.update": Call(PlanArgs, _update, "keep a changed plan"),
    "guest.start": Call(ServerArgs, _start, "plug and start"),
    "guest.stop": Call(StopArgs, _stop, "power off"),
    "guest.reboot": Call(RebootArgs, _reboot, "reboot, soft or hard"),
    "guest.pause": Call(ServerArgs, _pause, "freeze"),
    "guest.unpause": Call(ServerArgs, _unpause, "thaw"),
    "guest.suspend": Call(ServerArgs, _suspend, "save memory to disk"),
    "guest.resume": Call(ServerArgs, _resume, "restore memory from disk"),
    "guest.delete": Call(ServerArgs, _delete, "remove everything of a server"),
    "guest.resize": Call(PlanArgs, _resize, "apply new sizes"),
    "guest.rebuild": Call(PlanArgs, _rebuild, "a new root from an image, same identity"),
    "guest.keep_root": Call(ServerArgs, _keep_root, "keep a copy of the root disk"),
    "guest.restore_root": Call(PlanArgs, _restore_root, "put the kept root disk and the old sizes back"),
    "guest.forget_root": Call(ServerArgs, _forget_root, "remove the kept root disk"),
    "guest.snapshot": Call(SnapshotArgs, _snapshot, "write the root disk as a file"),
    "guest.rescue": Call(PlanArgs, _rescue, "lay out what a rescue boots from, or remove it"),
    "guest.park": Call(ServerArgs, _park, "power off and leave the network, all else kept"),
    "guest.receive": Call(ServerArgs, _receive, "expect a running server from another node"),
    "guest.send": Call(SendArgs, _send, "send a running server to another node"),
    "guest.password": Call(PasswordArgs, _password, "set a user's password inside"),
    "guest.plug": Call(PortArgs, _plug, "add an interface"),
    "guest.unplug": Call(PortArgs, _unplug, "remove an interface"),
    "guest.console_log": Call(LogArgs, _console_log, "tail of the console"),
    "guest.console": Call(ServerArgs, _console, "where the console is"),
    "guest.screen": Call(ServerArgs, _screen, "where the screen (VNC) is"),
    "guest.exec": Call(ExecArgs, _exec, "run a command inside"),
    "guest.state": Call(ServerArgs, _state, "one server's facts"),
    "guest.facts": Call(Nothing, _facts, "all servers' facts"),
    "image.realize": Call(ImageArgs, _realize, "make a form of an image"),
    "image.drop": Call(DropArgs, _drop, "remove all forms of an image"),
    "volume.create": Call(volumes.CreateVolumeArgs, volumes.create, "make a volume, empty or from a source"),
    "volume.delete": Call(volumes.VolumeArgs, volumes.delete, "remove a volume"),
    "volume.extend": Call(volumes.VolumeArgs, volumes.extend, "grow a volume"),
    "volume.snapshot": Call(volumes.VolumeArgs, volumes.snapshot, "keep a volume as it is"),
    "volume.delete_snapshot": Call(volumes.VolumeArgs, volumes.delete_snapshot, "let a snapshot of a volume go"),
    "volume.revert": Call(volumes.VolumeArgs, volumes.revert, "put a volume back to a snapshot"),
}


async def run(agent: Agent, name: str, raw: msgspec.Raw, progress: Callable[[int, str], None]) -> msgspec.Raw:
    """Raises Unsupported for a call of a newer release, Invalid for arguments that are none."""
    call = CALLS.get(name)
    if call is None:
        raise errors.Unsupported(
            f"This node does not know the call {name}.",
            capability=name,
            hint="Upgrade the node to the controller's release.",
        )
    try:
        args = msgspec.msgpack.decode(raw, type=call.args)
    except msgspec.MsgspecError as err:
        raise errors.Invalid(f"{name}: {err}") from err
    result = await call.handler(agent, args, progress)
    return msgspec.Raw(msgspec.msgpack.encode(result))
