"""Who there is: domains, projects, users, groups, roles and what they were given."""

from __future__ import annotations

from dataclasses import dataclass, field

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
    options: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(Record):
    """parent_id is a project or the domain itself."""

    name: str
    domain_id: str = DEFAULT_DOMAIN
    parent_id: str = DEFAULT_DOMAIN
    description: str = ""
    enabled: bool = True
    tags: tuple[str, ...] = ()
    options: dict[str, bool] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Record):
    """password is an argon2id hash, "" for none. failed_* count log-in attempts for the lock-out."""

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
    options: dict[str, bool] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    tokens_valid_from: float = 0.0  # tokens issued before are revoked


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Record):
    name: str
    domain_id: str = DEFAULT_DOMAIN
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMember(Record):
    group_id: str
    user_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Role(Record):
    name: str
    domain_id: str = ""  # "" for a global role
    description: str = ""
    options: dict[str, bool] = field(default_factory=dict)


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
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region(Record):
    description: str = ""
    parent_region_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Record):
    """url "" with builtin=True: made from public_url at answer time."""

    service_id: str
    interface: str  # public | internal | admin
    region_id: str
    url: str = ""
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationCredential(Record):
    """secret is an argon2id hash; roles are role ids."""

    name: str
    user_id: str
    project_id: str
    secret: str
    description: str = ""
    roles: tuple[str, ...] = ()
    expires_at: float = 0.0
    unrestricted: bool = False
    access_rules: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation(Record):
    """A token, named by its audit id, that no longer counts. Purged when it would have expired anyway."""

    audit_id: str
    expires_at: float
    chain: bool = False
