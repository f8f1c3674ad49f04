"""Users and their passwords."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trilith import errors
from trilith.commands.identity_rules import erase_user, merged
from trilith.model.identity import Domain, User
from trilith.store.tx import Tx

#: hashes kept at most, whatever the setting says
_HISTORY = 24
DAY = 86400.0


@dataclass(frozen=True, slots=True)
class PasswordRules:
    """unique: passwords, the current included, that a user may not set again. days: until expiry, 0 for never.

    least_days: that a user keeps a password before changing it again. first_use: what an administrator set has to be
    changed before it can be used.
    """

    unique: int = 0
    days: float = 0.0
    least_days: float = 0.0
    first_use: bool = False


@dataclass(frozen=True, slots=True)
class LockOut:
    """attempts: failed log-ins in a row until the lock, 0 for never. seconds: how long it holds."""

    attempts: int = 0
    seconds: float = 0.0

    def holds(self, user: User, now: float) -> bool:
        if not self.attempts or user.options.get("ignore_lockout_failure_attempts"):
            return False
        return user.failed_count >= self.attempts and now < user.failed_at + self.seconds


def inactive(user: User, now: float, days: float) -> bool:
    """Whether the user counts as disabled, having not logged in for these days (0: never). One who never did, and who
    has the option ignore_user_inactivity, does not."""
    if days <= 0 or not user.last_active_at or user.options.get("ignore_user_inactivity"):
        return False
    return now - user.last_active_at > days * DAY


def note_activity(tx: Tx, user_id: str) -> None:
    user = tx.find(User, user_id)
    if user is not None:
        tx.change(user, last_active_at=tx.now)


def check_age(user: User, now: float, rules: PasswordRules) -> None:
    """Whether the user may change the password yet. One that has expired may always be. Raises Invalid."""
    if 0 < user.password_expires_at <= now:
        return
    left = user.password_at + rules.least_days * DAY - now
    if rules.least_days > 0 and left > 0:
        raise errors.Invalid(
            "You cannot change your password at this time due to the minimum password age: once you change your "
            f"password, it must be used for {rules.least_days:g} day(s) before it can be changed.",
            hint=f"Try again in {left / DAY:.1f} day(s), or ask your administrator to reset it.",
        )


def _expiry(user: User, now: float, rules: PasswordRules, own: bool) -> float:
    """When a password that is set now runs out, 0 for never. own: the user's own choice."""
    if rules.first_use and not own and not user.options.get("ignore_change_password_upon_first_use"):
        return now
    if rules.days > 0 and not user.options.get("ignore_password_expiry"):
        return now + rules.days * DAY
    return 0.0


def _password(user: User, hashed: str, now: float, rules: PasswordRules, *, own: bool = False) -> dict[str, Any]:
    kept = min(rules.unique, _HISTORY)
    return {
        "password": hashed,
        "password_at": now,
        "password_expires_at": _expiry(user, now, rules, own),
        # [-0:] would keep all
        "password_history": (*user.password_history, hashed)[-kept:] if kept else (),
        "failed_count": 0,
    }


def create_user(tx: Tx, user: User, hashed: str, rules: PasswordRules) -> User:
    """Raises Missing for an unknown domain, Conflict for a name taken in it."""
    tx.get(Domain, user.domain_id)
    made = tx.add(user)
    return tx.change(made, **_password(made, hashed, tx.now, rules)) if hashed else made


def update_user(tx: Tx, user_id: str, changes: dict[str, Any], hashed: str, rules: PasswordRules) -> User:
    """hashed "" leaves the password. A new password, or disabling, ends the user's tokens.

    Raises Missing, Conflict, Invalid for a change of domain.
    """
    user = tx.get(User, user_id)
    changes = merged(user, changes)
    if changes.pop("domain_id", user.domain_id) != user.domain_id:
        raise errors.Invalid("The domain of a user cannot be changed.", field="domain_id")
    ended = bool(hashed) or (user.enabled and changes.get("enabled") is False)
    if hashed:
        changes |= _password(user, hashed, tx.now, rules)
    if changes.get("enabled") is True and user.last_active_at:
        changes["last_active_at"] = tx.now  # one who was inactive for too long is let in again
    if ended:
        changes["tokens_valid_from"] = tx.now
    return tx.change(user, **changes) if changes else user


def change_password(tx: Tx, user: User, hashed: str, rules: PasswordRules) -> User:
    """The user's own change, after the old password was verified against `user` as it was read.

    Raises Conflict when the user was changed meanwhile, so that two changes cannot both pass the old password.
    """
    return tx.change(user, tokens_valid_from=tx.now, **_password(user, hashed, tx.now, rules, own=True))


def record_attempt(tx: Tx, user_id: str, verified: bool, lock: LockOut) -> bool:
    """Count a log-in. False when the user is locked out, whatever the password was.

    Attempts that were verified at the same time queue here, so none slips past the lock.
    """
    user = tx.find(User, user_id)
    if user is None or lock.holds(user, tx.now):
        return False
    if verified:
        if user.failed_count:
            tx.change(user, failed_count=0)
        return True
    over = user.failed_count >= lock.attempts > 0  # a lock that has run out: count anew
    tx.change(user, failed_count=1 if over else user.failed_count + 1, failed_at=tx.now)
    return False


def delete_user(tx: Tx, user_id: str) -> None:
    """Raises Missing."""
    user = tx.get(User, user_id)
    erase_user(tx, user_id)
    # erasing may not have touched the user itself
    tx.remove(user)
