"""Tokens: encrypted, stateless (Fernet), checked against who exists now.

What a token says is sealed in it; whether it still counts (user, project, roles, revocations) is read from the
store and kept until an identity noun changes.
"""

from __future__ import annotations

import base64
import functools
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken

from trilith import errors
from trilith.commands.identity_directory import Directory, read_directory
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
from trilith.model.record import Actor
from trilith.store.contract import Store
from trilith.store.mapping import REGISTRY
from trilith.store.seal import Sealer
from trilith.store.tx import Reader

_CACHE = 4096
T = TypeVar("T")


class Token(msgspec.Struct, frozen=True, array_like=True):
    """Times: seconds since the epoch. audit_ids: its own, then the chain's first (Keystone's meaning)."""

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
    directory: Directory
    actor: Actor


_REFUSED = "The request you have made requires authentication."


class Tokens:
    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._fernet = Fernet(base64.urlsafe_b64encode(sealer.derive("tokens")))
        self._cache: OrderedDict[str, Valid] = OrderedDict()
        self._generation = 0
        self._directory: Directory | None = None
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Token).decode

    def issue(self, token: Token) -> str:
        return self._fernet.encrypt(self._encode(token)).decode().rstrip("=")

    def read(self, text: str) -> Token:
        """What the token says. Raises Unauthenticated when it is not ours or has expired."""
        if len(text) > 4096:
            raise errors.Unauthenticated(_REFUSED)
        try:
            token = self._decode(self._fernet.decrypt(text + "=" * (-len(text) % 4)))
        except (InvalidToken, msgspec.MsgspecError, ValueError) as err:
            raise errors.Unauthenticated(_REFUSED) from err
        if token.expires_at <= time.time():
            raise errors.Unauthenticated(_REFUSED)
        return token

    async def look(self, fn: Callable[[Reader, Directory], T]) -> tuple[T, int]:
        """Run fn in one snapshot with the directory, which is read along when it is not kept.

        Also the generation that the look began in, for `keep`.
        """
        generation, known = self._generation, self._directory

        def run(reader: Reader) -> tuple[T, Directory]:
            directory = known or read_directory(reader)
            return fn(reader, directory), directory

        made, directory = await self._store.read(run)
        if generation == self._generation:
            self._directory = directory
        return made, generation

    def keep(self, text: str, valid: Valid, generation: int) -> None:
        """Spare the next check its reads, unless identity has changed since the look began."""
        if generation != self._generation:
            return
        self._cache[text] = valid
        while len(self._cache) > _CACHE:
            self._cache.popitem(last=False)

    async def valid(self, text: str) -> Valid:
        """Raises Unauthenticated when it no longer counts."""
        found = self._cache.get(text)
        if found is not None and found.token.expires_at > time.time():
            self._cache.move_to_end(text)
            return found
        token = self.read(text)
        valid, generation = await self.look(lambda reader, directory: load(reader, token, directory))
        self.keep(text, valid, generation)
        return valid

    async def actor(self, token: str) -> Actor:
        return (await self.valid(token)).actor

    def forget(self) -> None:
        self._generation += 1
        self._directory = None
        self._cache.clear()


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
    trust = _trust(reader, token)
    roles: tuple[Role, ...] = ()
    scoped = bool(token.project_id or token.domain_id or token.system)
    if scoped:
        whose = trust.trustor_user_id if trust else user.id
        roles = directory.effective(
            assigned(reader, whose, project=project, domain_id=token.domain_id, system=token.system)
        )
    credential, rules = _app_credential(reader, token)
    if credential is not None:
        allowed = {r.id for r in directory.effective(set(credential.roles))}
        roles = tuple(r for r in roles if r.id in allowed)
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
        directory=directory,
        actor=actor,
    )


def _trust(reader: Reader, token: Token) -> Trust | None:
    """The trust behind the token, with both of its users in good standing."""
    if not token.trust_id:
        return None
    trust = reader.find(Trust, token.trust_id)
    if trust is None:
        raise errors.Unauthenticated(_REFUSED)
    users = reader.select(User, id=[trust.trustor_user_id, trust.trustee_user_id])
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


@functools.lru_cache(maxsize=1024)
def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*|\{[^}/]*\})", path)
    return re.compile("".join(".+" if p == "**" else "[^/]+" if p[:1] in ("*", "{") else re.escape(p) for p in parts))


def permit(actor: Actor, service: str, method: str, path: str) -> None:
    """Hold a request to the access rules of its application credential (keystonemiddleware's meaning of them).

    A rule's path may be written with or without the service's own first part (/compute/v2.1/… or /v2.1/…).
    Raises Unauthenticated, as keystonemiddleware does.
    """
    if not actor.access_rules:
        return
    inner = "/" + path.lstrip("/").partition("/")[2]
    for rule_service, rule_method, rule_path in actor.access_rules:
        if rule_service != service or rule_method != method:
            continue
        pattern = _pattern(rule_path)
        if pattern.fullmatch(path) or pattern.fullmatch(inner):
            return
    raise errors.Unauthenticated(_REFUSED, hint="The application credential's access rules do not cover this request.")
