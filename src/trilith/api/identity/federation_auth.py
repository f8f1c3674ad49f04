"""Log-in by an identity provider: a bearer token of OpenID Connect for an unscoped token of ours."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.http.tokens import Token, Valid, load, new_audit_id
from trilith.api.identity import auth_receipts
from trilith.api.identity.auth import is_inactive, issued, note_log_in, receipt_for, refused, tokens_of
from trilith.api.identity.token_key_age import keep_keys_young
from trilith.commands.identity_directory import Directory
from trilith.commands.identity_federation import Admitted, admit, find_protocol
from trilith.model.identity_extensions import FederationMapping, FederationProtocol, IdentityProvider
from trilith.model.identity_mapping import Mapped, apply, parse_rules
from trilith.model.record import CLOUD
from trilith.store.tx import Reader, Tx

#: the attribute that says which provider it is, where the protocol names no other
_REMOTE_ID = "HTTP_OIDC_ISS"
#: whose meaning is RFC 7519's, and which were verified
_REGISTERED = frozenset({"iss", "sub", "aud"})
_Known = tuple[IdentityProvider, FederationProtocol, FederationMapping]


def assertion_of(claims: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Claims under the names that mappings written for Apache's mod_auth_openidc have: OIDC-email and HTTP_OIDC_EMAIL
    (its prefix as Keystone's guide sets it), and OIDC_CLAIM_email (its default). Objects among them are left out."""
    found: dict[str, tuple[str, ...]] = {}
    # a name that is written like another's, ISS for iss, must not stand for it: plain names come last, and win
    for name, value in sorted(claims.items(), key=lambda c: (c[0] in _REGISTERED, c[0] == c[0].lower())):
        given = value if isinstance(value, list) else [value]
        values = tuple(_text(v) for v in given if isinstance(v, str | int | float) and v != "")
        if not values:
            continue
        upper = "".join(c if c.isalnum() else "_" for c in name.upper())
        for attribute in (f"OIDC-{name}", f"HTTP_OIDC_{upper}", f"OIDC_CLAIM_{name}"):
            found[attribute] = values
    return found


def _text(value: str | int | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


async def authenticate(call: Call) -> Answer:
    """201 with X-Subject-Token, unscoped. 401 for a token that does not hold or maps to nobody, 403 for a provider that
    is disabled or did not make it, 404 for an unknown one, 503 when its keys cannot be had."""
    bearer = _bearer(call)
    idp_id, name = call.params["idp_id"], call.params["protocol_id"]
    provider, protocol, mapping = await call.read(lambda r: _known(r, idp_id, name))
    if not provider.enabled:
        raise errors.Forbidden(f"Identity Provider {idp_id} is disabled.")
    claims = await call.host.issuers.verify(bearer, call.host.settings.issuers)
    assertion = assertion_of(claims)
    says = assertion.get(protocol.remote_id_attribute or _REMOTE_ID, ())
    if not set(says) & set(provider.remote_ids):
        raise errors.Forbidden("The token's issuer is not among the remote ids of the identity provider.")
    # in a thread: a rule's regular expression may take its time
    mapped = await asyncio.to_thread(apply, parse_rules(mapping.rules), assertion)
    if mapped is None:
        raise errors.Unauthenticated("Could not map any federated user properties to identity values.")
    admitted = await _admit(call, provider, name, mapped)
    return await _token(call, provider, name, mapped, admitted)


def _known(reader: Reader, idp_id: str, name: str) -> _Known:
    """Raises Missing."""
    provider = reader.get(IdentityProvider, idp_id)
    protocol = find_protocol(reader, idp_id, name)
    return provider, protocol, reader.get(FederationMapping, protocol.mapping_id)


def _bearer(call: Call) -> str:
    kind, _, token = call.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise errors.Unauthenticated(
            "The header Authorization must hold the identity provider's token.", hint="Authorization: Bearer TOKEN"
        )
    return token.strip()


async def _admit(call: Call, provider: IdentityProvider, protocol: str, mapped: Mapped) -> Admitted:
    """Two first log-ins of one person at the same time both make the user: the later finds what the other made."""

    def run(tx: Tx) -> tuple[Admitted, bool]:
        return admit(tx, provider, protocol, mapped), bool(tx.touched)

    who = replace(CLOUD, request_id=call.request_id, address=call.actor.address)
    try:
        admitted, changed = await call.host.store.write(run, actor=who, action="auth.federated")
    except errors.Conflict:
        admitted, changed = await call.host.store.write(run, actor=who, action="auth.federated")
    if changed:  # most log-ins change nothing, and must not cost everyone's kept tokens
        call.host.tokens.forget()
    return admitted


async def _token(call: Call, provider: IdentityProvider, protocol: str, mapped: Mapped, admitted: Admitted) -> Answer:
    now, tokens = time.time(), tokens_of(call)
    token = Token(
        user_id=admitted.user.id,
        methods=(protocol,),
        issued_at=now,
        expires_at=now + call.host.settings.token_lifetime,
        audit_ids=(new_audit_id(),),
        # a local user is one like all others, whoever vouched
        idp_id="" if mapped.local else provider.id,
        protocol_id="" if mapped.local else protocol,
        group_ids=() if mapped.local else admitted.group_ids,
    )

    def look(reader: Reader, directory: Directory) -> Valid:
        return load(reader, token, directory, fresh=True)

    valid, generation = await tokens.look(look)
    if is_inactive(call, valid.user, now):
        raise refused()
    if not auth_receipts.enough(valid.user, token.methods):
        return receipt_for(tokens, valid.user, valid, now)
    await note_log_in(call, valid.user, now)
    await keep_keys_young(call, tokens, valid.directory, now)
    return issued(call, tokens, valid, generation)
