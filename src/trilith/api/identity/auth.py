"""Log-in: POST /v3/auth/tokens.

The same work is done, and the same answer given, for a user that does not exist, one that is disabled or locked, and
a wrong password: one look into the store, one argon2id verification, then 401.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.http.tokens import Token, Tokens, Valid, load, new_audit_id
from trilith.api.identity.auth_wire import (
    AppCredentialMethod,
    AuthRequest,
    DomainGiven,
    Identity,
    PasswordUser,
    ProjectGiven,
    Scope,
    UserGiven,
)
from trilith.api.identity.catalog import token_body
from trilith.commands import passwords
from trilith.commands.identity_delegation import consume_trust
from trilith.commands.identity_directory import Directory
from trilith.commands.identity_users import LockOut, record_attempt
from trilith.model.identity import ApplicationCredential, Domain, Project, Trust, User
from trilith.model.record import CLOUD
from trilith.store.tx import Reader

_REFUSED = "The request you have made requires authentication."
_METHODS = ("password", "token", "application_credential")


def tokens_of(call: Call) -> Tokens:
    """Raises Bug where the host checks its tokens elsewhere."""
    tokens = call.host.tokens
    if not isinstance(tokens, Tokens):
        raise errors.Bug("Identity needs the host's own tokens.")
    return tokens


def refused() -> errors.Unauthenticated:
    return errors.Unauthenticated(_REFUSED)


@dataclass(frozen=True, slots=True)
class Found:
    """What one look told. ready: the token that success would give; None when its scope is refused."""

    user: User | None
    secret: str  # the hash to verify against
    ready: Valid | None


async def create_token(call: Call) -> Answer:
    """201 with X-Subject-Token. 400 for a request that is none, 401 for whatever does not add up, 403 for a scope
    that the token given may not be changed to, 404 for a token given that counts no more."""
    body: AuthRequest = call.body
    identity, scope = body.auth.identity, _scope(body.auth.scope)
    _check(identity, scope)
    tokens = tokens_of(call)
    now = time.time()
    base: Valid | None = None
    if identity.token is not None and "token" in identity.methods:
        try:
            base = await tokens.valid(identity.token.id)
        except errors.Unauthenticated as err:
            raise errors.Missing("Failed to validate token.") from err  # 404, as Keystone
        _rescope(base, scope)
    lifetime = call.host.settings.token_lifetime
    claim = _Claim(identity=identity, scope=scope, base=base, now=now, lifetime=lifetime)
    found, generation = await tokens.look(claim.look)
    if "password" in identity.methods or "application_credential" in identity.methods:
        await _verify(call, identity, found, now)
    if found.ready is None:
        raise refused()
    valid = found.ready
    if not _enough(valid):
        raise errors.Unauthenticated("Insufficient authentication methods were given for this user.")
    if valid.trust is not None and valid.trust.remaining_uses >= 0:
        trust_id = valid.trust.id
        await call.host.write(lambda tx: consume_trust(tx, trust_id), actor=valid.actor, action="auth.trust")
    text = tokens.issue(valid.token)
    tokens.keep(text, valid, generation)
    shown = token_body(call.host.settings.url, valid, with_catalog=not _nocatalog(call))
    return Answer(shown, headers={"X-Subject-Token": text, "Vary": "X-Auth-Token"})


def _enough(valid: Valid) -> bool:
    """Keystone's multi-factor rules: the methods that the token stands for hold all of one of the user's rules.

    A method that is none of ours (totp) is never held, so its rules are met by nobody. Rules of users whom a trust or
    an application credential speaks for were met when that was made.
    """
    options = valid.user.options
    rules = [set(rule) for rule in options.get("multi_factor_auth_rules") or () if rule]
    delegated = valid.trust is not None or valid.app_credential is not None
    if delegated or not options.get("multi_factor_auth_enabled") or not rules:
        return True
    return any(rule <= set(valid.token.methods) for rule in rules)


def _nocatalog(call: Call) -> bool:
    return any(key == "nocatalog" for key, _ in call.query)


def _scope(given: Scope | str | None) -> Scope | None:
    """Raises Invalid for a text other than "unscoped"."""
    if isinstance(given, str):
        if given != "unscoped":
            raise errors.Invalid("scope must be an object, or the text unscoped.", field="scope")
        return Scope(unscoped={})
    return given


def _check(identity: Identity, scope: Scope | None) -> None:
    """What can be told from the request alone. Raises Invalid; Unauthenticated for a method that is none of ours."""
    if not identity.methods:
        raise errors.Invalid("identity.methods is empty.", field="methods")
    for method in identity.methods:
        if method not in _METHODS:
            raise errors.Unauthenticated("Attempted to authenticate with an unsupported method.")
        if getattr(identity, method) is None:
            raise errors.Invalid(f"Expecting to find {method} in identity.", field=method)
    if "password" in identity.methods and identity.password is not None:
        _named(identity.password.user, "user")
    if "application_credential" in identity.methods and identity.application_credential is not None:
        given = identity.application_credential
        if given.id is None:
            if given.name is None or given.user is None:
                raise errors.Invalid("An application credential needs its id, or its name and user.", field="id")
            _named(given.user, "user")
        if scope is not None:
            raise errors.Unauthenticated("An application credential has its own scope and takes no other.")
    if scope is None:
        return
    named = [n for n in ("project", "domain", "system", "trust", "unscoped") if getattr(scope, n) is not None]
    if len(named) != 1:
        raise errors.Invalid("scope must name one of project, domain, system, OS-TRUST:trust.", field="scope")
    if scope.project is not None:
        _named(scope.project, "project")
    if scope.domain is not None and scope.domain.id is None and scope.domain.name is None:
        raise errors.Invalid("scope.domain needs an id or a name.", field="domain")


def _named(given: PasswordUser | UserGiven | ProjectGiven, noun: str) -> None:
    if given.id is not None:
        return
    if given.name is None:
        raise errors.Invalid(f"{noun} needs an id, or a name and its domain.", field=noun)
    if given.domain is None or (given.domain.id is None and given.domain.name is None):
        raise errors.Invalid(f"{noun}: a name needs its domain.", field=noun)


def _rescope(base: Valid, scope: Scope | None) -> None:
    """Raises Forbidden: delegated tokens keep the scope they were given for."""
    if base.token.app_credential_id:
        raise errors.Forbidden("A token of an application credential cannot be rescoped.")
    if base.token.trust_id and scope is not None:
        raise errors.Forbidden("A token of a trust cannot be rescoped.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    identity: Identity
    scope: Scope | None
    base: Valid | None
    now: float
    lifetime: float

    def look(self, reader: Reader, directory: Directory) -> Found:
        """Who is meant and what their token would be, in one snapshot; verifies nothing yet."""
        if "application_credential" in self.identity.methods and self.identity.application_credential is not None:
            return self._by_app_credential(reader, directory, self.identity.application_credential)
        user: User | None = None
        if "password" in self.identity.methods and self.identity.password is not None:
            user = _user(reader, directory, self.identity.password.user)
            if self.base is not None and user is not None and user.id != self.base.user.id:
                user = None
        elif self.base is not None:
            user = self.base.user
        if user is None:
            return Found(None, "", None)
        return Found(user, user.password, self._ready(reader, directory, user))

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
        methods = list(self.identity.methods)
        if self.base is None:
            return Token(
                user_id=user_id,
                methods=tuple(methods),
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
    token: Token, *, project_id: str, limit: float, app_credential_id: str = "", trust_id: str = ""
) -> Token:
    """limit: when what it was made from runs out, 0 for never; the token is not valid beyond."""
    return msgspec.structs.replace(
        token,
        project_id=project_id,
        app_credential_id=app_credential_id,
        trust_id=trust_id,
        expires_at=min(token.expires_at, limit) if limit else token.expires_at,
    )


def _loaded(
    reader: Reader, directory: Directory, token: Token, *, user: User | None = None, project: Project | None = None
) -> Valid | None:
    try:
        return load(reader, token, directory, fresh=True, user=user, project=project)
    except errors.Unauthenticated:
        return None  # said only after the password was verified


def _user(reader: Reader, directory: Directory, given: PasswordUser | UserGiven) -> User | None:
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


async def _verify(call: Call, identity: Identity, found: Found, now: float) -> None:
    """Raises Unauthenticated, TooMany."""
    if "application_credential" in identity.methods and identity.application_credential is not None:
        if not await passwords.verify(found.secret, identity.application_credential.secret):
            raise refused()
        return
    if identity.password is None:
        raise refused()
    user = found.user
    verified = await passwords.verify(found.secret if user else "", identity.password.user.password)
    await count_attempt(call, user, verified)
    if user is None or not verified or not user.enabled:
        raise refused()
    if 0 < user.password_expires_at <= now and not user.options.get("ignore_password_expiry"):
        raise errors.Unauthenticated(
            f"The password is expired and needs to be changed for user: {user.id}.",
            hint="Change it with POST /v3/users/{user_id}/password.",
        )


async def count_attempt(call: Call, user: User | None, verified: bool) -> None:
    """Raises Unauthenticated for a user who is locked out, even with the right password."""
    lock = lock_out(call)
    if not lock.attempts or user is None:
        return
    who = replace(CLOUD, request_id=call.request_id, address=call.actor.address)
    user_id = user.id
    # written past call.write: a wrong guess must not cost everyone's kept tokens
    free = await call.host.store.write(
        lambda tx: record_attempt(tx, user_id, verified, lock), actor=who, action="auth.attempt"
    )
    if verified and not free:
        raise refused()


def lock_out(call: Call) -> LockOut:
    settings = call.host.settings
    return LockOut(settings.lockout_attempts, settings.lockout_seconds)
