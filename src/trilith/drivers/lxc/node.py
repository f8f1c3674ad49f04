"""What the driver's parts share: this node's directories, pool and host, and the look-up of a container."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from trilith.drivers.lxc import config, state, tool
from trilith.drivers.lxc.pool import Pool
from trilith.errors import Backend, Conflict, Missing


@dataclass(slots=True)
class Node:
    """host: None until the driver is open."""

    paths: state.Paths
    pool: Pool
    cloud_id: str
    host: config.HostConfig | None = None

    @property
    def here(self) -> config.HostConfig:
        if self.host is None:
            raise Backend("The container driver is not open.")
        return self.host

    def lxc(self, name: str, server_id: str) -> list[str]:
        return [tool.find(name, "lxc"), "--lxcpath", str(self.paths.ct), "--name", server_id]

    def known(self, server_id: str) -> bool:
        return state.ours(self.paths, server_id, self.cloud_id)

    def foreign(self, server_id: str) -> bool:
        """A complete container with somebody else's mark, or without one."""
        try:
            text = self.paths.config(server_id).read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        return f"lxc.environment = {state.MARKER}={self.cloud_id}\n" not in text

    async def guest(self, server_id: str) -> state.Guest:
        guest = await asyncio.to_thread(state.load, self.paths, server_id, self.cloud_id)
        if guest is None:
            raise Missing(f"There is no container {server_id} on this node.")
        return guest

    async def run(self, server_id: str) -> state.Run:
        return await asyncio.to_thread(state.run_of, self.paths, server_id)

    async def init(self, server_id: str) -> state.Process | None:
        """The container's first process if it runs."""
        run = await self.run(server_id)
        return run.init if run.init is not None and run.this_boot and run.init.alive() else None

    async def running(self, server_id: str) -> None:
        await self.guest(server_id)
        if await self.init(server_id) is None:
            raise Conflict(f"The server {server_id} is not running.", hint="Start it first.")
