"""A container's power: started, stopped, rebooted, and what it is by its processes. The caller holds its turn."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from trilith.drivers.lxc import cgroup, config, inside, layout, mounts, signals, state, words
from trilith.drivers.lxc.node import Node
from trilith.drivers.lxc.watch import Watch, wait_exit
from trilith.errors import Backend, Conflict, Deadline, Missing
from trilith.model.guest import POWERED_OFF, GuestEventKind, GuestFacts, GuestSpec, PowerState

_START_SECONDS = 60.0
_TEARDOWN_SECONDS = 20.0


async def start(node: Node, spec: GuestSpec) -> None:
    run = await node.run(spec.server_id)
    if run.init is not None and run.this_boot and run.init.alive():
        await node.guest(spec.server_id)
        return
    if run.monitor is not None and not (run.ended == "stop" and await wait_exit(run.monitor, timeout=5)):
        await kill(node, spec.server_id)  # a start that was cut off, or a monitor that hangs
    await layout.create(node, spec)
    await _end_all(node, groups(spec.server_id)[0])  # what a lost record left; else liblxc says it runs already
    here, home = node.here, node.paths.home(spec.server_id)

    def prepare() -> None:
        here.cgroups.remove(*groups(spec.server_id))
        (home / "lxc.log").unlink(missing_ok=True)
        node.paths.of_run(spec.server_id, "nics").unlink(missing_ok=True)

    await asyncio.to_thread(prepare)
    own = str(node.pool.layer(spec.server_id))
    rescued = spec.rescue is not None
    root = mounts.Root(
        image=inside.booted(spec).image.path,
        layer=str(node.pool.layer(inside.rescue_layer(spec.server_id))) if rescued else own,
        base=str(home),
        id_base=spec.identity.id_base,
        drive=spec.config_drive,
        own_image=spec.image.path if rescued else "",
        own_layer=own if rescued else "",
    )
    monitor = str(node.paths.of_run(spec.server_id, "monitor"))
    argv = [*node.lxc("lxc-start", spec.server_id), "--daemon", "--pidfile", monitor]
    env = {"PATH": str(node.paths.bin), "LANG": "C.UTF-8", "HOME": "/root"}
    try:
        ended = await mounts.start_in(root, argv, env, timeout=_START_SECONDS)
    except Deadline:
        await kill(node, spec.server_id)
        raise
    if ended.exit_code != 0:
        said = await asyncio.to_thread(words.log_words, home / "lxc.log")
        await kill(node, spec.server_id)
        raise Backend(f"The container did not start: {said or ended.stderr.strip()[-1000:]}")
    now = await node.run(spec.server_id)
    if now.init is None or now.init == run.init:  # lxc-start is content with any container of this name
        await kill(node, spec.server_id)
        raise Backend("liblxc started nothing: a container of this name runs already.", hint="Find it by lxc-ls.")


async def stop(node: Node, guest: state.Guest, *, timeout: float) -> None:
    run = await node.run(guest.server_id)
    if timeout > 0 and run.init is not None and run.this_boot and run.init.alive():
        await thaw(node, config.group(guest.server_id))
        until = asyncio.get_running_loop().time() + timeout
        while (left := until - asyncio.get_running_loop().time()) > 0:
            signals.send(run.init, guest.halt_signal)
            if await wait_exit(run.monitor or run.init, timeout=min(left, signals.PRESS_AGAIN)):
                break
    await kill(node, guest.server_id)


async def kill(node: Node, server_id: str) -> None:
    """Take the power away and wait until the monitor has cleared up. A monitor that does not is killed, too.
    Goes by the control groups as well as by the record: a start that was cut off may have left no record."""
    run = await node.run(server_id)
    group, monitors, pivot = groups(server_id)
    if run.init is not None and run.this_boot and run.init.alive():
        signals.send(run.init, signal.SIGKILL)  # first and at once: the rest of the container ends with it
        await thaw(node, group)
        if not await wait_exit(run.init, timeout=_TEARDOWN_SECONDS):
            raise Deadline("The container's first process does not die.", hint="See dmesg for a blocked device.")
    await _end_all(node, group)
    # the monitor clears up now, moving to the pivot group as its last act
    left = {run.monitor} if run.monitor is not None else set()
    for name in (monitors, pivot):
        left |= set(await asyncio.to_thread(_members, node, name))
    await asyncio.gather(*(wait_exit(each, timeout=_TEARDOWN_SECONDS) for each in left))
    if not left and run.init is not None and not run.ended:  # nobody was left to say so
        path = node.paths.of_run(server_id, "end")
        await asyncio.to_thread(path.write_text, f"stop {server_id}\n", "ascii")
    for name in (monitors, pivot, group):  # the group once more: a hanging monitor may have started it again
        await _end_all(node, name)
    await asyncio.to_thread(node.here.cgroups.remove, *groups(server_id))


def _members(node: Node, group: str) -> list[state.Process]:
    found = node.here.cgroups.members(group)
    return [state.Process(pid, ticks) for pid in found if (ticks := state.start_ticks(pid)) is not None]


async def _end_all(node: Node, group: str) -> None:
    """SIGKILL all of a control group. A frozen process dies only when it is thawed."""
    for _ in range(5):
        processes = await asyncio.to_thread(_members, node, group)
        if not processes:
            return
        for process in processes:
            signals.send(process, signal.SIGKILL)
        await thaw(node, group)
        ended = await asyncio.gather(*(wait_exit(each, timeout=_TEARDOWN_SECONDS) for each in processes))
        if not all(ended):
            break
    raise Deadline("The container's processes do not die.", hint="See dmesg for a blocked device.")


async def reboots_itself(node: Node, watch: Watch, seconds: float, guest: state.Guest, run: state.Run) -> bool:
    """Whether the guest did it by its own means within that time."""
    assert run.init is not None
    with watch.subscribe() as queue:
        await thaw(node, config.group(guest.server_id))
        until = asyncio.get_running_loop().time() + seconds
        while (left := until - asyncio.get_running_loop().time()) > 0:
            signals.send(run.init, guest.reboot_signal)
            with contextlib.suppress(TimeoutError):  # pressed again
                async with asyncio.timeout(min(left, signals.PRESS_AGAIN)):
                    while True:
                        event = await queue.get()
                        if event.server_id != guest.server_id:
                            continue
                        if event.kind in (GuestEventKind.REBOOTED, GuestEventKind.STARTED):
                            return True
                        if event.kind in (GuestEventKind.STOPPED, GuestEventKind.CRASHED):
                            return False
        return False


async def thaw(node: Node, group: str) -> None:
    cgroups = node.here.cgroups
    if await asyncio.to_thread(cgroups.frozen, group):
        await asyncio.to_thread(cgroups.freeze, group, frozen=False)


def fact(node: Node, server_id: str) -> GuestFacts:
    run = state.run_of(node.paths, server_id)
    if run.init is not None and run.this_boot and run.init.alive():
        used: cgroup.Used = node.here.cgroups.used(config.group(server_id))
        return GuestFacts(
            server_id=server_id,
            power=PowerState.PAUSED if used.frozen else PowerState.RUNNING,
            pid=run.init.pid,
            started_at=run.init.started_at,
            cpu_seconds=used.cpu_seconds,
            memory_mib=used.memory_mib,
        )
    if run.monitor is not None and run.ended == "reboot":
        return GuestFacts(server_id=server_id, power=PowerState.RUNNING, reason="It is rebooting.")
    if run.init is None or run.ended:
        # what ended before the host restarted may have been ended by that
        own = bool(run.ended) and run.this_boot
        return GuestFacts(server_id=server_id, power=PowerState.SHUTDOWN, reason=POWERED_OFF if own else "")
    if run.monitor is not None:  # it ended this moment, and the monitor has not said how
        return GuestFacts(server_id=server_id, power=PowerState.UNKNOWN, reason="It is ending.")
    why = "It ended without its monitor." if run.this_boot else "The host restarted."
    return GuestFacts(server_id=server_id, power=PowerState.CRASHED, reason=why)


def check_attachable(node: Node, server_id: str) -> None:
    if state.load(node.paths, server_id, node.cloud_id) is None:
        raise Missing(f"There is no container {server_id} on this node.")
    run = state.run_of(node.paths, server_id)
    if run.init is None or not run.this_boot or not run.init.alive():
        raise Conflict(f"The server {server_id} is not running.", hint="Start it first.")
    if run.monitor is None:
        raise Backend("The container's monitor is gone, nothing can attach.", hint="Reboot the server (hard).")
    if node.here.cgroups.frozen(config.group(server_id)):
        raise Conflict("The server is paused.", hint="Unpause it first.")


def groups(server_id: str) -> tuple[str, str, str]:
    group = config.group(server_id)
    return group, f"{group}-monitor", f"{group}-pivot"
