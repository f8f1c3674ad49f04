"""`trilith benchmark`: what the pillars of this host cost, measured in real guests, and kept for the advisor."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trilith import errors
from trilith.cli import options, screen
from trilith.cli.launch import PillarName
from trilith.config import Settings, load

if TYPE_CHECKING:
    from trilith.cli.client import Cloud
    from trilith.cli.measuring.pillars import Result

app = typer.Typer(help="What the pillars of this host cost, measured in real guests.", no_args_is_help=True)
Config = Annotated[Path | None, typer.Option(help="Settings file (TOML).")]
State = Annotated[Path | None, typer.Option(help="State directory of the cloud.")]


@app.command()
def pillars(
    samples: Annotated[
        int | None, typer.Option(help="Guests started of each kind. Default: 10, with --quick 3.", min=1, max=1000)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds of all: figures are rougher.")] = False,
    pillar: Annotated[list[PillarName] | None, typer.Option(help="Only this pillar; several times.")] = None,
    emulated: Annotated[
        bool, typer.Option("--emulated", help="Linux machines also where they only run under emulation: says nothing.")
    ] = False,
    state: State = None,
    config: Config = None,
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Measure each pillar of this host in real guests beside a bare process, and keep it for the advisor.

    Run it as root on the node itself, as administrator of the cloud, with the image `tiny` there and little else going
    on. Guests are started one after the other and removed, also after Ctrl-C.

    Examples:

      sudo trilith benchmark pillars

      trilith benchmark pillars --quick --pillar lxc --json
    """
    from trilith.cli.client import connect
    from trilith.cli.measuring.pillars import measure, plan
    from trilith.cli.measuring.program import Rounds
    from trilith.model.guest import Pillar

    settings = load(config, state=state)
    rounds = Rounds.quick(samples or 3) if quick else Rounds(guests=samples or 10)
    with connect(os_cloud, clouds_yaml) as cloud:
        node = _node(cloud, settings)
        planned = plan(node, only=[Pillar(p.value) for p in pillar or ()], emulated=emulated)
        _on_the_node(settings)
        kept: list[dict[str, Any]] = []

        def keep(result: Result) -> None:
            kept.append(cloud.native.keep_figures(planned.node, str(result.target.pillar), result.body()))
            if not as_json:
                _print(kept[-1])

        try:
            with _one_interrupt(), screen.progress() as steps:
                measure(cloud, planned, settings.state, rounds, steps, keep)
        except KeyboardInterrupt:
            sys.stderr.write(f"Stopped; the guests are gone. {len(kept)} of {len(planned.targets)} kinds are kept.\n")
            raise typer.Exit(130) from None
        if as_json:
            screen.document({"node": planned.node, "figures": kept, "not_here": planned.not_here})
        else:
            for name, why in planned.not_here.items():
                screen.line(f"{name}: {why}")


@app.command()
def show(
    node: Annotated[str, typer.Option(help="Only this node.")] = "",
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """What was measured, of which the advisor makes use.

    Examples:

      trilith benchmark show
    """
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        found = cloud.native.figures(node)
    if as_json:
        screen.document({"figures": found})
        return
    if not found:
        sys.stderr.write("Nothing was measured yet: sudo trilith benchmark pillars\n")
    for one in found:
        _print(one)


@app.command()
def forget(
    node: Annotated[str, typer.Argument(help="Name of the node.")],
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Forget what was measured on a node, so that the advisor goes back to what is shipped.

    Examples:

      trilith benchmark forget node1
    """
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        cloud.native.forget_figures(node)
    done = {"node": node, "figures": []}
    screen.answer(done, as_json=as_json, text=lambda: screen.line(f"{node}: nothing is kept"))


def _on_the_node(settings: Settings) -> None:
    if os.geteuid() != 0:
        raise errors.Forbidden(
            "Measuring what guests hold of this host needs root.", hint="sudo trilith benchmark pillars"
        )
    if not (settings.state / "node").is_dir():
        raise errors.Missing(
            f"No node of a cloud keeps its guests in {settings.state}.",
            hint="Run it on the node itself; --state DIR names another place, `trilith up` starts a cloud.",
        )


def _node(cloud: Cloud, settings: Settings) -> dict[str, Any]:
    """This machine, as the cloud has it. Raises Forbidden, Missing."""
    if not cloud.is_admin:
        raise errors.Forbidden("Figures are kept by administrators of the cloud.", hint="--os-cloud NAME")
    nodes = cloud.native.nodes()
    name = settings.node_name or os.uname().nodename.partition(".")[0]
    found = next((n for n in nodes if n["name"] == name), None)
    if found is None and nodes and all(n["simulated"] for n in nodes):
        found = nodes[0]
    if found is None:
        there = ", ".join(str(n["name"]) for n in nodes) or "none"
        raise errors.Missing(
            f"The cloud {cloud.name!r} has no node {name}, which this machine is called.",
            hint=f"It has: {there}. Is it another cloud (--os-cloud), or another settings file (--config)?",
        )
    return found


@contextlib.contextmanager
def _one_interrupt() -> Iterator[None]:
    """Ctrl-C and SIGTERM interrupt once: a second one would cut short the removal of the guests."""
    stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            sys.stderr.write("Stopping: removing the guests …\n")
            raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print(found: dict[str, Any]) -> None:
    kind = "" if found["guest"] == "linux" else f", {found['guest']} guests"
    slow = ", EMULATED: says nothing about the pillar" if found["emulated"] else ""
    host = found["host"]
    inside = f", in {host['virtualization']}" if host["virtualization"] else ""
    screen.line(f"{found['pillar']} on {found['node']}{kind}{slow}, {found['measured_at']}")
    screen.line(screen.printable(f"  {found['about']}"))
    screen.line(screen.printable(f"  {host['cpu']}, {host['threads']} threads, Linux {host['kernel']}{inside}"))
    screen.line(f"  load before: {host['load']:.1f} on {host['threads']} threads")
    rows = []
    for one in found["measured"]:
        guest, bare = one["guest"], one["bare_process"]
        rows.append(
            (
                f"  {one['name']}",
                one["unit"],
                _short(guest["median"]),
                f"{_short(guest['p10'])}..{_short(guest['p90'])}",
                guest["samples"],
                _short(bare["median"]) if bare else None,
                _short(one["ratio"]) if one["ratio"] is not None else None,
            )
        )
    columns = ("  figure", "unit", "median", "p10..p90", "samples", "bare process", "times it")
    screen.table(columns, rows, empty="")
    for why in sorted(set(found["left_out"].values())):
        names = ", ".join(sorted(name for name, said in found["left_out"].items() if said == why))
        screen.line(screen.printable(f"  not measured, {why}: {names}"))
    screen.line("")
    sys.stdout.flush()


def _short(value: float) -> str:
    """Three figures are what a measurement has."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
