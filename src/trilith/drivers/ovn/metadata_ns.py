"""A network namespace a network, in which the metadata service answers 169.254.169.254 and fe80::a9fe:a9fe.

The veth's inner end carries the localport's MAC and addresses; the outer one is plugged with its iface-id. Namespaces
and interfaces are named by cloud, switch and network, so several nodes simulated on one machine do not meet.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import ipaddress
import json
import os
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trilith.drivers.ovn.local import OvsLocalSwitch
from trilith.drivers.ovn.networks import METADATA_V4, METADATA_V6
from trilith.drivers.ovn.tools import run
from trilith.errors import Backend

INNER = "meta0"
_NETNS = Path("/run/netns")
_CLONE_NEWNET = 0x40000000


def namespace_name(switch: OvsLocalSwitch, network_id: str) -> str:
    return f"{_prefix(switch)}{network_id}"


def interface_name(switch: OvsLocalSwitch, network_id: str) -> str:
    """The veth's outer end: at most 15 bytes."""
    return "tm" + hashlib.sha256(namespace_name(switch, network_id).encode()).hexdigest()[:12]


async def ensure_metadata_namespace(
    switch: OvsLocalSwitch,
    network_id: str,
    port_id: str,
    mac: str,
    addresses: Sequence[str],
    mtu: int,
    *,
    netns: str = "",
) -> str:
    """Make or mend it; its name. addresses: the localport's own with prefix lengths ("10.0.0.2/24"). mtu in bytes.

    netns: the namespace that the node's switch runs in, "" for our own. Raises Backend.
    """
    name, outer = namespace_name(switch, network_id), interface_name(switch, network_id)
    if not await asyncio.to_thread(_is_namespace, name):
        # an interrupted `ip netns add` leaves a plain file
        await asyncio.to_thread((_NETNS / name).unlink, missing_ok=True)
        await run(["ip", "netns", "add", name])
    wanted = {str(ipaddress.ip_interface(a)) for a in addresses} | {f"{METADATA_V4}/32", f"{METADATA_V6}/64"}
    if await _inner_state(name) != (mac.lower(), mtu) or not await _exists(outer, netns):
        await _delete_link(outer, netns)
        await switch.unplug(outer)  # the switch must see the old device go before one of the same name comes
        link = ["ip", "link", "add", outer, "mtu", str(mtu), "type", "veth", "peer", "name", INNER]
        await run([*link, "netns", name, "address", mac, "mtu", str(mtu)], netns=netns)
        # the userspace datapath passes frames on as they are: checksums must be whole
        await run(["ethtool", "-K", INNER, "tx", "off"], netns=name)
    lines = ["link set lo up", *(f"address del {a} dev {INNER}" for a in await _addresses(name) if a not in wanted)]
    lines += [f"address replace {a} dev {INNER}" + (" nodad" if ":" in a else "") for a in sorted(wanted)]
    lines.append(f"link set {INNER} up")
    await run(["ip", "-batch", "-"], netns=name, stdin="\n".join(lines) + "\n")
    await run(["ip", "link", "set", outer, "up"], netns=netns)
    await switch.plug(ifname=outer, port_id=port_id, mac=mac)
    return name


async def remove_metadata_namespace(switch: OvsLocalSwitch, network_id: str, *, netns: str = "") -> None:
    """Absent is success."""
    name, outer = namespace_name(switch, network_id), interface_name(switch, network_id)
    await switch.unplug(outer)
    await _delete_link(outer, netns)
    if await asyncio.to_thread((_NETNS / name).exists):
        if await asyncio.to_thread(_is_namespace, name):
            await run(["ip", "netns", "delete", name])
        else:
            await asyncio.to_thread((_NETNS / name).unlink, missing_ok=True)


async def list_metadata_namespaces(switch: OvsLocalSwitch) -> list[str]:
    """Ids of the networks that have one on this switch."""
    prefix = _prefix(switch)

    def look() -> list[str]:
        if not _NETNS.exists():
            return []
        return sorted(p.name.removeprefix(prefix) for p in _NETNS.iterdir() if p.name.startswith(prefix))

    return await asyncio.to_thread(look)


async def listen_in_namespace(name: str, host: str, port: int) -> socket.socket:
    """A listening, non-blocking TCP socket inside the namespace, for an asyncio server of this process.

    A socket stays in the namespace it was made in; only a thread that lives for this enters it. Raises Backend.
    """
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="netns") as thread:
        return await loop.run_in_executor(thread, _listen, name, host, port)


def _listen(name: str, host: str, port: int) -> socket.socket:
    _enter(name)
    six = ipaddress.ip_address(host).version == 6
    made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if six:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            scope = socket.if_nametoindex(INNER) if ipaddress.ip_address(host).is_link_local else 0
            made.bind((host, port, 0, scope))
        else:
            made.bind((host, port))
        made.listen(128)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise Backend(f"Cannot listen on {host} port {port} in namespace {name}: {error.strerror}.") from error
    return made


def _enter(name: str) -> None:
    """setns(2) for the calling thread; os.setns comes with Python 3.12 only."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        handle = os.open(_NETNS / name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Backend(f"There is no network namespace {name}.") from error
    try:
        if libc.setns(handle, _CLONE_NEWNET) != 0:
            raise Backend(f"Cannot enter network namespace {name}: {os.strerror(ctypes.get_errno())}.")
    finally:
        os.close(handle)


def _prefix(switch: OvsLocalSwitch) -> str:
    return "trilith-" + hashlib.sha256(f"{switch.cloud_id}|{switch.remote}".encode()).hexdigest()[:6] + "-"


def _is_namespace(name: str) -> bool:
    """A bind-mounted namespace lies on nsfs, so on another device than its directory."""
    path = _NETNS / name
    return path.exists() and path.stat().st_dev != _NETNS.stat().st_dev


async def _inner_state(name: str) -> tuple[str, int] | None:
    said = await run(["ip", "-json", "link", "show", "dev", INNER], netns=name, accept=(0, 1))
    links = json.loads(said or "[]")
    return (links[0]["address"], links[0]["mtu"]) if links else None


async def _addresses(name: str) -> list[str]:
    links = json.loads(await run(["ip", "-json", "address", "show", "dev", INNER], netns=name))
    found = [f"{a['local']}/{a['prefixlen']}" for a in links[0]["addr_info"]]
    # the kernel's own link-local address serves neighbour discovery
    return [a for a in found if not (a.startswith("fe80:") and a != f"{METADATA_V6}/64")]


async def _exists(link: str, netns: str) -> bool:
    return bool(await run(["ip", "-json", "link", "show", "dev", link], netns=netns, accept=(0, 1)))


async def _delete_link(link: str, netns: str) -> None:
    if await _exists(link, netns):
        await run(["ip", "link", "delete", link], netns=netns)
