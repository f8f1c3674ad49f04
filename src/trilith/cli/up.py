"""`trilith up`: the whole cloud on this machine, in the foreground."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from trilith.config import Settings, load


def up(
    state: Annotated[
        Path | None, typer.Option(help="Directory of everything this cloud keeps on this machine.")
    ] = None,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT of the API.")] = None,
    simulated: Annotated[int | None, typer.Option(help="Run N simulated nodes, without root and daemons.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file (TOML).")] = None,
    database: Annotated[str | None, typer.Option(help="postgresql://… in place of the embedded database.")] = None,
    clouds_yaml: Annotated[str | None, typer.Option(help="clouds.yaml that gets the entry `trilith`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON when the API answers.")] = False,
) -> None:
    """Start the cloud. Ctrl-C stops the control plane; guests go on, and the next `up` adopts them.

    Examples:

      trilith up                                   # all of it, real, as root

      trilith up --state /tmp/t --listen 127.0.0.1:7481 --simulated 3 --json
    """
    settings = load(config, state=state, listen=listen, simulated=simulated, database=database, clouds_yaml=clouds_yaml)
    from trilith import loop

    os.umask(os.umask(0o022) | 0o022)  # whatever it was before: what the cloud keeps is for nobody else to write
    with asyncio.Runner(loop_factory=loop.new) as runner:
        code = runner.run(_up(settings, as_json=as_json))
    raise SystemExit(code)


async def _up(settings: Settings, *, as_json: bool) -> int:
    from trilith.app import cloud
    from trilith.cli import clouds_yaml, logging
    from trilith.cli import running as record
    from trilith.serve import listening, spare_the_start, until_stopped

    logging.setup(to_stderr=as_json)
    given = os.environ.pop("TRILITH_ADMIN_PASSWORD", "")  # no daemon that is started inherits it
    async with cloud(settings, admin_password=given) as running, listening(running.api, settings):
        await asyncio.to_thread(record.write, settings)
        spare_the_start()
        password = await running.admin_password()
        if settings.clouds_yaml != "none" and not settings.simulated:
            await asyncio.to_thread(clouds_yaml.merge, settings, password)
        if as_json:
            line = {
                "url": f"{settings.url}/identity/v3",
                "user": "admin",
                "password": password,
                "project": "admin",
                "pid": os.getpid(),
            }
            sys.stdout.write(json.dumps(line) + "\n")
        else:
            sys.stdout.write(_greeting(settings))
        sys.stdout.flush()
        why = await until_stopped(running.problem)
        running.host.stopping.set()  # event streams end before the server waits for its last answers
        for failure in running.failures:
            sys.stderr.write(f"trilith: {failure}\n")
        return 1 if why == "problem" else 0


def _greeting(settings: Settings) -> str:
    from trilith.cli import clouds_yaml

    where = clouds_yaml.path(settings)
    lines = [f"Trilith answers at {settings.url}/identity/v3"]
    if settings.simulated:
        lines.append(f"{settings.simulated} simulated nodes: their guests do not exist.")
    else:
        lines.append(f"Log in:  openstack --os-cloud trilith server list     ({where})")
        lines.append("Start:   trilith launch tiny first      Look: trilith list      Stop: Ctrl-C (guests go on)")
    return "\n".join(lines) + "\n"
