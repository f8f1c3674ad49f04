"""Who a log-in says it is, and the token that it would be given."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from trilith import errors
from trilith.api.http.tokens import Token, Valid, load, new_audit_id
from trilith.api.identity.auth_receipts import Receipt
from trilith.api.identity.auth_wire import (
    AppCredentialMethod,
    DomainGiven,
    Identity,
    PasswordUser,
    ProjectGiven,
    Scope,
    TotpUser,
    UserGiven,
)
from trilith.commands.identity_directory import Directory
from trilith.model.identity import ApplicationCredential, Domain, Project, Trust, User
from trilith.model.identity_extensions import AccessToken
from trilith.store.tx import Reader


@dataclass(frozen=True, slots=True)
class Found:
    """What one look told. ready: the token that success would give; None when its scope is refused."""

    user: User | None
    secret: str  # the hash to verify against
    ready: Valid | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    identity: Identity
    scope: Scope | None
    base: Valid | None
    receipt: Receipt | None
    access: AccessToken | None
    now: float
    lifetime: float

    def look(self, reader: Reader, directory: Directory) -> Found:
        """Who is meant and what their token would be, in one snapshot; verifies nothing yet."""
        if "application_credential" in self.identity.methods and self.identity.application_credential is not None:
            return self._by_app_credential(reader, directory, self.identity.application_credential)
        if self.access is not None:
            return self._by_access_token(reader, directory, self.access)
        user = self._one_user(reader, directory)
        if user is None:
            return Found(None, "", None)
        return Found(user, user.password, self._ready(reader, directory, user))

    def _one_user(self, reader: Reader, directory: Directory) -> User | None:
        """Whom all methods agree on."""
        meant: list[User | None] = [self.base.user] if self.base is not None else []
        if self.receipt is not None:
            meant.append(reader.find(User, self.receipt.user_id))
        if "password" in self.identity.methods and self.identity.password is not None:
            meant.append(_user(reader, directory, self.identity.password.user))
        if "totp" in self.identity.methods and self.identity.totp is not None:
            meant.append(_user(reader, directory, self.identity.totp.user))
        first = meant[0] if meant else None
        return first if all(u is not None and first is not None and u.id == first.id for u in meant) else None

    def _by_access_token(self, reader: Reader, directory: Directory, access: AccessToken) -> Found:
        token = replace_token(
            self._token(access.user_id),
            project_id=access.project_id,
            access_token_id=access.id,
            limit=access.expires_at,
        )
        return Found(reader.find(User, access.user_id), "", _loaded(reader, directory, token))

    def _by_app_credential(self, reader: Reader, directory: Directory, given: AppCredentialMethod) -> Found:
        credential: ApplicationCredential | None = None
        if given.id is not None:
            credential = reader.find(ApplicationCredential, given.id)
        elif given.user is not None:
            user = _user(reader, directory, given.user)
            if user is not None:
                credential = reader.first(ApplicationCredential, user_id=user.id, name=given.name)
        if credential is None or 0 < credential.expires_at <= self.now:
            return Found(None, "", None)
        token = replace_token(
            self._token(credential.user_id),
            project_id=credential.project_id,
            app_credential_id=credential.id,
            limit=credential.expires_at,
        )
        return Found(None, credential.secret, _loaded(reader, directory, token))

    def _token(self, user_id: str) -> Token:
        """Without a scope. Rescoping keeps expiry and chain, and adds its method."""
        methods = [*(self.receipt.methods if self.receipt else ()), *self.identity.methods]
        if self.base is None:
            return Token(
                user_id=user_id,
                methods=tuple(dict.fromkeys(methods)),
                issued_at=self.now,
                expires_at=self.now + self.lifetime,
                audit_ids=(new_audit_id(),),
            )
        had = self.base.token
        return Token(
            user_id=user_id,
            methods=tuple(dict.fromkeys([*had.methods, *methods])),
            issued_at=self.now,
            expires_at=had.expires_at,
            audit_ids=(new_audit_id(), had.audit_ids[-1]),
            trust_id=had.trust_id,
            project_id=had.project_id if had.trust_id else "",
            idp_id=had.idp_id,
            protocol_id=had.protocol_id,
            group_ids=had.group_ids,
        )

    def _ready(self, reader: Reader, directory: Directory, user: User) -> Valid | None:
        token, scope = self._token(user.id), self.scope
        if token.trust_id or (scope is not None and scope.unscoped is not None):
            return _loaded(reader, directory, token, user=None if token.trust_id else user)
        if scope is None:
            return self._default(reader, directory, user, token)
        if scope.system is not None:
            return _loaded(reader, directory, _with(token, system=scope.system.all), user=user)
        if scope.domain is not None:
            domain = _domain(directory, scope.domain)
            return _loaded(reader, directory, _with(token, domain_id=domain.id), user=user) if domain else None
        if scope.project is not None:
            project = _project(reader, directory, scope.project)
            if project is None:
                return None
            return _loaded(reader, directory, _with(token, project_id=project.id), user=user, project=project)
        if scope.trust is not None:
            return self._by_trust(reader, directory, user, token, scope.trust.id)
        return None

    def _default(self, reader: Reader, directory: Directory, user: User, token: Token) -> Valid | None:
        """For no scope: the user's default project where that can be had, else none."""
        if user.default_project_id:
            scoped = _loaded(reader, directory, _with(token, project_id=user.default_project_id), user=user)
            if scoped is not None:
                return scoped
        return _loaded(reader, directory, token, user=user)

    def _by_trust(self, reader: Reader, directory: Directory, user: User, token: Token, trust_id: str) -> Valid | None:
        trust = reader.find(Trust, trust_id)
        if trust is None or 0 < trust.expires_at <= self.now or trust.remaining_uses == 0:
            return None
        if trust.trustee_user_id != user.id:
            return None
        whose = trust.trustor_user_id if trust.impersonation else trust.trustee_user_id
        token = replace_token(
            replace_user(token, whose), project_id=trust.project_id, trust_id=trust.id, limit=trust.expires_at
        )
        # the trustee itself must be in good standing, too: load sees to both
        return _loaded(reader, directory, token)


def _with(token: Token, *, project_id: str = "", domain_id: str = "", system: bool = False) -> Token:
    return msgspec.structs.replace(token, project_id=project_id, domain_id=domain_id, system=system)


def replace_user(token: Token, user_id: str) -> Token:
    return msgspec.structs.replace(token, user_id=user_id)


def replace_token(
    token: Token,
    *,
    project_id: str,
    limit: float,
    app_credential_id: str = "",
    trust_id: str = "",
    access_token_id: str = "",
) -> Token:
    """limit: when what it was made from runs out, 0 for never; the token is not valid beyond."""
    return msgspec.structs.replace(
        token,
        project_id=project_id,
        app_credential_id=app_credential_id,
        trust_id=trust_id,
        access_token_id=access_token_id,
        expires_at=min(token.expires_at, limit) if limit else token.expires_at,
    )


def _loaded(
    reader: Reader, directory: Directory, token: Token, *, user: User | None = None, project: Project | None = None
) -> Valid | None:
    try:
        return load(reader, token, directory, fresh=True, user=user, project=project)
    except errors.Unauthenticated:
        return None  # said only after the password was verified


def _user(reader: Reader, directory: Directory, given: PasswordUser | TotpUser | UserGiven) -> User | None:
    if given.id is not None:
        return reader.find(User, given.id)
    domain = _domain(directory, given.domain)
    return reader.first(User, domain_id=domain.id, name=given.name) if domain else None


def _project(reader: Reader, directory: Directory, given: ProjectGiven) -> Project | None:
    if given.id is not None:
        return reader.find(Project, given.id)
    domain = _domain(directory, given.domain)
    return reader.first(Project, domain_id=domain.id, name=given.name) if domain else None


def _domain(directory: Directory, given: DomainGiven | None) -> Domain | None:
    if given is None:
        return None
    if given.id is not None:
        return directory.domains.get(given.id)
    return directory.domains_by_name.get(given.name or "")
