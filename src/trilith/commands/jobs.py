"""What a request changes about jobs."""

from __future__ import annotations

from trilith.jobs.submit import cancel

__all__ = ["cancel"]
