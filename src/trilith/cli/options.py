"""Options that every command of the client side has, so that each is spelt and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OsCloud = Annotated[
    str, typer.Option("--os-cloud", envvar="OS_CLOUD", help="Entry of clouds.yaml. Default: trilith.", metavar="NAME")
]
CloudsYaml = Annotated[
    Path | None,
    typer.Option(
        "--clouds-yaml", envvar="OS_CLIENT_CONFIG_FILE", help="The clouds.yaml to read, instead of the usual places."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; progress stays on stderr.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end, or return when it is on its way.")]
Patience = Annotated[
    float, typer.Option("--timeout", help="Seconds to wait before giving up (the work itself goes on).", min=1)
]
