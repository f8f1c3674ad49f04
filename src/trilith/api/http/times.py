"""Times on the wire: UTC, in the forms that the services have."""

from __future__ import annotations

from datetime import UTC, datetime


def seconds_z(at: float) -> str:
    """2026-01-31T12:00:00Z: the image, placement and native API's form."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
