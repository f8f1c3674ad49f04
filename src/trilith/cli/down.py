"""`trilith down`: end the control plane of this machine, and with --guests everything else of this cloud on it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from trilith import errors
from trilith.config import Settings, load


def down(
    state: Annotated[Path | None, typer.Option(help="State directory of the cloud.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file (TOML).")] = None,
    guests: Annotated[
        bool, typer.Option("--guests", help="Stop the guests too, and leave no process, interface or mount behind.")
    ] = False,
    force: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before stopping guests.")] = False,
) -> None:
    """Stop the cloud on this machine. Without --guests, guests and network go on, and `up` adopts them.

    The database, images and disks stay. To remove them too, delete the state directory afterwards.
    """
    settings = load(config, state=state)
    if guests and not force and sys.stdin.isatty():
        typer.confirm("Stop every guest of this cloud on this machine?", abort=True)
    asyncio.run(_down(settings, guests=guests))


async def _down(settings: Settings, *, guests: bool) -> None:
    from trilith.cli import logging, running

    logging.setup()
    if not await asyncio.to_thread((settings.state / "trilith.db").exists):
        raise errors.Missing(f"There is no cloud in {settings.state}.", hint="Give its --state.")
    stopped = await running.stop(settings)
    sys.stdout.write("control plane: stopped\n" if stopped else "control plane: was not running\n")
    if not guests:
        sys.stdout.write("guests and network go on; `trilith up` adopts them, `trilith down --guests` ends them\n")
        return
    from trilith.app import end_node

    for line in await end_node(settings):
        sys.stdout.write(f"{line}\n")
