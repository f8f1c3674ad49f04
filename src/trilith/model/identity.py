"""Who there is: domains, projects, users, groups, roles and what they were given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trilith.model.record import Record

#: admin ⊃ manager ⊃ member ⊃ reader (Keystone's default implied roles); service stands alone
IMPLIED_ROLES: dict[str, str] = {"admin": "manager", "manager": "member", "member": "reader"}
DEFAULT_ROLES = ("admin", "manager", "member", "reader", "service")
DEFAULT_DOMAIN = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain(Record):
    name: str
    description: str = ""
    enabled: bool = True
    tags: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(Record):
    """parent_id is a project or the domain itself. extra: attributes that the API keeps without a meaning."""

    name: str
    domain_id: str = DEFAULT_DOMAIN
    parent_id: str = DEFAULT_DOMAIN
    description: str = ""
    enabled: bool = True
    tags: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Record):
    """password is an argon2id hash, "" for none. failed_* count log-in attempts for the lock-out.

    last_active_at: of the last log-in, kept to the day; 0 for none yet.
    """

    name: str
    domain_id: str = DEFAULT_DOMAIN
    enabled: bool = True
    email: str = ""
    description: str = ""
    default_project_id: str = ""
    password: str = ""
    password_at: float = 0.0
    password_expires_at: float = 0.0
    password_history: tuple[str, ...] = ()
    failed_count: int = 0
    failed_at: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    tokens_valid_from: float = 0.0  # tokens issued before are revoked
    last_active_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Record):
    name: str
    domain_id: str = DEFAULT_DOMAIN
    description: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMember(Record):
    group_id: str
    user_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Role(Record):
    name: str
    domain_id: str = ""  # "" for a global role
    description: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpliedRole(Record):
    prior_id: str
    implied_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleAssignment(Record):
    """actor: user or group id; target: project or domain id, or "system"."""

    actor_kind: str  # user | group
    actor_id: str
    target_kind: str  # project | domain | system
    target_id: str
    role_id: str
    inherited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Record):
    name: str
    type: str
    description: str = ""
    enabled: bool = True
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region(Record):
    description: str = ""
    parent_region_id: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Record):
    """url "": one of the cloud's own services; made from public_url at answer time."""

    service_id: str
    interface: str  # public | internal | admin
    region_id: str
    url: str = ""
    enabled: bool = True
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationCredential(Record):
    """secret is an argon2id hash; roles are role ids; access_rules are ids of AccessRule (none: no restriction)."""

    name: str
    user_id: str
    project_id: str
    secret: str
    description: str = ""
    roles: tuple[str, ...] = ()
    expires_at: float = 0.0
    unrestricted: bool = False
    access_rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRule(Record):
    """What requests an application credential may make. path: a pattern of `*`, `**` and `{named}` parts."""

    user_id: str
    service: str
    method: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential(Record):
    """blob is sealed. id of an EC2 credential: SHA-256 of its access key, as in Keystone.

    used_step: of a totp one, the last time step whose passcode was taken (RFC 6238, 5.2: each counts once).
    """

    user_id: str
    type: str
    blob: str
    project_id: str = ""
    app_credential_id: str = ""
    used_step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust(Record):
    """A user (trustor) lets another (trustee) act with some of their roles on a project.

    roles are role ids. remaining_uses: tokens that may still be had from it, -1 for any number.
    """

    trustor_user_id: str
    trustee_user_id: str
    impersonation: bool
    project_id: str = ""
    roles: tuple[str, ...] = ()
    expires_at: float = 0.0
    remaining_uses: int = -1
    redelegated_trust_id: str = ""
    redelegation_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyBlob(Record):
    """A policy document kept for other services (Keystone's legacy /policies); nothing here reads it."""

    blob: str
    type: str
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredLimit(Record):
    """The default limit of a resource of a service."""

    service_id: str
    resource_name: str
    default_limit: int
    region_id: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit(Record):
    """A project's or domain's own limit, in place of the registered one."""

    registered_limit_id: str
    resource_limit: int
    project_id: str = ""
    domain_id: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation(Record):
    """A token, named by its audit id, that no longer counts. Purged when it would have expired anyway."""

    audit_id: str
    expires_at: float
    chain: bool = False
