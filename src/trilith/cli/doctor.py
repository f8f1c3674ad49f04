"""`trilith doctor`: what this host can do, what is wrong with it, and what to do about each."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trilith import errors
from trilith.cli import options, screen
from trilith.config import Settings, load

if TYPE_CHECKING:
    from trilith.agent.doctor import Finding, Row

#: the check of what an operator wrote for the advisor
ADVISOR = "advisor-rules"
_MARKS = {"fine": ("✓", "32"), "warning": ("!", "33"), "problem": ("✗", "31"), "unknown": ("?", "2")}


def doctor(
    only: Annotated[list[str] | None, typer.Option(help="Only this check; several times.")] = None,
    state: Annotated[Path | None, typer.Option(help="State directory of the cloud.")] = None,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT of the API.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file (TOML).")] = None,
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Test this host for real: probe guests under KVM, a container and its limits, a ping through OVN, and the rest.

    As root; without, it does what it can. Trials run apart from all that is on this host and leave nothing. The exit
    code is 1 when a problem was found.

    Examples:

      sudo trilith doctor

      trilith doctor --only kvm --only container --json
    """
    from trilith.agent.doctor import Level, checks

    names = [*(row.name for row in checks()), ADVISOR]
    wrong = [name for name in only or [] if name not in names]
    if wrong:
        raise errors.Invalid(f"There is no check {wrong[0]!r}.", hint=f"There are: {', '.join(names)}.")
    settings = load(config, state=state, listen=listen)
    with screen.progress() as steps:
        try:
            found = asyncio.run(_examine(settings, frozenset(only or ()), steps, as_json=as_json))
        except asyncio.CancelledError:
            sys.stderr.write("Stopped; what the trials made is gone.\n")
            raise typer.Exit(130) from None
        steps.drop()
        if not only or ADVISOR in only:
            found.append(advisor_rules(settings))
            if not as_json:
                _print(found[-1])
        if (not only or "cloud" in only) and any(f.check == "cloud" and "url" in f.facts for f in found):
            for finding in ask_api(os_cloud, clouds_yaml):
                found.append(finding)
                if not as_json:
                    _print(finding)
    bad = [f for f in found if f.level is Level.PROBLEM]
    warned = [f for f in found if f.level is Level.WARNING]
    if as_json:
        screen.document(
            {"findings": [asdict(f) for f in found], "problems": len(bad), "warnings": len(warned), "ok": not bad}
        )
    else:
        screen.line(f"{_count(len(bad), 'problem')}, {_count(len(warned), 'warning')}")
    if bad:
        raise typer.Exit(1)


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


async def _examine(settings: Settings, only: frozenset[str], steps: screen.Steps, *, as_json: bool) -> list[Finding]:
    from trilith.agent.doctor import examine

    def begin(row: Row) -> None:
        steps.drop()
        steps.step(row.what)

    def tell(finding: Finding) -> None:
        if not as_json:
            _print(finding)

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def stop() -> None:
        # once: a second Ctrl-C would cut short the removal of what the trial made
        if not task.cancelling():
            sys.stderr.write("Stopping: removing what the trial made …\n")
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        return await examine(settings, tell=tell, begin=begin, only=only)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _print(finding: Finding) -> None:
    mark, colour = _MARKS[finding.level]
    if sys.stdout.isatty():
        mark = f"\x1b[{colour}m{mark}\x1b[0m"
    screen.line(f"{mark} {finding.check.ljust(15)} {screen.printable(finding.text)}")
    if finding.todo:
        screen.line(f"{' ' * 18}→ {screen.printable(finding.todo)}")
    sys.stdout.flush()


def advisor_rules(settings: Settings) -> Finding:
    """Whether the cloud would start with them."""
    from trilith.agent.doctor import Finding, Level
    from trilith.commands.adviser import read_rules

    if not settings.advisor_rules:
        return Finding(check=ADVISOR, level=Level.FINE, text="the shipped ones")
    try:
        rules = read_rules(settings.advisor_rules)
    except errors.TrilithError as err:
        return Finding(check=ADVISOR, level=Level.PROBLEM, text=err.message, todo=err.hint)
    changed = ", ".join(rules.operator_rules) or "nothing"
    return Finding(check=ADVISOR, level=Level.FINE, text=f"{settings.advisor_rules} adds or changes {changed}")


def ask_api(os_cloud: str, clouds_yaml: Path | None) -> list[Finding]:
    """What the cloud itself says of its nodes, agents and servers; where it and the host disagree shows here."""
    from trilith.agent.doctor import Finding, Level
    from trilith.cli.client import connect

    def said(level: Level, text: str, todo: str = "") -> Finding:
        return Finding(check="cloud", level=level, text=text, todo=todo)

    found: list[Finding] = []
    try:
        with connect(os_cloud, clouds_yaml) as cloud:
            if not cloud.is_admin:
                return [said(Level.UNKNOWN, "The cloud's view of its nodes is for administrators.", "--os-cloud NAME")]
            down = sorted({s.host for s in cloud.sdk.compute.services() if s.state != "up"})
            servers = list(cloud.sdk.compute.servers(all_projects=True))
            failed = [s for s in servers if s.status in ("ERROR", "UNKNOWN")]
    except errors.TrilithError as err:
        return [said(Level.PROBLEM, f"No log-in to the cloud: {err.message}", err.hint)]
    if down:
        found.append(said(Level.PROBLEM, f"Nodes are down: {', '.join(down)}.", "Is `trilith up` running there?"))
    for server in failed[:5]:
        fault = (server.fault or {}).get("message", "")
        text = f"Server {server.name or server.id} is {server.status}. {fault}".strip()
        found.append(said(Level.WARNING, text, f"trilith show {server.id}"))
    if not found:
        found.append(said(Level.FINE, f"all nodes are up, {len(servers)} servers, none in ERROR"))
    return found
