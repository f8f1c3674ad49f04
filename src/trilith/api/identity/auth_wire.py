"""The request of POST /v3/auth/tokens."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from trilith.commands.passwords import LONGEST

Text = Annotated[str, Meta(max_length=4096)]


class DomainGiven(Struct):
    id: Text | None = None
    name: Text | None = None


class PasswordUser(Struct):
    password: Annotated[str, Meta(max_length=LONGEST)]
    id: Text | None = None
    name: Text | None = None
    domain: DomainGiven | None = None


class TotpUser(Struct):
    passcode: Annotated[str, Meta(max_length=64)]
    id: Text | None = None
    name: Text | None = None
    domain: DomainGiven | None = None


class UserGiven(Struct):
    id: Text | None = None
    name: Text | None = None
    domain: DomainGiven | None = None


class PasswordMethod(Struct):
    user: PasswordUser


class TotpMethod(Struct):
    user: TotpUser


class TokenMethod(Struct):
    id: Text


class AppCredentialMethod(Struct):
    secret: Annotated[str, Meta(max_length=LONGEST)]
    id: Text | None = None
    name: Text | None = None
    user: UserGiven | None = None


class Identity(Struct):
    methods: Annotated[list[Text], Meta(max_length=8)]
    password: PasswordMethod | None = None
    token: TokenMethod | None = None
    application_credential: AppCredentialMethod | None = None
    totp: TotpMethod | None = None


class ProjectGiven(Struct):
    id: Text | None = None
    name: Text | None = None
    domain: DomainGiven | None = None


class SystemGiven(Struct):
    all: bool


class TrustGiven(Struct):
    id: Text


class Scope(Struct, rename={"trust": "OS-TRUST:trust"}):
    project: ProjectGiven | None = None
    domain: DomainGiven | None = None
    system: SystemGiven | None = None
    trust: TrustGiven | None = None
    unscoped: dict[str, Any] | None = None


class Auth(Struct):
    """scope: what for; the text "unscoped" or {"unscoped": {}} for nothing, absent for the default project."""

    identity: Identity
    scope: Scope | Text | None = None


class AuthRequest(Struct):
    auth: Auth
