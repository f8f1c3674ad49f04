"""What a server's record says only in its system metadata."""

from __future__ import annotations

from typing import Any

import msgspec

from trilith.commands.server_details import HINTS
from trilith.model.server import Server


def hints_of(server: Server) -> dict[str, Any]:
    """The scheduler hints that it was created with."""
    kept = server.system_metadata.get(HINTS)
    found: dict[str, Any] = msgspec.json.decode(kept) if kept else {}
    return found
