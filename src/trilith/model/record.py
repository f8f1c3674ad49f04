"""What every stored noun has in common."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """seq: the store's own growing number, for paging. id: the public id. Times: seconds since the epoch, UTC.

    revision grows by one with each change and is compared when written. deleted_at is 0 for the living; a row with
    a time there is a tombstone, kept for changes-since, instance actions and usage.
    """

    seq: int = 0
    id: str
    revision: int = 1
    created_at: float = 0.0
    updated_at: float = 0.0
    deleted_at: float = 0.0


class Change(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedRow:
    """One row of the change feed. cursor is opaque to readers and ordered by commit."""

    cursor: str
    at: float
    noun: str
    change: Change
    id: str
    project_id: str
    revision: int
    version: int = 1  # of this row's own layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks. Written to the audit with the request's id and address.

    roles are names, implied roles included. system is true for a system-scoped token. access_rules are the
    (service type, method, path pattern) that an application credential is limited to; none: no limit.
    """

    user_id: str
    user_name: str = ""
    user_domain_id: str = "default"
    project_id: str = ""
    project_name: str = ""
    project_domain_id: str = ""
    domain_id: str = ""
    system: bool = False
    roles: tuple[str, ...] = ()
    is_admin: bool = False
    request_id: str = ""
    address: str = ""
    credential_id: str = ""  # application credential
    trust_id: str = ""
    access_token_id: str = ""  # of OAuth 1.0a
    access_rules: tuple[tuple[str, str, str], ...] = ()


#: the cloud itself: jobs, reconciliation and bootstrap act in this name
CLOUD = Actor(user_id="cloud", user_name="cloud", is_admin=True, system=True, roles=("admin",))
