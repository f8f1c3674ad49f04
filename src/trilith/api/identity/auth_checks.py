"""What a log-in's request says about itself, before anything is looked up."""

from __future__ import annotations

from trilith import errors
from trilith.api.http.tokens import Valid
from trilith.api.identity.auth_wire import Identity, PasswordUser, ProjectGiven, Scope, TotpUser, UserGiven

METHODS = ("password", "token", "totp", "application_credential", "oauth1")


def asked_scope(given: Scope | str | None) -> Scope | None:
    """Raises Invalid for a text other than "unscoped"."""
    if isinstance(given, str):
        if given != "unscoped":
            raise errors.Invalid("scope must be an object, or the text unscoped.", field="scope")
        return Scope(unscoped={})
    return given


def check(identity: Identity, scope: Scope | None) -> None:
    """What can be told from the request alone. Raises Invalid; Unauthenticated for a method that is none of ours."""
    if not identity.methods:
        raise errors.Invalid("identity.methods is empty.", field="methods")
    for method in identity.methods:
        if method not in METHODS:
            raise errors.Unauthenticated("Attempted to authenticate with an unsupported method.")
        if method != "oauth1" and getattr(identity, method) is None:
            raise errors.Invalid(f"Expecting to find {method} in identity.", field=method)
    if "password" in identity.methods and identity.password is not None:
        _named(identity.password.user, "user")
    if "totp" in identity.methods and identity.totp is not None:
        _named(identity.totp.user, "user")
    if "oauth1" in identity.methods and (len(identity.methods) > 1 or scope is not None):
        raise errors.Unauthenticated("An OAuth access token has its own scope and takes no other method.")
    if "application_credential" in identity.methods and identity.application_credential is not None:
        given = identity.application_credential
        if given.id is None:
            if given.name is None or given.user is None:
                raise errors.Invalid("An application credential needs its id, or its name and user.", field="id")
            _named(given.user, "user")
        if scope is not None:
            raise errors.Unauthenticated("An application credential has its own scope and takes no other.")
        if set(identity.methods) != {"application_credential"}:
            raise errors.Unauthenticated("An application credential proves all there is, and takes no other method.")
    if scope is None:
        return
    named = [n for n in ("project", "domain", "system", "trust", "unscoped") if getattr(scope, n) is not None]
    if len(named) != 1:
        raise errors.Invalid("scope must name one of project, domain, system, OS-TRUST:trust.", field="scope")
    if scope.project is not None:
        _named(scope.project, "project")
    if scope.domain is not None and scope.domain.id is None and scope.domain.name is None:
        raise errors.Invalid("scope.domain needs an id or a name.", field="domain")


def _named(given: PasswordUser | TotpUser | UserGiven | ProjectGiven, noun: str) -> None:
    if given.id is not None:
        return
    if given.name is None:
        raise errors.Invalid(f"{noun} needs an id, or a name and its domain.", field=noun)
    if given.domain is None or (given.domain.id is None and given.domain.name is None):
        raise errors.Invalid(f"{noun}: a name needs its domain.", field=noun)


def check_rescope(base: Valid, scope: Scope | None) -> None:
    """Raises Forbidden: delegated tokens keep the scope they were given for."""
    if base.token.app_credential_id:
        raise errors.Forbidden("A token of an application credential cannot be rescoped.")
    if base.token.access_token_id:
        raise errors.Forbidden("A token of an OAuth access token cannot be rescoped.")
    if base.token.trust_id and scope is not None:
        raise errors.Forbidden("A token of a trust cannot be rescoped.")
