"""`trilith top`: nodes and servers with what they use, live."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trilith.cli import options, screen

if TYPE_CHECKING:
    from rich.console import RenderableType

    from trilith.cli.client import Cloud


@dataclass
class Usage:
    """CPU of guests in percent of one core, from two readings of their seconds."""

    before: dict[str, tuple[float, float]] = field(default_factory=dict)

    def percent(self, key: str, cpu_seconds: object, now: float) -> float | None:
        if not isinstance(cpu_seconds, (int, float)):
            return None
        known = self.before.get(key)
        self.before[key] = (now, float(cpu_seconds))
        if known is None or now - known[0] < 0.05 or cpu_seconds < known[1]:
            return None
        return 100.0 * (cpu_seconds - known[1]) / (now - known[0])


def top(
    once: Annotated[bool, typer.Option("--once", help="One look, and no more.")] = False,
    every: Annotated[float, typer.Option("--interval", "-i", help="Seconds between looks.", min=0.5)] = 2.0,
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: Annotated[bool, typer.Option("--json", help="One look as one JSON document.")] = False,
) -> None:
    """Nodes and servers with CPU and memory. Ctrl-C ends it.

    Examples:

      trilith top

      trilith top --once --json | jq '.servers | sort_by(.memory_mib)'
    """
    from trilith.cli.client import connect

    usage = Usage()
    with connect(os_cloud, clouds_yaml) as cloud:
        if as_json:
            screen.document(snapshot(cloud, usage))
            return
        if once or not sys.stdout.isatty():
            _print(snapshot(cloud, usage))
            return
        from rich.live import Live

        with Live(_render(snapshot(cloud, usage)), screen=True, auto_refresh=False) as live:
            try:
                while True:
                    time.sleep(every)
                    live.update(_render(snapshot(cloud, usage)), refresh=True)
            except KeyboardInterrupt:
                return


def snapshot(cloud: Cloud, usage: Usage) -> dict[str, Any]:
    """What /trilith/v1 tells; None for what it does not."""
    now = time.monotonic()
    nodes = [_node(n) for n in cloud.native.nodes()] if cloud.is_admin else []
    native = cloud.native.servers()
    servers = []
    for server in cloud.sdk.compute.servers():
        told = native.get(server.id, {})
        flavor = server.flavor or {}
        percent = told.get("cpu_percent")
        servers.append(
            {
                "id": server.id,
                "name": server.name,
                "status": server.status,
                "pillar": told.get("pillar"),
                "node": told.get("node"),
                "vcpus": flavor.get("vcpus"),
                "cpu_percent": percent if percent is not None else usage.percent(
                    server.id, told.get("cpu_seconds"), now
                ),
                "memory_mib": told.get("memory_mib"),
                "memory_max_mib": flavor.get("ram"),
            }
        )  # fmt: skip
    return {"nodes": nodes, "servers": servers}


def _node(node: dict[str, Any]) -> dict[str, Any]:
    """What is used of vcpus, memory and disk is what servers were promised; cpu_percent is what is measured."""
    stock = node.get("inventories") or {}

    def of_class(name: str, key: str) -> Any:
        return (stock.get(name) or {}).get(key)

    return {
        "name": node.get("name"),
        "state": "up" if node.get("alive") else "down" if "alive" in node else None,
        "enabled": node.get("enabled"),
        "pillars": node.get("pillars"),
        "cpu_percent": node.get("cpu_percent"),
        "vcpus": of_class("VCPU", "total"),
        "vcpus_used": of_class("VCPU", "used"),
        "memory_mib": of_class("MEMORY_MB", "total"),
        "memory_used_mib": of_class("MEMORY_MB", "used"),
        "disk_gib": of_class("DISK_GB", "total"),
        "disk_used_gib": of_class("DISK_GB", "used"),
    }


_NODES = ("node", "state", "pillars", "cpu", "vcpus", "memory", "disk")
_SERVERS = ("server", "status", "pillar", "node", "cpu", "vcpus", "memory")


def _node_cells(n: dict[str, Any]) -> tuple[object, ...]:
    state = n["state"] if n["enabled"] in (None, True) else f"{n['state']}, disabled"
    return (n["name"], state, n["pillars"], _percent(n["cpu_percent"]), of(n["vcpus_used"], n["vcpus"]),
            of(n["memory_used_mib"], n["memory_mib"], "MiB"), of(n["disk_used_gib"], n["disk_gib"], "GiB"))  # fmt: skip


def _server_cells(s: dict[str, Any]) -> tuple[object, ...]:
    return (s["name"], s["status"], s["pillar"], s["node"], _percent(s["cpu_percent"]), s["vcpus"],
            of(s["memory_mib"], s["memory_max_mib"], "MiB"))  # fmt: skip


def _percent(value: object) -> str:
    return f"{value:.0f}%" if isinstance(value, (int, float)) else "–"


def of(used: object, whole: object, unit: str = "") -> str:
    """ "12 / 64 MiB", with – for what is not known."""
    if used is None and whole is None:
        return "–"
    return f"{screen.shown(used)} / {screen.shown(whole)} {unit}".strip()


def _print(found: dict[str, Any]) -> None:
    screen.table(_NODES, [_node_cells(n) for n in found["nodes"]], empty="Nodes are for administrators to see.")
    screen.line("")
    screen.table(_SERVERS, [_server_cells(s) for s in found["servers"]], empty="No servers.")


def _render(found: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    tables: list[RenderableType] = []
    for columns, rows in (
        (_NODES, [_node_cells(n) for n in found["nodes"]]),
        (_SERVERS, [_server_cells(s) for s in found["servers"]]),
    ):
        made = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            made.add_column(column.upper(), no_wrap=True)
        for row in rows:
            made.add_row(*(Text(screen.shown(cell)) for cell in row))
        tables += [made, Text("")]
    return Group(*tables)
