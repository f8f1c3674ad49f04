"""Metadata definitions: catalogues that tell which properties things may carry, for people's forms and menus.

They are small and read whole, so a namespace is one record with all its parts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trilith.model.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadefProperty:
    """schema: title, type and bounds, as JSON schema writes them."""

    name: str
    schema: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadefObject:
    """A group of properties that belong together. properties: name → schema. Times: seconds since the epoch."""

    name: str
    description: str = ""
    required: tuple[str, ...] = ()
    properties: dict[str, dict[str, Any]] = field(default_factory=dict)
    created_at: float = 0.0
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadefTag:
    name: str
    created_at: float = 0.0
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadefAssociation:
    """The kind of thing that a namespace is for. prefix: what its properties' names begin with there.
    properties_target: where a kind has several places for properties ("metadata", "image", …)."""

    name: str
    prefix: str = ""
    properties_target: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadefNamespace(Record):
    namespace: str
    display_name: str = ""
    description: str = ""
    visibility: str = "private"  # public | private
    protected: bool = False
    owner: str = ""
    properties: tuple[MetadefProperty, ...] = ()
    objects: tuple[MetadefObject, ...] = ()
    tags: tuple[MetadefTag, ...] = ()
    associations: tuple[MetadefAssociation, ...] = ()

    @property
    def project_id(self) -> str:
        return self.owner


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadefResourceType(Record):
    """A kind of thing that namespaces may be for: OS::Glance::Image, OS::Nova::Flavor …"""

    name: str
    protected: bool = True
