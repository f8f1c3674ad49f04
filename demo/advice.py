"""What the advisor says of servers that run, for the end of the demo."""

from __future__ import annotations

from typing import Any

from trilith.cli.advice_text import lines
from trilith.cli.advise import decoded
from trilith.cli.client import Cloud


def told(cloud: Any, servers: dict[str, Any]) -> list[str]:
    """The advice for each as the command prints it. cloud: an openstacksdk connection. Raises errors of ours."""
    native = Cloud(cloud, "demo").native
    found = []
    for name, server in servers.items():
        answer = decoded(native.advise({"server": server.id}))
        runs_on = answer.asked.runs_on
        found += [f"{name}, which runs on {runs_on}", *(f"  {line}".rstrip() for line in lines(answer)), ""]
    return found
