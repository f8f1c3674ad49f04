"""Interfaces added to and removed from a running container, and kept over the container's own reboots.

The monitor knows only the interfaces it was started with: when the container reboots itself, hook.sh repeats the
changes listed in run/NAME.nics.
"""

from __future__ import annotations

import asyncio

from trilith.drivers.lxc import state, tool
from trilith.model.guest import NicSpec


async def add(paths: state.Paths, server_id: str, pid: int, nic: NicSpec, *, offload_off: bool) -> None:
    """Make the pair and put its end into the container's network. There already: left as it is. Raises Backend."""
    ip = tool.find("ip", "iproute2")
    inside = [tool.find("nsenter", "util-linux"), f"--target={pid}", "--net"]
    there = await tool.capture([ip, "link", "show", "dev", nic.ifname], timeout=10)
    mtu = str(nic.mtu)
    if there.exit_code != 0:
        pair = ["peer", "name", nic.guest_name, "address", nic.mac, "mtu", mtu, "netns", str(pid)]
        await tool.call([ip, "link", "add", "name", nic.ifname, "mtu", mtu, "type", "veth", *pair])
    await tool.call([ip, "link", "set", "dev", nic.ifname, "up"])
    if offload_off:
        await tool.call([*inside, tool.find("ethtool", "ethtool"), "-K", nic.guest_name, "tx", "off"])
    await tool.call([*inside, ip, "link", "set", "dev", nic.guest_name, "up"])
    await _remember(paths, server_id, nic.ifname, f"add {nic.ifname} {mtu} {nic.guest_name} {nic.mac}")


async def remove(paths: state.Paths, server_id: str, nic: NicSpec) -> None:
    """Take both ends away. Absent is success. Raises Backend."""
    ip = tool.find("ip", "iproute2")
    await _remember(paths, server_id, nic.ifname, f"del {nic.ifname}")
    if (await tool.capture([ip, "link", "show", "dev", nic.ifname], timeout=10)).exit_code == 0:
        await tool.call([ip, "link", "del", "dev", nic.ifname])


async def _remember(paths: state.Paths, server_id: str, ifname: str, line: str) -> None:
    path = paths.of_run(server_id, "nics")

    def work() -> None:
        before = path.read_text(encoding="ascii").splitlines() if path.exists() else []
        kept = [entry for entry in before if entry.split()[1] != ifname]
        state.write(path, "\n".join([*kept, line, ""]).encode())

    await asyncio.to_thread(work)
