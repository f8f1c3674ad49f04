"""Microversions: one pair of numbers, negotiated from the headers (API-WG guideline: microversion specification)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from trilith import errors

_PATTERN = re.compile(r"^([1-9]\d*)\.([1-9]\d*|0)$")


class Version(NamedTuple):
    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


def parse(text: str) -> Version:
    """Raises Invalid for what is no version."""
    match = _PATTERN.match(text)
    if match is None:
        raise errors.Invalid(
            f"API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum.", field="version"
        )
    return Version(int(match[1]), int(match[2]))


class NotAcceptable(errors.TrilithError):
    """A microversion outside of what is served (HTTP 406)."""

    code = "not_acceptable"


@dataclass(frozen=True)
class Microversions:
    """What a service serves. service_type is the name in OpenStack-API-Version; legacy an older header's name."""

    service_type: str
    minimum: Version
    maximum: Version
    legacy: str = ""

    def negotiate(self, headers: Mapping[str, str]) -> Version:
        """The version asked for, the minimum when none is. Raises Invalid or NotAcceptable."""
        asked = ""
        for part in headers.get("openstack-api-version", "").split(","):
            name, _, value = part.strip().partition(" ")
            if name.lower() == self.service_type:
                asked = value.strip()
        if not asked and self.legacy:
            asked = headers.get(self.legacy, "").strip()
        if not asked:
            return self.minimum
        if asked.lower() == "latest":
            return self.maximum
        version = parse(asked)
        if not self.minimum <= version <= self.maximum:
            raise NotAcceptable(
                f"Version {version} is not supported by the API. "
                f"Minimum is {self.minimum} and maximum is {self.maximum}."
            )
        return version

    def answer_headers(self, version: Version) -> dict[str, str]:
        found = {
            "OpenStack-API-Version": f"{self.service_type} {version}",
            "Vary": "OpenStack-API-Version",
        }
        if self.legacy:
            found[self.legacy.title().replace("Openstack", "OpenStack").replace("Api", "API")] = str(version)
            found["Vary"] = f"OpenStack-API-Version, {self.legacy.title()}"
        return found
