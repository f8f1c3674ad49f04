"""Receipts: what a log-in has proved so far, where a user's rules ask for more (Keystone's multi-factor rules)."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from trilith import errors
from trilith.api.http.tokens import Tokens
from trilith.api.identity.wire import isotime
from trilith.model.identity import Domain, User

HEADER = "openstack-auth-receipt"
#: Keystone's [receipt] expiration, seconds
LIFETIME = 300.0


class Receipt(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Times: seconds since the epoch. The tag keeps it from being read as a token, which the same keys seal."""

    user_id: str
    methods: tuple[str, ...]
    issued_at: float
    expires_at: float


_decoder = msgspec.msgpack.Decoder(Receipt)


def rules_of(user: User) -> list[tuple[str, ...]]:
    """The sets of methods of which one must be held whole; none where the user needs no more than one method."""
    if not user.options.get("multi_factor_auth_enabled"):
        return []
    return [tuple(rule) for rule in user.options.get("multi_factor_auth_rules") or () if rule]


def enough(user: User, methods: tuple[str, ...]) -> bool:
    """A token given counts as a method, so that rescoping asks for nothing: its methods are listed along."""
    rules = rules_of(user)
    return not rules or any(set(rule) <= set(methods) for rule in rules)


def issue(tokens: Tokens, receipt: Receipt) -> str:
    return tokens.ring.seal(msgspec.msgpack.encode(receipt))


async def read(tokens: Tokens, text: str) -> Receipt:
    """Raises Unauthenticated."""
    await tokens.meet(text)
    try:
        receipt = _decoder.decode(tokens.open(text))
    except msgspec.MsgspecError as err:
        raise errors.Unauthenticated("The receipt is none of ours.") from err
    if receipt.expires_at <= time.time():
        raise errors.Unauthenticated("The receipt has expired.", hint="Log in from the start.")
    return receipt


def body(receipt: Receipt, user: User, domain: Domain) -> dict[str, Any]:
    shown = {
        "methods": receipt.methods,
        "user": {"domain": {"id": domain.id, "name": domain.name}, "id": user.id, "name": user.name},
        "expires_at": isotime(receipt.expires_at),
        "issued_at": isotime(receipt.issued_at),
    }
    return {"receipt": shown, "required_auth_methods": rules_of(user)}
