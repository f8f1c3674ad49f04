"""Version discovery of the placement service."""

from __future__ import annotations

import msgspec

from trilith.api.http.call import Call
from trilith.api.http.versions import Microversions, Version
from trilith.api.placement.wire import Link

MICROVERSIONS = Microversions("placement", Version(1, 0), Version(1, 39))


class VersionEntry(msgspec.Struct):
    id: str
    max_version: str
    min_version: str
    status: str
    links: list[Link]


class Versions(msgspec.Struct):
    versions: list[VersionEntry]


async def root(call: Call) -> Versions:
    """200, without a token."""
    return Versions(
        [
            VersionEntry(
                id="v1.0",
                max_version=str(MICROVERSIONS.maximum),
                min_version=str(MICROVERSIONS.minimum),
                status="CURRENT",
                links=[Link("self", "")],
            )
        ]
    )
