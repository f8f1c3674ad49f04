"""Tokens and passwords as such: what is sealed in a token, what access rules cover, how log-ins are bounded."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any, cast

import pytest

from trilith import errors
from trilith.api.http.tokens import Token, Tokens, new_audit_id, permit
from trilith.commands import passwords
from trilith.commands.identity_users import LockOut
from trilith.commands.roles import closure
from trilith.model.identity import User
from trilith.model.record import Actor
from trilith.store.seal import Sealer


def tokens(key: bytes = b"k" * 32) -> Tokens:
    return Tokens(cast(Any, None), Sealer([key]))


def token(**fields: Any) -> Token:
    now = time.time()
    base: dict[str, Any] = {"issued_at": now, "expires_at": now + 60, "audit_ids": (new_audit_id(),)}
    return Token(**({"user_id": "u", "methods": ("password",)} | base | fields))


def test_a_token_says_what_was_sealed_in_it_and_fits_a_header() -> None:
    made = token(project_id="p", audit_ids=("a", "b"), trust_id="t")
    text = tokens().issue(made)
    assert tokens().read(text) == made
    assert len(text) <= 400
    assert text.isascii()
    assert "=" not in text


def test_another_clouds_token_a_changed_one_and_an_old_one_are_refused() -> None:
    text = tokens().issue(token())
    raw = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    raw[len(raw) // 2] ^= 1
    changed = base64.urlsafe_b64encode(bytes(raw)).decode()
    for bad in (tokens(b"x" * 32).issue(token()), changed, "", "ü", "x" * 5000, tokens().issue(token(expires_at=1.0))):
        with pytest.raises(errors.Unauthenticated):
            tokens().read(bad)


def test_audit_ids_are_short_and_differ() -> None:
    assert len({new_audit_id() for _ in range(100)}) == 100
    assert all(len(new_audit_id()) == 22 for _ in range(10))


@pytest.mark.parametrize(
    ("rule", "path", "allowed"),
    [
        ("/v2.1/servers", "/compute/v2.1/servers", True),
        ("/compute/v2.1/servers", "/compute/v2.1/servers", True),
        ("/v2.1/servers", "/compute/v2.1/servers/1", False),
        ("/v2.1/servers/*", "/compute/v2.1/servers/1", True),
        ("/v2.1/servers/{server_id}", "/compute/v2.1/servers/1", True),
        ("/v2.1/servers/*", "/compute/v2.1/servers/1/ips", False),
        ("/v2.1/servers/*/ips", "/compute/v2.1/servers/1/ips", True),
        ("/v2.1/**", "/compute/v2.1/servers/1/ips", True),
        ("/v2.1/servers.", "/compute/v2.1/serversx", False),
    ],
)
def test_access_rules(rule: str, path: str, allowed: bool) -> None:
    actor = Actor(user_id="u", access_rules=(("compute", "GET", rule),))
    for service, method, holds in (("compute", "GET", allowed), ("network", "GET", False), ("compute", "POST", False)):
        if holds:
            permit(actor, service, method, path)
        else:
            with pytest.raises(errors.Unauthenticated):
                permit(actor, service, method, path)


def test_without_access_rules_all_is_open() -> None:
    permit(Actor(user_id="u"), "compute", "DELETE", "/compute/v2.1/servers/1")


def test_a_circle_of_implied_roles_ends() -> None:
    assert closure({"a": frozenset("b"), "b": frozenset("ca"), "c": frozenset()}, {"a"}) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("attempts", "failed", "since", "options", "locked"),
    [
        (0, 99, 0.0, {}, False),
        (3, 2, 0.0, {}, False),
        (3, 3, 0.0, {}, True),
        (3, 3, 61.0, {}, False),
        (3, 3, 0.0, {"ignore_lockout_failure_attempts": True}, False),
    ],
)
def test_the_lock_out(attempts: int, failed: int, since: float, options: dict[str, Any], locked: bool) -> None:
    user = User(id="u", name="u", failed_count=failed, failed_at=1000.0, options=options)
    assert LockOut(attempts, 60.0).holds(user, 1000.0 + since) is locked


async def test_hashes_are_argon2id_at_the_floor_or_above() -> None:
    hashed = await passwords.hash_password("pw")
    assert hashed.startswith("$argon2id$")
    memory, rounds, lanes = (int(p.split("=")[1]) for p in hashed.split("$")[3].split(","))
    assert memory >= 19 * 1024
    assert rounds >= 2
    assert lanes >= 1
    assert await passwords.verify(hashed, "pw")
    assert not await passwords.verify(hashed, "PW")
    assert not await passwords.verify("", "pw")
    assert await passwords.among((hashed,), "pw")


async def test_log_ins_at_once_and_in_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    go, lock = threading.Event(), threading.Lock()
    running: list[int] = [0, 0]  # now, most

    def slow(_stored: str, _password: str) -> bool:
        with lock:
            running[0] += 1
            running[1] = max(running)
        go.wait(30)
        with lock:
            running[0] -= 1
        return True

    monkeypatch.setattr(passwords, "matches", slow)
    monkeypatch.setattr(passwords, "_WAITING", 5)
    begun = [asyncio.create_task(passwords.verify("x", "y")) for _ in range(7)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(errors.TooMany):
        await passwords.verify("x", "y")
    go.set()
    assert all(await asyncio.gather(*begun))
    assert running[1] == 2


def test_the_regular_expression_of_the_settings_is_asked() -> None:
    passwords.check_strength("anything", "")
    passwords.check_strength("abc1", r".*\d")
    for weak in ("abc", "a" * (passwords.LONGEST + 1)):
        with pytest.raises(errors.Invalid):
            passwords.check_strength(weak, r".*\d")
