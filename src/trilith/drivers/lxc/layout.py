"""A container on disk: its directory, its layer, its configuration and its record. The caller holds its turn."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

from trilith.drivers.lxc import config, host, inject, inside, state, tool
from trilith.drivers.lxc.node import Node
from trilith.errors import Conflict, Invalid
from trilith.model.guest import GuestSpec, ImageForm

_HOOK = Path(__file__).with_name("hook.sh")


def prepare(node: Node) -> None:
    for path, mode in (
        (node.paths.root, 0o711),
        (node.paths.ct, 0o711),  # a container's root passes here on its way to rootfs
        (node.paths.run, 0o700),
        (node.paths.bin, 0o700),
    ):
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        path.chmod(mode)
    state.write(node.paths.hook, _HOOK.read_bytes())
    # PATH of lxc-start. newuidmap must not be on it: where liblxc finds it, it insists on lines for root in
    # /etc/subuid; without it root writes the map itself, which it may
    parser = shutil.which("apparmor_parser", path=tool.clean_env()["PATH"])
    link = node.paths.bin / "apparmor_parser"
    if parser is not None and not link.is_symlink():
        link.symlink_to(parser)


async def create(node: Node, spec: GuestSpec) -> None:
    config.check(spec)
    if spec.image.form is not ImageForm.ROOTFS:
        raise Invalid("A container starts from a root file system.", field="image")
    if await asyncio.to_thread(node.foreign, spec.server_id):
        raise Conflict(f"A container {spec.server_id} of another cloud is in the way.")
    size = config.disk_mib(spec) if spec.disk_gib or node.pool.limits else 0
    await asyncio.to_thread(_directories, node, spec.server_id)
    await _write_config(node, spec)  # first: with it whatever is left after a crash is known as ours
    known = await asyncio.to_thread(state.load, node.paths, spec.server_id, node.cloud_id)
    if known is None or known.disk_mib != config.disk_mib(spec) or not await node.pool.has(spec.server_id):
        await node.pool.create(spec.server_id, limit_mib=size)
    if spec.files and known is None:  # before the record: a crash between them writes the same files again
        upper = node.pool.layer(spec.server_id) / "up"
        await asyncio.to_thread(inject.write, spec.files, Path(spec.image.path), upper)
    await _rescue_layer(node, spec, size)
    await _write_record(node, spec)


async def write(node: Node, spec: GuestSpec) -> None:
    await node.guest(spec.server_id)
    await _write_config(node, spec)
    await _write_record(node, spec)


def wipe(node: Node, server_id: str, home: Path) -> None:
    for path in node.paths.run.glob(f"{server_id}.*"):
        path.unlink(missing_ok=True)
    if home.exists():
        (home / "guest.json").unlink(missing_ok=True)
        for name in ("lower", "layer", "own-lower", "own-layer", "drive", "rootfs", "frozen"):
            with contextlib.suppress(FileNotFoundError):
                (home / name).rmdir()  # empty mount points: never a tree, whatever may be mounted
        shutil.rmtree(home)


async def _rescue_layer(node: Node, spec: GuestSpec, size: int) -> None:
    """What a rescue writes is thrown away with it."""
    name = inside.rescue_layer(spec.server_id)
    if spec.rescue is None:
        if await node.pool.has(name) and await node.init(spec.server_id) is None:
            await node.pool.remove(name)
        return
    if spec.rescue.image.form is not ImageForm.ROOTFS:
        raise Invalid("A container is rescued by a root file system.", field="rescue")
    if not await node.pool.has(name):
        await node.pool.create(name, limit_mib=size)
    await asyncio.to_thread((node.pool.layer(name) / "up" / "mnt").mkdir, mode=0o755, exist_ok=True)


def _directories(node: Node, server_id: str) -> None:
    home = node.paths.home(server_id)
    home.mkdir(mode=0o711, exist_ok=True)
    for name in ("lower", "layer", "own-lower", "own-layer", "drive", "rootfs"):
        (home / name).mkdir(mode=0o755, exist_ok=True)


async def _write_config(node: Node, spec: GuestSpec) -> None:
    here, boots = node.here, inside.booted(spec)

    def work() -> None:
        init = config.init_of(boots.properties, host.init_target(boots.image.path))
        text = config.render(spec, here, node.paths, init)
        home = node.paths.home(spec.server_id)
        state.write(home / "config", text.encode())
        state.write(home / "hook.conf", config.hook_settings(config.named(spec), here).encode())

    await asyncio.to_thread(work)


async def _write_record(node: Node, spec: GuestSpec) -> None:
    def work() -> None:
        init = config.init_of(spec.properties, host.init_target(inside.booted(spec).image.path))
        state.save(node.paths, config.record(spec, init))

    await asyncio.to_thread(work)
