"""OAuth 1.0a delegation (Keystone's OS-OAUTH1): consumers, request tokens, access tokens.

Requests are verified by oauthlib (RFC 5849). What it asks of a provider is answered from inside one transaction.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from oauthlib.common import Request
from oauthlib.oauth1 import AccessTokenEndpoint, RequestTokenEndpoint, RequestValidator, ResourceEndpoint

from trilith import errors
from trilith.commands.identity_rules import merged
from trilith.commands.roles import assigned, implied_closure
from trilith.model.identity import Project, Role
from trilith.model.identity_extensions import AccessToken, Consumer, RequestToken, UsedNonce
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

#: Keystone's defaults of [oauth1]: seconds that a request token, and an access token, can be used
REQUEST_TOKEN_SECONDS = 8 * 3600
ACCESS_TOKEN_SECONDS = 24 * 3600
#: RSA would need a key of the consumer, which the API has no place for; PLAINTEXT sends the secret itself
_SIGNATURES = ("HMAC-SHA1", "HMAC-SHA256", "HMAC-SHA512")
_VERIFIER_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_DUMMY = "0" * 32
Secret = Consumer | RequestToken | AccessToken


@dataclass(frozen=True, slots=True)
class Signed:
    """A request as it came. url is the public one, which the signature is over."""

    url: str
    method: str
    body: str
    headers: Mapping[str, str]


def secret_of(reader: Reader, record: Secret) -> str:
    return reader.sealer.open(record.secret, context=_context(record)).decode()


def _context(record: Secret) -> str:
    return f"oauth1.secret:{record.id}"


def _sealed(tx: Tx, record: Secret, secret: str) -> str:
    return tx.sealer.seal(secret.encode(), context=_context(record))


def create_consumer(tx: Tx, consumer: Consumer) -> tuple[Consumer, str]:
    """And its secret, which is told once."""
    secret = secrets.token_hex(16)
    return tx.add(replace(consumer, secret=_sealed(tx, consumer, secret))), secret


def update_consumer(tx: Tx, id: str, changes: dict[str, Any]) -> Consumer:
    """Raises Missing."""
    consumer = tx.get(Consumer, id)
    return tx.change(consumer, **merged(consumer, changes)) if changes else consumer


def delete_consumer(tx: Tx, id: str) -> None:
    """With its tokens. Raises Missing."""
    consumer = tx.get(Consumer, id)
    tx.remove_where(RequestToken, consumer_id=id)
    tx.remove_where(AccessToken, consumer_id=id)
    tx.remove(consumer)


def delete_access_token(tx: Tx, user_id: str, id: str) -> None:
    """Raises Missing."""
    if not tx.remove_where(AccessToken, id=id, user_id=user_id):
        raise errors.Missing(f"Could not find access token: {id}.")


def authorize(tx: Tx, request_token_id: str, user_id: str, roles: tuple[str, ...]) -> str:
    """The verifier, which the user hands to the consumer.

    Raises Missing for a token or role that is not there, Unauthenticated for one that has run out, Forbidden for roles
    that the user does not have on the project.
    """
    token = tx.get(RequestToken, request_token_id)
    if token.expires_at <= tx.now:
        raise errors.Unauthenticated("Request token is expired.")
    if not roles:
        raise errors.Invalid("At least one role must be given.", field="roles")
    found = {r.id for r in tx.select(Role, id=roles)}
    lacking = [id for id in roles if id not in found]
    if lacking:
        raise errors.Missing(f"Could not find role: {lacking[0]}.")
    held = implied_closure(tx, assigned(tx, user_id, project=tx.get(Project, token.project_id)))
    if not set(roles) <= held:
        raise errors.Unauthenticated("The authorizing user does not have the role required.")
    verifier = "".join(secrets.choice(_VERIFIER_LETTERS) for _ in range(8))
    tx.change(token, user_id=user_id, roles=roles, verifier=verifier)
    return verifier


def request_token(tx: Tx, signed: Signed, project_id: str) -> str:
    """A form with oauth_token, its secret and when it runs out. Raises Missing, Invalid, Unauthenticated."""
    tx.get(Project, project_id)
    _sweep(tx)
    provider = _Provider(tx, project_id=project_id)
    endpoint = RequestTokenEndpoint(provider, token_generator=_token)
    expires = {"oauth_expires_at": _iso(tx.now + REQUEST_TOKEN_SECONDS)}
    return _form(endpoint.create_request_token_response(*_parts(signed), credentials=expires))


def access_token(tx: Tx, signed: Signed) -> str:
    """In place of an authorized request token, which is used up. Raises Invalid, Unauthenticated."""
    _sweep(tx)
    endpoint = AccessTokenEndpoint(_Provider(tx), token_generator=_token)
    expires = {"oauth_expires_at": _iso(tx.now + ACCESS_TOKEN_SECONDS)}
    return _form(endpoint.create_access_token_response(*_parts(signed), credentials=expires))


def verify(tx: Tx, signed: Signed) -> AccessToken:
    """The access token in whose name a request is signed. Raises Unauthenticated."""
    _sweep(tx)
    valid, request = ResourceEndpoint(_Provider(tx)).validate_protected_resource_request(*_parts(signed))
    if not valid or request is None:
        raise errors.Unauthenticated("The OAuth signature could not be verified.")
    return tx.get(AccessToken, request.resource_owner_key)


def _parts(signed: Signed) -> tuple[str, str, str, dict[str, str]]:
    return signed.url, signed.method, signed.body, dict(signed.headers)


def _form(made: tuple[Any, Any, int]) -> str:
    _headers, body, status = made
    if status == 200:
        return str(body)
    if status == 401:
        raise errors.Unauthenticated("The OAuth signature could not be verified.")
    raise errors.Invalid(f"The OAuth request cannot be read: {body}.")


def _token() -> str:
    return secrets.token_hex(16)


def _iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(at))


def _sweep(tx: Tx) -> None:
    """What has run out. In the same transaction as what comes new, so that the tables stay small by themselves."""
    for cls in (UsedNonce, RequestToken):
        table = REGISTRY[cls].table
        tx.conn.execute(sa.delete(table).where(table.c.expires_at < tx.now))


class _Provider(RequestValidator):  # type: ignore[misc]
    """oauthlib's questions about clients and tokens. Those of realms are answered with none: Keystone has none."""

    def __init__(self, tx: Tx, project_id: str = "") -> None:
        super().__init__()
        self._tx = tx
        self._project_id = project_id

    @property
    def enforce_ssl(self) -> bool:
        return False  # the scheme of public_url is the operator's choice, as for passwords

    @property
    def allowed_signature_methods(self) -> tuple[str, ...]:
        return _SIGNATURES

    @property
    def nonce_length(self) -> tuple[int, int]:
        return 8, 64

    @property
    def client_key_length(self) -> tuple[int, int]:
        return 32, 32

    @property
    def request_token_length(self) -> tuple[int, int]:
        return 32, 32

    @property
    def access_token_length(self) -> tuple[int, int]:
        return 32, 32

    @property
    def verifier_length(self) -> tuple[int, int]:
        return 8, 8

    # what is verified against when a client or token is not there, so that the answer takes as long
    @property
    def dummy_client(self) -> str:
        return _DUMMY

    @property
    def dummy_request_token(self) -> str:
        return _DUMMY

    @property
    def dummy_access_token(self) -> str:
        return _DUMMY

    def validate_client_key(self, client_key: str, request: Request) -> bool:
        return self._tx.find(Consumer, client_key) is not None

    def validate_request_token(self, client_key: str, token: str, request: Request) -> bool:
        found = self._tx.first(RequestToken, id=token, consumer_id=client_key)
        return found is not None and bool(found.user_id) and found.expires_at > self._tx.now

    def validate_access_token(self, client_key: str, token: str, request: Request) -> bool:
        found = self._tx.first(AccessToken, id=token, consumer_id=client_key)
        return found is not None and not 0 < found.expires_at <= self._tx.now

    def validate_verifier(self, client_key: str, token: str, verifier: str, request: Request) -> bool:
        found = self._tx.first(RequestToken, id=token, consumer_id=client_key)
        return found is not None and secrets.compare_digest(found.verifier or _DUMMY, verifier)

    def validate_timestamp_and_nonce(
        self,
        client_key: str,
        timestamp: str,
        nonce: str,
        request: Request,
        request_token: str | None = None,
        access_token: str | None = None,
    ) -> bool:
        """Each once. That the timestamp is near ours was checked before (timestamp_lifetime)."""
        text = "\n".join((client_key, request_token or "", access_token or "", timestamp, nonce))
        id = hashlib.sha256(text.encode()).hexdigest()
        if self._tx.find(UsedNonce, id) is not None:
            return False
        self._tx.add(UsedNonce(id=id, expires_at=self._tx.now + 2 * self.timestamp_lifetime))
        return True

    def validate_redirect_uri(self, client_key: str, redirect_uri: str, request: Request) -> bool:
        return True  # nobody is redirected: the verifier is told to the user ("oob")

    def validate_requested_realms(self, client_key: str, realms: list[str], request: Request) -> bool:
        return True

    def validate_realms(
        self, client_key: str, token: str, request: Request, uri: str | None = None, realms: list[str] | None = None
    ) -> bool:
        return True

    def check_realms(self, realms: list[str]) -> bool:
        return True

    def get_default_realms(self, client_key: str, request: Request) -> list[str]:
        return []

    def get_realms(self, token: str, request: Request) -> list[str]:
        return []

    def get_client_secret(self, client_key: str, request: Request) -> str:
        return self._secret(self._tx.find(Consumer, client_key))

    def get_request_token_secret(self, client_key: str, token: str, request: Request) -> str:
        return self._secret(self._tx.first(RequestToken, id=token, consumer_id=client_key))

    def get_access_token_secret(self, client_key: str, token: str, request: Request) -> str:
        return self._secret(self._tx.first(AccessToken, id=token, consumer_id=client_key))

    def _secret(self, record: Secret | None) -> str:
        return secret_of(self._tx, record) if record is not None else _token()

    def save_request_token(self, token: dict[str, str], request: Request) -> None:
        made = RequestToken(
            id=token["oauth_token"],
            consumer_id=request.client_key,
            project_id=self._project_id,
            secret="",
            expires_at=self._tx.now + REQUEST_TOKEN_SECONDS,
        )
        self._tx.add(replace(made, secret=_sealed(self._tx, made, token["oauth_token_secret"])))

    def save_access_token(self, token: dict[str, str], request: Request) -> None:
        given = self._tx.get(RequestToken, request.resource_owner_key)
        made = AccessToken(
            id=token["oauth_token"],
            consumer_id=given.consumer_id,
            project_id=given.project_id,
            user_id=given.user_id,
            roles=given.roles,
            secret="",
            expires_at=self._tx.now + ACCESS_TOKEN_SECONDS,
        )
        self._tx.add(replace(made, secret=_sealed(self._tx, made, token["oauth_token_secret"])))

    def invalidate_request_token(self, client_key: str, request_token: str, request: Request) -> None:
        self._tx.remove(self._tx.get(RequestToken, request_token))


__all__ = [
    "Signed",
    "access_token",
    "authorize",
    "create_consumer",
    "delete_access_token",
    "delete_consumer",
    "request_token",
    "secret_of",
    "update_consumer",
    "verify",
]
