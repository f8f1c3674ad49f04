"""Version discovery of the placement service."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.http.versions import Microversions, Version
from trilith.api.placement.wire import Link, UnknownVersion, fresh

_NUMBERS = re.compile(r"^(\d{1,9})\.(\d{1,9})$", re.ASCII)


class PlacementVersions(Microversions):
    """Placement reads any two numbers as a version, so 0.5 is one that is not served (406) and not malformed (400)."""

    def negotiate(self, headers: Mapping[str, str]) -> Version:
        """Raises Invalid or UnknownVersion."""
        asked = ""
        for part in headers.get("openstack-api-version", "").split(","):
            name, _, value = part.strip().partition(" ")
            if name.lower() == self.service_type:
                asked = value.strip()
        if not asked:
            return self.minimum
        if asked.lower() == "latest":
            return self.maximum
        found = _NUMBERS.match(asked)
        if found is None:
            raise errors.Invalid(f"invalid version string: {asked}", field="version")
        version = Version(int(found[1]), int(found[2]))
        if not self.minimum <= version <= self.maximum:
            raise UnknownVersion(asked, self.minimum, self.maximum)
        return version


MICROVERSIONS = PlacementVersions("placement", Version(1, 0), Version(1, 39))


class VersionEntry(msgspec.Struct):
    id: str
    max_version: str
    min_version: str
    status: str
    links: list[Link]


class Versions(msgspec.Struct):
    versions: list[VersionEntry]


async def root(call: Call) -> Answer:
    """200, without a token."""
    entry = VersionEntry(
        id="v1.0",
        max_version=str(MICROVERSIONS.maximum),
        min_version=str(MICROVERSIONS.minimum),
        status="CURRENT",
        links=[Link("self", "")],
    )
    return fresh(call, Versions([entry]))
