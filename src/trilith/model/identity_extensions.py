"""What Keystone keeps in extensions: endpoint filters, OAuth 1.0a delegation, federation, a domain's configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trilith.model.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointGroup(Record):
    """Endpoints that match all of filters (service_id, region_id, interface)."""

    name: str
    description: str = ""
    filters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectEndpoint(Record):
    """One endpoint of a project's own catalogue. A project with none of these has the whole catalogue."""

    project_id: str
    endpoint_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectEndpointGroup(Record):
    """A group of endpoints of a project's own catalogue."""

    project_id: str
    endpoint_group_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer(Record):
    """A program that users may delegate to by OAuth 1.0a. secret is sealed: signatures are verified with it."""

    secret: str
    description: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestToken(Record):
    """What a consumer asks for. user_id, roles and verifier come when a user authorizes it. secret is sealed."""

    consumer_id: str
    project_id: str
    secret: str
    expires_at: float
    user_id: str = ""
    roles: tuple[str, ...] = ()
    verifier: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken(Record):
    """What a user gave to a consumer: roles (ids) on one project. secret is sealed. expires_at 0: never."""

    consumer_id: str
    project_id: str
    user_id: str
    secret: str
    roles: tuple[str, ...] = ()
    expires_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedNonce(Record):
    """id: a hash of consumer, token, timestamp and nonce of a signed request, which counts once (RFC 5849, 3.3)."""

    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityProvider(Record):
    """Who vouches for users. Its users live in domain_id. remote_ids: what it calls itself (of OpenID Connect: iss)."""

    domain_id: str
    description: str = ""
    enabled: bool = True
    remote_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationMapping(Record):
    """Rules from what a provider says of a user to who that is here (model/identity_mapping.py)."""

    rules: list[dict[str, Any]] = field(default_factory=list)
    schema_version: str = "1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationProtocol(Record):
    """name: the protocol's id of the API, unique in its provider."""

    idp_id: str
    name: str
    mapping_id: str
    remote_id_attribute: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FederatedUser(Record):
    """The user that stands for a person of an identity provider, who is unique_id there."""

    user_id: str
    idp_id: str
    protocol_id: str
    unique_id: str
    display_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainConfig(Record):
    """A domain's own options, by group. id is the domain's."""

    options: dict[str, dict[str, Any]] = field(default_factory=dict)
