"""What a token says, and all that it stands for now."""

from __future__ import annotations

import base64
import functools
import secrets
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from trilith import errors
from trilith.commands.identity_directory import Directory
from trilith.commands.roles import assigned
from trilith.model.identity import (
    AccessRule,
    ApplicationCredential,
    Domain,
    Project,
    Revocation,
    Role,
    Trust,
    User,
)
from trilith.model.identity_extensions import AccessToken
from trilith.model.record import Actor
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

_REFUSED = "The request you have made requires authentication."


class Token(msgspec.Struct, frozen=True, array_like=True):
    """Times: seconds since the epoch. audit_ids: its own, then the chain's first (Keystone's meaning).

    access_token_id: of OAuth 1.0a. idp_id, protocol_id, group_ids: of a user whom an identity provider vouched for, and
    the groups that its mapping put them in for as long as the token lasts. New fields go to the end: tokens that are
    out were made without them.
    """

    user_id: str
    methods: tuple[str, ...]
    issued_at: float
    expires_at: float
    audit_ids: tuple[str, ...]
    project_id: str = ""
    domain_id: str = ""
    system: bool = False
    app_credential_id: str = ""
    trust_id: str = ""
    version: int = 1
    access_token_id: str = ""
    idp_id: str = ""
    protocol_id: str = ""
    group_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Valid:
    """A token with all that it stands for now. user is whom it speaks for: of an impersonating trust, the trustor."""

    token: Token
    user: User
    user_domain: Domain
    roles: tuple[Role, ...]
    project: Project | None
    project_domain: Domain | None
    domain: Domain | None
    app_credential: ApplicationCredential | None
    access_rules: tuple[AccessRule, ...]
    trust: Trust | None
    access: AccessToken | None
    directory: Directory
    actor: Actor


def new_audit_id() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")


def load(
    reader: Reader,
    token: Token,
    directory: Directory,
    *,
    fresh: bool = False,
    user: User | None = None,
    project: Project | None = None,
) -> Valid:
    """Everything the token stands for. Raises Unauthenticated when user, scope or roles are gone or disabled.

    fresh: the token is being made, so nothing can have revoked it. user, project: already read in this snapshot.
    An expiry of the application credential or trust needs no check: the token's own is never later.
    """
    user = user or reader.find(User, token.user_id)
    if user is None or not user.enabled or (not fresh and token.issued_at < user.tokens_valid_from):
        raise errors.Unauthenticated(_REFUSED)
    user_domain = directory.domains.get(user.domain_id)
    if user_domain is None or not user_domain.enabled or (not fresh and _revoked(reader, token)):
        raise errors.Unauthenticated(_REFUSED)
    project_domain = domain = None
    if token.project_id:
        project = project or reader.find(Project, token.project_id)
        project_domain = directory.domains.get(project.domain_id) if project else None
        if project is None or not project.enabled or project_domain is None or not project_domain.enabled:
            raise errors.Unauthenticated(_REFUSED)
    elif token.domain_id:
        domain = directory.domains.get(token.domain_id)
        if domain is None or not domain.enabled:
            raise errors.Unauthenticated(_REFUSED)
    if token.idp_id and not directory.vouches(token.idp_id):
        raise errors.Unauthenticated(_REFUSED)
    trust = _trust(reader, token, directory, fresh=fresh)
    roles: tuple[Role, ...] = ()
    scoped = bool(token.project_id or token.domain_id or token.system)
    if scoped:
        whose = trust.trustor_user_id if trust else user.id
        roles = directory.effective(
            assigned(
                reader,
                whose,
                project=project,
                domain_id=token.domain_id,
                system=token.system,
                groups=token.group_ids,
            )
        )
    credential, rules = _app_credential(reader, token)
    if credential is not None:
        allowed = {r.id for r in directory.effective(set(credential.roles))}
        roles = tuple(r for r in roles if r.id in allowed)
    access = _access(reader, token)
    if access is not None:
        given = {r.id for r in directory.effective(set(access.roles))}
        roles = tuple(r for r in roles if r.id in given)
    if trust is not None and trust.project_id:
        # all that was delegated must still be held, as in Keystone: half a trust is none
        held = {r.id for r in roles}
        roles = directory.effective(set(trust.roles))
        if not {r.id for r in roles} <= held:
            raise errors.Unauthenticated(_REFUSED)
    if scoped and not roles:
        raise errors.Unauthenticated(_REFUSED)
    names = tuple(r.name for r in roles)
    actor = Actor(
        user_id=user.id,
        user_name=user.name,
        user_domain_id=user.domain_id,
        project_id=token.project_id,
        project_name=project.name if project and token.project_id else "",
        project_domain_id=project.domain_id if project and token.project_id else "",
        domain_id=token.domain_id,
        system=token.system,
        roles=names,
        is_admin="admin" in names,
        credential_id=token.app_credential_id,
        trust_id=token.trust_id,
        access_token_id=token.access_token_id,
        access_rules=tuple((r.service, r.method, r.path) for r in rules),
    )
    return Valid(
        token=token,
        user=user,
        user_domain=user_domain,
        roles=roles,
        project=project if token.project_id else None,
        project_domain=project_domain,
        domain=domain,
        app_credential=credential,
        access_rules=rules,
        trust=trust,
        access=access,
        directory=directory,
        actor=actor,
    )


def _access(reader: Reader, token: Token) -> AccessToken | None:
    """What a user gave to an OAuth consumer. An expiry needs no check: the token's own is never later."""
    if not token.access_token_id:
        return None
    found = reader.find(AccessToken, token.access_token_id)
    if found is None:
        raise errors.Unauthenticated(_REFUSED)
    return found


def _trust(reader: Reader, token: Token, directory: Directory, *, fresh: bool) -> Trust | None:
    """The trust behind the token, with both of its users and their domains in good standing, and no token of either
    ended since (as Keystone's revocation by user, which means trustor and trustee alike)."""
    if not token.trust_id:
        return None
    trust = reader.find(Trust, token.trust_id)
    if trust is None:
        raise errors.Unauthenticated(_REFUSED)
    users = reader.select(User, id=[trust.trustor_user_id, trust.trustee_user_id])
    domains = [directory.domains.get(u.domain_id) for u in users]
    if any(d is None or not d.enabled for d in domains):
        raise errors.Unauthenticated(_REFUSED)
    if not fresh and any(token.issued_at < u.tokens_valid_from for u in users):
        raise errors.Unauthenticated(_REFUSED)
    if any(not u.enabled for u in users) or len(users) < len({trust.trustor_user_id, trust.trustee_user_id}):
        raise errors.Unauthenticated(_REFUSED)
    return trust


def _app_credential(reader: Reader, token: Token) -> tuple[ApplicationCredential | None, tuple[AccessRule, ...]]:
    if not token.app_credential_id:
        return None, ()
    credential = reader.find(ApplicationCredential, token.app_credential_id)
    if credential is None:
        raise errors.Unauthenticated(_REFUSED)
    rules = reader.select(AccessRule, id=credential.access_rules) if credential.access_rules else []
    if len(rules) < len(credential.access_rules):
        # a missing rule would widen what the credential may do
        raise errors.Unauthenticated(_REFUSED)
    return credential, tuple(rules)


@functools.cache
def _revocations() -> sa.Select[Any]:
    """Built once: every check of a token asks, and building it costs more than running it."""
    t = REGISTRY[Revocation].table.c
    own = sa.and_(t.audit_id == sa.bindparam("own"), t.chain.is_(False))
    chain = sa.and_(t.audit_id == sa.bindparam("first"), t.chain.is_(True))
    return sa.select(t.seq).where(sa.or_(own, chain)).limit(1)


def _revoked(reader: Reader, token: Token) -> bool:
    asked = {"own": token.audit_ids[0], "first": token.audit_ids[-1]}
    return reader.conn.execute(_revocations(), asked).first() is not None
