"""Which versions there are: GET /identity and /identity/v3."""

from __future__ import annotations

from msgspec import Struct

from trilith.api.http.call import Call
from trilith.api.http.route import Answer


class Link(Struct):
    rel: str
    href: str


class MediaType(Struct):
    base: str
    type: str


class Version(Struct, rename={"media_types": "media-types"}):
    id: str
    status: str
    updated: str
    links: list[Link]
    media_types: list[MediaType]


class Values(Struct):
    values: list[Version]


class Versions(Struct):
    versions: Values


class OneVersion(Struct):
    version: Version


def _v3(call: Call) -> Version:
    return Version(
        id="v3.14",
        status="stable",
        updated="2020-04-07T00:00:00Z",
        links=[Link(rel="self", href=call.url("/v3/"))],
        media_types=[MediaType(base="application/json", type="application/vnd.openstack.identity-v3+json")],
    )


async def versions(call: Call) -> Answer:
    """300: there is one to choose from."""
    return Answer(Versions(Values([_v3(call)])), headers={"Location": call.url("/v3/")})


async def show_v3(call: Call) -> OneVersion:
    """200."""
    return OneVersion(_v3(call))
