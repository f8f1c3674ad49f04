"""How much is measured, and where."""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Plan:
    """folder: short and empty, removed at the end. quick: fewer rounds, shorter idling; figures are rougher."""

    folder: Path
    quick: bool = False
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))

    def count(self, full: int, *, least: int = 5) -> int:
        return max(least, full // 5) if self.quick else full

    @property
    def idle_seconds(self) -> float:
        return 10.0 if self.quick else 60.0

    def listen(self) -> str:
        """A free port of this machine."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return f"127.0.0.1:{probe.getsockname()[1]}"
