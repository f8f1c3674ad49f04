"""Version discovery of the image service."""

from __future__ import annotations

import msgspec

from trilith.api.http.call import Call
from trilith.api.http.route import Answer

#: what is served of Glance's minor versions: 2.17 has locations for services, 2.15 details of stores, 2.14 the cache,
#: 2.13 several stores, 2.12 tasks of an image, 2.9 image import by several methods
MINORS = tuple(range(17, -1, -1))


class Link(msgspec.Struct):
    rel: str
    href: str


class VersionEntry(msgspec.Struct):
    id: str
    status: str
    links: list[Link]


class Versions(msgspec.Struct):
    versions: list[VersionEntry]


def _versions(call: Call) -> Versions:
    href = call.url("/v2/")
    return Versions(
        [
            VersionEntry(
                id=f"v2.{minor}",
                status="CURRENT" if minor == MINORS[0] else "SUPPORTED",
                links=[Link("self", href)],
            )
            for minor in MINORS
            if minor != 8
        ]
    )


async def choices(call: Call) -> Answer:
    """300, as Glance's root has it."""
    return Answer(_versions(call), status=300)


async def listed(call: Call) -> Versions:
    """200."""
    return _versions(call)
