"""Records as the API shows them. Each function's struct is the whole of what Keystone's own attributes are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from trilith.api.http.call import Call
from trilith.api.identity.wire import Links, flat, naive_isotime, or_none
from trilith.commands.identity_users import inactive
from trilith.model.identity import Domain, Endpoint, Group, Project, Region, Role, Service, User
from trilith.model.identity_extensions import FederatedUser


class DomainView(Struct):
    id: str
    name: str
    description: str
    enabled: bool
    tags: tuple[str, ...]
    options: dict[str, Any]
    links: Links


class ProjectView(Struct):
    id: str
    name: str
    domain_id: str | None
    description: str
    enabled: bool
    parent_id: str | None
    is_domain: bool
    tags: tuple[str, ...]
    options: dict[str, Any]
    links: Links


class FederatedProtocol(Struct):
    protocol_id: str
    unique_id: str


class Federated(Struct):
    idp_id: str
    protocols: list[FederatedProtocol]


class UserView(Struct):
    id: str
    name: str
    domain_id: str
    enabled: bool
    password_expires_at: str | None
    options: dict[str, Any]
    links: Links
    email: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    default_project_id: str | UnsetType = UNSET
    federated: list[Federated] | UnsetType = UNSET


class GroupView(Struct):
    id: str
    name: str
    domain_id: str
    description: str
    links: Links


class RoleView(Struct):
    id: str
    name: str
    domain_id: str | None
    description: str | None
    options: dict[str, Any]
    links: Links


class ServiceView(Struct):
    id: str
    name: str
    type: str
    enabled: bool
    links: Links
    description: str | UnsetType = UNSET


class RegionView(Struct):
    id: str
    description: str
    parent_region_id: str | None
    links: Links


class EndpointView(Struct):
    id: str
    interface: str
    region_id: str | None
    region: str | None
    service_id: str
    url: str
    enabled: bool
    links: Links


def link(call: Call, path: str) -> Links:
    return Links(self=call.url(f"/v3/{path}"))


def domain_view(call: Call, d: Domain) -> dict[str, Any]:
    view = DomainView(
        id=d.id,
        name=d.name,
        description=d.description,
        enabled=d.enabled,
        tags=d.tags,
        options=d.options,
        links=link(call, f"domains/{d.id}"),
    )
    return flat(view, d.extra)


def project_view(call: Call, p: Project) -> dict[str, Any]:
    view = ProjectView(
        id=p.id,
        name=p.name,
        domain_id=p.domain_id,
        description=p.description,
        enabled=p.enabled,
        parent_id=p.parent_id,
        is_domain=False,
        tags=p.tags,
        options=p.options,
        links=link(call, f"projects/{p.id}"),
    )
    return flat(view, p.extra)


def domain_as_project(call: Call, d: Domain) -> dict[str, Any]:
    """A domain is a project that acts as one, too: Keystone shows it under both names."""
    view = ProjectView(
        id=d.id,
        name=d.name,
        domain_id=None,
        description=d.description,
        enabled=d.enabled,
        parent_id=None,
        is_domain=True,
        tags=d.tags,
        options=d.options,
        links=link(call, f"projects/{d.id}"),
    )
    return flat(view, d.extra)


def _federated(links: Sequence[FederatedUser]) -> list[Federated]:
    by_provider: dict[str, list[FederatedProtocol]] = {}
    for one in links:
        by_provider.setdefault(one.idp_id, []).append(FederatedProtocol(one.protocol_id, one.unique_id))
    return [Federated(idp_id, protocols) for idp_id, protocols in by_provider.items()]


def user_view(call: Call, u: User, links: Sequence[FederatedUser] = ()) -> dict[str, Any]:
    """links: what ties the user to identity providers."""
    expires = 0.0 if u.options.get("ignore_password_expiry") else u.password_expires_at
    idle = inactive(u, time.time(), call.host.settings.inactive_days)
    view = UserView(
        id=u.id,
        name=u.name,
        domain_id=u.domain_id,
        enabled=u.enabled and not idle,
        password_expires_at=naive_isotime(expires) if expires else None,
        options=u.options,
        links=link(call, f"users/{u.id}"),
        email=u.email or UNSET,
        description=u.description or UNSET,
        default_project_id=u.default_project_id or UNSET,
        federated=_federated(links) or UNSET,
    )
    return flat(view, u.extra)


def group_view(call: Call, g: Group) -> dict[str, Any]:
    view = GroupView(
        id=g.id, name=g.name, domain_id=g.domain_id, description=g.description, links=link(call, f"groups/{g.id}")
    )
    return flat(view, g.extra)


def role_view(call: Call, r: Role) -> dict[str, Any]:
    view = RoleView(
        id=r.id,
        name=r.name,
        domain_id=or_none(r.domain_id),
        description=or_none(r.description),
        options=r.options,
        links=link(call, f"roles/{r.id}"),
    )
    return flat(view, r.extra)


def service_view(call: Call, s: Service) -> dict[str, Any]:
    view = ServiceView(
        id=s.id,
        name=s.name,
        type=s.type,
        enabled=s.enabled,
        links=link(call, f"services/{s.id}"),
        description=s.description or UNSET,
    )
    return flat(view, s.extra)


def region_view(call: Call, r: Region) -> dict[str, Any]:
    view = RegionView(
        id=r.id,
        description=r.description,
        parent_region_id=or_none(r.parent_region_id),
        links=link(call, f"regions/{r.id}"),
    )
    return flat(view, r.extra)


def endpoint_view(call: Call, e: Endpoint, url: str) -> dict[str, Any]:
    """url: made already, as the cloud's own endpoints keep none."""
    view = EndpointView(
        id=e.id,
        interface=e.interface,
        region_id=or_none(e.region_id),
        region=or_none(e.region_id),
        service_id=e.service_id,
        url=url,
        enabled=e.enabled,
        links=link(call, f"endpoints/{e.id}"),
    )
    return flat(view, e.extra)
