"""Tokens: encrypted, stateless (Fernet), checked against who exists now.

What a token says is sealed in it; whether it still counts (user, project, roles, revocations) is read from the
store and kept until an identity noun changes.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken

from trilith import errors
from trilith.commands.roles import effective_roles
from trilith.model.identity import ApplicationCredential, Domain, Project, Revocation, Role, User
from trilith.model.record import Actor
from trilith.store.contract import Store
from trilith.store.mapping import REGISTRY
from trilith.store.seal import Sealer
from trilith.store.tx import Reader

_CACHE = 4096


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
    """A token with all that it stands for now."""

    token: Token
    user: User
    user_domain: Domain
    roles: tuple[Role, ...]
    project: Project | None
    project_domain: Domain | None
    domain: Domain | None
    actor: Actor


_REFUSED = "The request you have made requires authentication."


class Tokens:
    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._fernet = Fernet(base64.urlsafe_b64encode(sealer.derive("tokens")))
        self._cache: OrderedDict[str, Valid] = OrderedDict()
        self._generation = 0
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

    async def valid(self, text: str) -> Valid:
        """Raises Unauthenticated when it no longer counts."""
        found = self._cache.get(text)
        if found is not None and found.token.expires_at > time.time():
            self._cache.move_to_end(text)
            return found
        token = self.read(text)
        generation = self._generation
        valid = await self._store.read(lambda reader: load(reader, token))
        if generation == self._generation:  # nothing of identity changed while we looked
            self._cache[text] = valid
            while len(self._cache) > _CACHE:
                self._cache.popitem(last=False)
        return valid

    async def actor(self, token: str) -> Actor:
        return (await self.valid(token)).actor

    def forget(self) -> None:
        self._generation += 1
        self._cache.clear()


def new_audit_id() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")


def load(reader: Reader, token: Token) -> Valid:
    """Everything the token stands for. Raises Unauthenticated when user, scope or roles are gone or disabled."""
    user = reader.find(User, token.user_id)
    if user is None or not user.enabled or token.issued_at < user.tokens_valid_from:
        raise errors.Unauthenticated(_REFUSED)
    user_domain = reader.find(Domain, user.domain_id)
    if user_domain is None or not user_domain.enabled or _revoked(reader, token):
        raise errors.Unauthenticated(_REFUSED)
    project = project_domain = domain = None
    if token.project_id:
        project = reader.find(Project, token.project_id)
        project_domain = reader.find(Domain, project.domain_id) if project else None
        if project is None or not project.enabled or project_domain is None or not project_domain.enabled:
            raise errors.Unauthenticated(_REFUSED)
    elif token.domain_id:
        domain = reader.find(Domain, token.domain_id)
        if domain is None or not domain.enabled:
            raise errors.Unauthenticated(_REFUSED)
    roles = effective_roles(reader, user.id, project=project, domain_id=token.domain_id, system=token.system)
    if token.app_credential_id:
        credential = reader.find(ApplicationCredential, token.app_credential_id)
        if credential is None or 0 < credential.expires_at <= time.time():
            raise errors.Unauthenticated(_REFUSED)
        roles = [r for r in roles if r.id in credential.roles]
    scoped = bool(token.project_id or token.domain_id or token.system)
    if scoped and not roles:
        raise errors.Unauthenticated(_REFUSED)
    names = tuple(r.name for r in roles)
    actor = Actor(
        user_id=user.id,
        user_name=user.name,
        user_domain_id=user.domain_id,
        project_id=token.project_id,
        project_name=project.name if project else "",
        project_domain_id=project.domain_id if project else "",
        domain_id=token.domain_id,
        system=token.system,
        roles=names,
        is_admin="admin" in names,
        credential_id=token.app_credential_id,
        trust_id=token.trust_id,
    )
    return Valid(
        token=token,
        user=user,
        user_domain=user_domain,
        roles=tuple(roles),
        project=project,
        project_domain=project_domain,
        domain=domain,
        actor=actor,
    )


def _revoked(reader: Reader, token: Token) -> bool:
    t = REGISTRY[Revocation].table.c
    own = sa.and_(t.audit_id == token.audit_ids[0], t.chain.is_(False))
    chain = sa.and_(t.audit_id == token.audit_ids[-1], t.chain.is_(True))
    return reader.first(Revocation, sa.or_(own, chain)) is not None
