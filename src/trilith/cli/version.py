"""`trilith version`."""

from __future__ import annotations

import platform
from importlib import metadata

from trilith.cli import options, screen


def version(as_json: options.AsJson = False) -> None:
    """Print the version of Trilith and of what it stands on.

    Example:

      trilith version --json
    """
    found = {"trilith": metadata.version("trilith"), "python": platform.python_version()}
    for name in ("openstacksdk", "ovs", "litestar"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    screen.answer(found, as_json=as_json, text=lambda: screen.line(f"trilith {found['trilith']}"))
