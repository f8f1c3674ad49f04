"""/v3/users."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any

import sqlalchemy as sa
from msgspec import UNSET, Meta, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.identity import listing
from trilith.api.identity.auth import count_attempt, is_inactive, lock_out, refused
from trilith.api.identity.auth_tokens import accessible_projects
from trilith.api.identity.listing import Filters
from trilith.api.identity.views import group_view, project_view, user_view
from trilith.api.identity.wire import Name, Text, parse_open, parse_time, set_fields
from trilith.commands import passwords
from trilith.commands.identity_domain_config import list_limit
from trilith.commands.identity_federation import set_federated
from trilith.commands.identity_rules import hex_id, merged_options
from trilith.commands.identity_users import (
    PasswordRules,
    change_password,
    check_age,
    create_user,
    delete_user,
    update_user,
)
from trilith.model.identity import DEFAULT_DOMAIN, Group, GroupMember, Project, User
from trilith.model.identity_extensions import FederatedUser
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

Password = Annotated[str, Meta(max_length=passwords.LONGEST)]
_FILTERS = Filters(texts=("name", "domain_id"), flags=("enabled",))
_COMPARE = {"lt": "__lt__", "lte": "__le__", "gt": "__gt__", "gte": "__ge__", "eq": "__eq__", "neq": "__ne__"}


class Options(Struct, forbid_unknown_fields=True):
    """Keystone's resource options of users; null takes one away."""

    ignore_change_password_upon_first_use: bool | UnsetType | None = UNSET
    ignore_password_expiry: bool | UnsetType | None = UNSET
    ignore_lockout_failure_attempts: bool | UnsetType | None = UNSET
    ignore_user_inactivity: bool | UnsetType | None = UNSET
    lock_password: bool | UnsetType | None = UNSET
    multi_factor_auth_enabled: bool | UnsetType | None = UNSET
    multi_factor_auth_rules: list[list[str]] | UnsetType | None = UNSET


class ProtocolGiven(Struct, forbid_unknown_fields=True):
    protocol_id: Name
    unique_id: Name


class FederatedGiven(Struct, forbid_unknown_fields=True):
    idp_id: Name
    protocols: Annotated[list[ProtocolGiven], Meta(min_length=1, max_length=64)]


class UserUpdate(Struct):
    name: Name | UnsetType = UNSET
    domain_id: str | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    password: Password | UnsetType | None = UNSET
    email: Text | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET
    default_project_id: str | UnsetType | None = UNSET
    options: Options | UnsetType = UNSET
    federated: Annotated[list[FederatedGiven], Meta(max_length=64)] | UnsetType = UNSET


class UserCreate(UserUpdate, kw_only=True):
    name: Name


class UserBody(Struct):
    user: dict[str, Any]


class PasswordChange(Struct):
    password: Password
    original_password: Password


class PasswordBody(Struct):
    user: PasswordChange


def rules(call: Call) -> PasswordRules:
    settings = call.host.settings
    return PasswordRules(
        unique=settings.password_history,
        days=settings.password_days,
        least_days=settings.password_minimum_days,
        first_use=settings.password_first_use,
    )


def options_of(given: Struct) -> dict[str, Any]:
    """Nulls stay: they take an option away."""
    found = ((n, getattr(given, n)) for n in given.__struct_fields__)
    return {n: v for n, v in found if v is not UNSET}


async def hashed(call: Call, password: str | UnsetType | None) -> str:
    """ "" for none. Raises Invalid for one that the cloud's rules refuse."""
    if password is UNSET or password is None:
        return ""
    passwords.check_strength(password, call.host.settings.password_regex)
    return await passwords.hash_password(password)


async def _load(call: Call, policy: str) -> User:
    """Raises Forbidden before Missing, so that nobody learns who exists."""
    user_id = call.params["user_id"]
    user = await call.read(lambda r: r.find(User, user_id))
    domain_id = user.domain_id if user else ""
    call.allow(f"identity:{policy}", **{"target.user.id": user_id, "target.user.domain_id": domain_id})
    if user is None:
        raise errors.Missing(f"Could not find user: {user_id}.")
    return user


async def create(call: Call) -> dict[str, Any]:
    """201. 400 for a bad attribute or password, 403, 404 for an unknown domain, 409 for a name taken in it."""
    given, extra = parse_open(call.body.user, UserCreate)
    domain_id = given.domain_id or call.actor.domain_id or DEFAULT_DOMAIN
    call.allow("identity:create_user", **{"target.user.domain_id": domain_id})
    fields = set_fields(given, "password", "options", "domain_id", "federated")
    if given.options is not UNSET:
        fields["options"] = merged_options({}, options_of(given.options))
    password = await hashed(call, given.password)
    user = User(id=hex_id(), domain_id=domain_id, extra=extra, **fields)
    links = _links(given.federated)

    def run(tx: Tx) -> User:
        made = create_user(tx, user, password, rules(call))
        set_federated(tx, made, links or [])
        return made

    return {"user": user_view(call, await call.write(run, "user.create"), links or [])}


def _links(given: list[FederatedGiven] | UnsetType) -> list[FederatedUser] | None:
    """None where the request says nothing of it."""
    if given is UNSET:
        return None
    return [
        FederatedUser(id=hex_id(), user_id="", idp_id=f.idp_id, protocol_id=p.protocol_id, unique_id=p.unique_id)
        for f in given
        for p in f.protocols
    ]


async def list_users(call: Call) -> dict[str, Any]:
    """200, a page of those in a domain where the caller's token is of one. 403."""
    domain_id = call.one("domain_id") or call.actor.domain_id
    call.allow("identity:list_users", **{"target.domain_id": domain_id})
    clauses = _FILTERS.clauses(call, User) + _expiry(call)
    if domain_id:
        clauses.append(REGISTRY[User].table.c.domain_id == domain_id)
    t = REGISTRY[FederatedUser].table.c
    asked = {n: call.one(n) for n in ("idp_id", "protocol_id", "unique_id") if call.one(n)}
    if asked:
        tied = sa.select(t.user_id).where(*(t[name] == value for name, value in asked.items()))
        clauses.append(REGISTRY[User].table.c.id.in_(tied))

    def look(reader: Reader) -> tuple[listing.Page, dict[str, list[FederatedUser]]]:
        page = listing.page(call, reader, User, "/v3/users", *clauses, most=list_limit(reader, domain_id))
        links: dict[str, list[FederatedUser]] = {}
        ids = [u.id for u in page.records]
        for one in reader.select(FederatedUser, user_id=ids) if ids else []:
            links.setdefault(one.user_id, []).append(one)
        return page, links

    found, links = await call.read(look)
    return listing.answer("users", found, lambda u: user_view(call, u, links.get(u.id, [])))


def _expiry(call: Call) -> list[listing.Clause]:
    """password_expires_at=lt:2016-11-06T15:32:17Z and the like. Raises Invalid."""
    column = REGISTRY[User].table.c.password_expires_at
    found: list[listing.Clause] = []
    for given in call.all("password_expires_at"):
        how, colon, when = given.partition(":")
        if how not in _COMPARE or not colon:
            how, when = "eq", given
        found.append(getattr(column, _COMPARE[how])(parse_time(when, "password_expires_at")))
    return [*found, column > 0] if found else found


async def show(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    user = await _load(call, "get_user")
    return {"user": user_view(call, user, await call.read(lambda r: r.select(FederatedUser, user_id=user.id)))}


async def update(call: Call) -> dict[str, Any]:
    """200. 400 for a bad attribute or a change of domain, 403, 404, 409 for a name taken."""
    user = await _load(call, "update_user")
    given, extra = parse_open(call.body.user, UserUpdate)
    fields = set_fields(given, "password", "options", "federated")
    if given.options is not UNSET:
        fields["options"] = options_of(given.options)
    if extra:
        fields["extra"] = extra
    password = await hashed(call, given.password)
    if given.password is None:
        fields["password"] = ""
    links = _links(given.federated)

    def run(tx: Tx) -> tuple[User, list[FederatedUser]]:
        done = update_user(tx, user.id, dict(fields), password, rules(call))
        if links is not None:
            set_federated(tx, done, links)
        return done, tx.select(FederatedUser, user_id=user.id)

    return {"user": user_view(call, *await call.write(run, "user.update"))}


async def delete(call: Call) -> None:
    """204. 403, 404."""
    user = await _load(call, "delete_user")
    await call.write(lambda tx: delete_user(tx, user.id), "user.delete")


async def change_own_password(call: Call) -> None:
    """204; no token is asked for, the old password is. 400 for a new one that the rules refuse, 401."""
    user_id, given = call.params["user_id"], call.body.user
    user = await call.read(lambda r: r.find(User, user_id))
    verified = await passwords.verify(user.password if user else "", given.original_password)
    await count_attempt(call, user, verified, lock_out(call))
    if user is None or not verified or not user.enabled or is_inactive(call, user, time.time()):
        raise refused()
    check_age(user, time.time(), rules(call))
    if user.options.get("lock_password"):
        raise errors.Invalid("You cannot change your password: self-service is disabled for this user.")
    unique = rules(call).unique
    if unique and await passwords.among(user.password_history[-unique:], given.password):
        raise errors.Invalid(f"The new password cannot be identical to one of the last {unique}.", field="password")
    password = await hashed(call, given.password)
    # the lock-out's count may have changed the record since; the hash that was verified must still be the one
    old = user.password

    def run(tx: Tx) -> User:
        now = tx.get(User, user_id)
        if now.password != old:
            raise errors.Conflict("The password was changed by someone else at the same time.")
        return change_password(tx, now, password, rules(call))

    who = replace(call.actor, user_id=user.id, user_name=user.name, user_domain_id=user.domain_id)
    await call.host.write(run, actor=who, action="identity.user.password")


async def list_groups(call: Call) -> dict[str, Any]:
    """200: the groups that the user is in. 403, 404."""
    user = await _load(call, "list_groups_for_user")
    groups, members = REGISTRY[Group].table.c, REGISTRY[GroupMember].table.c
    clauses = Filters(texts=("name", "domain_id")).clauses(call, Group)
    inside = groups.id == members.group_id

    def look(reader: Reader) -> list[Group]:
        return reader.select(Group, inside, members.user_id == user.id, *clauses)

    found = await call.read(look)
    return listing.plain(call, "groups", f"/v3/users/{user.id}/groups", [group_view(call, g) for g in found])


async def list_projects(call: Call) -> dict[str, Any]:
    """200: the projects on which the user has a role. 403, 404."""
    user = await _load(call, "list_projects_for_user")
    clauses = Filters(texts=("name", "domain_id", "parent_id"), flags=("enabled",)).clauses(call, Project)
    found = await call.read(lambda r: accessible_projects(r, user.id, *clauses))
    return listing.plain(call, "projects", f"/v3/users/{user.id}/projects", [project_view(call, p) for p in found])
