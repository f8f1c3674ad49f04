"""Log-in: POST /v3/auth/tokens.

The same work is done, and the same answer given, for a user that does not exist, one that is disabled or locked, and
a wrong password: one look into the store, one argon2id verification, then 401.
"""

from __future__ import annotations

import time
from dataclasses import replace

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.http.tokens import Tokens, Valid
from trilith.api.identity import auth_receipts
from trilith.api.identity.auth_checks import asked_scope, check, check_rescope
from trilith.api.identity.auth_claim import Claim, Found
from trilith.api.identity.auth_receipts import Receipt
from trilith.api.identity.auth_wire import AuthRequest, Identity
from trilith.api.identity.catalog import token_body
from trilith.api.identity.oauth1_signature import signed_request
from trilith.api.identity.token_key_age import keep_keys_young
from trilith.commands import identity_oauth1, identity_totp, passwords
from trilith.commands.identity_delegation import consume_trust
from trilith.commands.identity_users import LockOut, inactive, note_activity, record_attempt
from trilith.model.identity import User
from trilith.model.identity_extensions import AccessToken
from trilith.model.record import CLOUD, Actor

#: where the cloud locks nobody out: a passcode has six digits only, so guesses at it are bounded all the same
_GUESSES = LockOut(attempts=5, seconds=30.0)
_REFUSED = "The request you have made requires authentication."


def tokens_of(call: Call) -> Tokens:
    """Raises Bug where the host checks its tokens elsewhere."""
    tokens = call.host.tokens
    if not isinstance(tokens, Tokens):
        raise errors.Bug("Identity needs the host's own tokens.")
    return tokens


def refused() -> errors.Unauthenticated:
    return errors.Unauthenticated(_REFUSED)


async def create_token(call: Call) -> Answer:
    """201 with X-Subject-Token. 400 for a request that is none, 401 for whatever does not add up (with a receipt where
    the user's rules ask for a further method), 403 for a scope that the token given may not be changed to, 404 for a
    token given that counts no more."""
    body: AuthRequest = call.body
    identity, scope = body.auth.identity, asked_scope(body.auth.scope)
    check(identity, scope)
    tokens = tokens_of(call)
    now = time.time()
    base: Valid | None = None
    if identity.token is not None and "token" in identity.methods:
        try:
            base = await tokens.valid(identity.token.id)
        except errors.Unauthenticated as err:
            raise errors.Missing("Failed to validate token.") from err  # 404, as Keystone
        check_rescope(base, scope)
    given = call.headers.get(auth_receipts.HEADER, "")
    receipt = await auth_receipts.read(tokens, given) if given else None
    access = await _signed_access(call) if "oauth1" in identity.methods else None
    lifetime = call.host.settings.token_lifetime
    claim = Claim(identity=identity, scope=scope, base=base, receipt=receipt, access=access, now=now, lifetime=lifetime)
    found, generation = await tokens.look(claim.look)
    await _verify(call, identity, found, now)
    if found.ready is None:
        raise refused()
    valid = found.ready
    who = _answers_for(found, valid, base)
    if who is not None and not auth_receipts.enough(who, valid.token.methods):
        return receipt_for(tokens, who, valid, now)
    if valid.trust is not None and valid.trust.remaining_uses >= 0:
        trust_id = valid.trust.id
        await call.host.write(lambda tx: consume_trust(tx, trust_id), actor=valid.actor, action="auth.trust")
    await keep_keys_young(call, tokens, valid.directory, now)
    return issued(call, tokens, valid, generation)


def _answers_for(found: Found, valid: Valid, base: Valid | None) -> User | None:
    """Whose multi-factor rules the log-in must meet: whoever logs in, also where a trust lets them act for another.
    None where that was done when an application credential, an access token or the trust's token given was made."""
    if valid.app_credential is not None or valid.access is not None or (base is not None and base.trust is not None):
        return None
    return found.user


def issued(call: Call, tokens: Tokens, valid: Valid, generation: int) -> Answer:
    text = tokens.issue(valid.token)
    tokens.keep(text, valid, generation)
    shown = token_body(call.host.settings.url, valid, with_catalog=not _nocatalog(call))
    return Answer(shown, headers={"X-Subject-Token": text, "Vary": "X-Auth-Token"})


def receipt_for(tokens: Tokens, user: User, valid: Valid, now: float) -> Answer:
    receipt = Receipt(
        user_id=user.id,
        methods=valid.token.methods,
        issued_at=now,
        expires_at=now + auth_receipts.LIFETIME,
    )
    shown = auth_receipts.body(receipt, user, valid.directory.domains[user.domain_id])
    return Answer(shown, status=401, headers={"Openstack-Auth-Receipt": auth_receipts.issue(tokens, receipt)})


def _nocatalog(call: Call) -> bool:
    return any(key == "nocatalog" for key, _ in call.query)


def _cloud(call: Call) -> Actor:
    return replace(CLOUD, request_id=call.request_id, address=call.actor.address)


async def _signed_access(call: Call) -> AccessToken:
    """The access token that the request is signed with. Raises Unauthenticated."""
    signed = await signed_request(call)
    # written past call.write: a nonce is nothing that a token rests on
    return await call.host.store.write(
        lambda tx: identity_oauth1.verify(tx, signed), actor=_cloud(call), action="auth.oauth1"
    )


async def _verify(call: Call, identity: Identity, found: Found, now: float) -> None:
    """Raises Unauthenticated, TooMany."""
    if "application_credential" in identity.methods and identity.application_credential is not None:
        if not await passwords.verify(found.secret, identity.application_credential.secret):
            raise refused()
        if found.ready is not None and is_inactive(call, found.ready.user, now):
            raise refused()
        return
    user = found.user
    proofs = [m for m in identity.methods if m in ("password", "totp")]
    if not proofs:
        if user is not None and is_inactive(call, user, now):
            raise refused()
        return
    verified = True
    if "password" in proofs:
        password = identity.password.user.password if identity.password else ""
        verified = await passwords.verify(found.secret if user else "", password)
    if verified and "totp" in proofs:
        verified = await _passcode(call, user, identity.totp.user.passcode if identity.totp else "")
    lock = lock_out(call)
    if "totp" in proofs and not lock.attempts:
        lock = _GUESSES
    await count_attempt(call, user, verified, lock)
    if user is None or not verified or not user.enabled or is_inactive(call, user, now):
        raise refused()
    if "password" in proofs and 0 < user.password_expires_at <= now and not user.options.get("ignore_password_expiry"):
        raise errors.Unauthenticated(
            f"The password is expired and needs to be changed for user: {user.id}.",
            hint="Change it with POST /v3/users/{user_id}/password.",
        )
    await note_log_in(call, user, now)


async def _passcode(call: Call, user: User | None, passcode: str) -> bool:
    """Each passcode counts once: it is marked as used before it lets anyone in."""
    if user is None:
        return False
    user_id = user.id
    try:
        return await call.host.store.write(
            lambda tx: identity_totp.use(tx, user_id, passcode), actor=_cloud(call), action="auth.totp"
        )
    except errors.Outrun:
        return False  # the same passcode at the same time


def is_inactive(call: Call, user: User, now: float) -> bool:
    return inactive(user, now, call.host.settings.inactive_days)


async def note_log_in(call: Call, user: User, now: float) -> None:
    """Once a day at most, and only where a setting makes use of it: a log-in is no write else."""
    if call.host.settings.inactive_days <= 0 or now - user.last_active_at < 86400:
        return
    user_id = user.id
    await call.host.store.write(lambda tx: note_activity(tx, user_id), actor=_cloud(call), action="auth.activity")


async def count_attempt(call: Call, user: User | None, verified: bool, lock: LockOut) -> None:
    """Raises Unauthenticated for a user who is locked out, even with the right password."""
    if not lock.attempts or user is None:
        return
    user_id = user.id
    # written past call.write: a wrong guess must not cost everyone's kept tokens
    free = await call.host.store.write(
        lambda tx: record_attempt(tx, user_id, verified, lock), actor=_cloud(call), action="auth.attempt"
    )
    if verified and not free:
        raise refused()


def lock_out(call: Call) -> LockOut:
    settings = call.host.settings
    return LockOut(settings.lockout_attempts, settings.lockout_seconds)
