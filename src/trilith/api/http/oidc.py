"""OpenID Connect: tokens of the identity providers that the operator configured, verified with their published keys.

Nothing is fetched but an issuer's discovery document and the keys that it names; who is no configured issuer is never
asked.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from trilith import errors

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

#: asymmetric ones only: a provider's client secret is not ours to have
_ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip
#: seconds: that keys are kept, until an unknown one is asked for again, of a fetch, and of clocks that differ
_KEEP, _ASK_AGAIN, _TIMEOUT, _LEEWAY = 3600.0, 10.0, 10.0, 60
#: characters of a token, bytes of a document
_LONGEST, _LARGEST = 16_384, 1024 * 1024
_REFUSED = "The token of the identity provider could not be verified"


class _Discovery(msgspec.Struct):
    issuer: str
    jwks_uri: str


class _Unverified(msgspec.Struct):
    iss: str


@dataclass(slots=True)
class _Kept:
    keys: KeySet
    at: float


class IssuerKeys:
    """The keys of each issuer, kept for an hour, or until a token names one that is not among them."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def verify(self, token: str, trusted: Mapping[str, str]) -> dict[str, Any]:
        """The claims. trusted: issuer → the audience that its tokens must be for.

        Raises Unauthenticated for another's token, one for another audience, one that has run out or is not signed by
        its issuer; Backend when the issuer cannot be asked for its keys.
        """
        from joserfc import jwt
        from joserfc.errors import JoseError

        issuer = _issuer(token)
        audience = trusted.get(issuer)
        if audience is None:
            raise errors.Unauthenticated(f"{_REFUSED}: its issuer is not one of this cloud's.")
        claims: dict[str, Any] | None = None
        for again in (False, True):
            keys = await self._keys(issuer, again=again)
            try:
                claims = jwt.decode(token, keys, algorithms=list(_ALGORITHMS)).claims
                break
            except (JoseError, ValueError) as err:
                if again:
                    raise errors.Unauthenticated(f"{_REFUSED}: {err}.") from err
        assert claims is not None
        registry = jwt.JWTClaimsRegistry(
            now=int(time.time()),
            leeway=_LEEWAY,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            sub={"essential": True},
            exp={"essential": True},
        )
        try:
            registry.validate(claims)
        except JoseError as err:
            raise errors.Unauthenticated(f"{_REFUSED}: {err}.") from err
        return claims

    async def _keys(self, issuer: str, *, again: bool) -> KeySet:
        """again: those that are kept did not fit, so newer ones are asked for, unless they are new already."""
        async with self._locks.setdefault(issuer, asyncio.Lock()):
            kept = self._kept.get(issuer)
            age = time.monotonic() - kept.at if kept else 0.0
            if kept is not None and age < (_ASK_AGAIN if again else _KEEP):
                return kept.keys
            keys = await asyncio.to_thread(_fetch_keys, issuer)
            self._kept[issuer] = _Kept(keys, time.monotonic())
            return keys


def _issuer(token: str) -> str:
    """What the token says of itself, unverified. Raises Unauthenticated."""
    parts = token.split(".")
    if len(token) > _LONGEST or len(parts) != 3:
        raise errors.Unauthenticated(
            f"{_REFUSED}: it is no signed JSON web token.", hint="Opaque access tokens are not supported."
        )
    try:
        raw = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return msgspec.json.decode(raw, type=_Unverified).iss
    except (binascii.Error, ValueError, msgspec.MsgspecError) as err:
        raise errors.Unauthenticated(f"{_REFUSED}: it cannot be read.") from err


def _fetch_keys(issuer: str) -> KeySet:
    """Blocking. Raises Backend."""
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet

    try:
        found = msgspec.json.decode(_get(issuer.rstrip("/") + "/.well-known/openid-configuration"), type=_Discovery)
        if found.issuer != issuer:
            raise errors.Backend(f"{issuer} calls itself {found.issuer}.", hint="Correct the setting oidc_issuers.")
        if urlsplit(issuer).scheme == "https" and urlsplit(found.jwks_uri).scheme != "https":
            raise errors.Backend(f"{issuer} offers its keys over plain HTTP.")
        return KeySet.import_key_set(msgspec.json.decode(_get(found.jwks_uri)))
    except (msgspec.MsgspecError, JoseError, ValueError, KeyError, TypeError) as err:
        raise errors.Backend(f"What {issuer} offers as its keys cannot be read: {err}.") from err


class _Stay(urllib.request.HTTPRedirectHandler):
    """Another place than the one that was configured, or named by it, is not asked."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _get(url: str) -> bytes:
    """Raises Backend."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise errors.Backend(f"{url} is no HTTP URL.")
    opener = urllib.request.build_opener(_Stay, urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers={"User-Agent": "trilith", "Accept": "application/json"})
    try:
        with opener.open(request, timeout=_TIMEOUT) as response:
            raw: bytes = response.read(_LARGEST + 1)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as err:
        reason = getattr(err, "reason", None) or err
        raise errors.Backend(f"{url} cannot be fetched: {reason}.") from err
    if len(raw) > _LARGEST:
        raise errors.Backend(f"{url} is over {_LARGEST} bytes.")
    return raw
