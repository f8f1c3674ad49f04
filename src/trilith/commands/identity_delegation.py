"""What a user hands on: application credentials with their access rules, and trusts."""

from __future__ import annotations

from dataclasses import dataclass, replace

from trilith import errors
from trilith.commands.identity_rules import hex_id, remove_trusts
from trilith.commands.roles import assigned, implied_closure
from trilith.model.identity import AccessRule, ApplicationCredential, Project, Role, Trust, User
from trilith.store.tx import Reader, Tx

#: Keystone's max_redelegation_count
MOST_REDELEGATIONS = 3


@dataclass(frozen=True, slots=True)
class RoleRef:
    """By id, or by name among the global roles."""

    id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """An access rule: a new one (service, method, path), or one of the user's by its id."""

    id: str = ""
    service: str = ""
    method: str = ""
    path: str = ""


def find_roles(reader: Reader, refs: tuple[RoleRef, ...]) -> tuple[str, ...]:
    """Ids, each once. Raises Missing."""
    found: dict[str, None] = {}
    for ref in refs:
        role = reader.find(Role, ref.id) if ref.id else reader.first(Role, name=ref.name, domain_id="")
        if role is None:
            raise errors.Missing(f"Could not find role: {ref.id or ref.name}.")
        found[role.id] = None
    return tuple(found)


def _held(reader: Reader, user_id: str, project_id: str) -> set[str]:
    project = reader.get(Project, project_id)
    return implied_closure(reader, assigned(reader, user_id, project=project))


def create_app_credential(
    tx: Tx, credential: ApplicationCredential, refs: tuple[RoleRef, ...], rules: tuple[Rule, ...], token: set[str]
) -> tuple[ApplicationCredential, list[AccessRule]]:
    """token: ids of the roles of the caller's token, which an application credential may not go beyond; all of them
    when refs is empty. Raises Missing, Invalid, Conflict for a name taken."""
    tx.get(User, credential.user_id)
    roles = find_roles(tx, refs) or tuple(sorted(token))
    held = _held(tx, credential.user_id, credential.project_id) & token
    lacking = [id for id in roles if id not in held]
    if lacking:
        raise errors.Invalid(f"The user has no role {lacking[0]} on project {credential.project_id}.", field="roles")
    if tx.first(ApplicationCredential, user_id=credential.user_id, name=credential.name) is not None:
        raise errors.Conflict(f"Duplicate entry found with name {credential.name} at user {credential.user_id}.")
    made = [_rule(tx, credential.user_id, rule) for rule in rules]
    ids = tuple(dict.fromkeys(r.id for r in made))
    return tx.add(replace(credential, roles=roles, access_rules=ids)), made


def _rule(tx: Tx, user_id: str, rule: Rule) -> AccessRule:
    if rule.id:
        found = tx.first(AccessRule, id=rule.id, user_id=user_id)
        if found is None:
            raise errors.Missing(f"Could not find access rule: {rule.id}.")
        return found
    same = tx.first(AccessRule, user_id=user_id, service=rule.service, method=rule.method, path=rule.path)
    return same or tx.add(
        AccessRule(id=hex_id(), user_id=user_id, service=rule.service, method=rule.method, path=rule.path)
    )


def delete_app_credential(tx: Tx, user_id: str, credential_id: str) -> None:
    """Its access rules stay. Raises Missing."""
    gone = tx.remove_where(ApplicationCredential, id=credential_id, user_id=user_id)
    if not gone:
        raise errors.Missing(f"Could not find Application Credential: {credential_id}.")


def delete_access_rule(tx: Tx, user_id: str, rule_id: str) -> None:
    """Raises Missing, Forbidden while an application credential holds it."""
    rule = tx.first(AccessRule, id=rule_id, user_id=user_id)
    if rule is None:
        raise errors.Missing(f"Could not find access rule: {rule_id}.")
    if any(rule_id in c.access_rules for c in tx.select(ApplicationCredential, user_id=user_id)):
        raise errors.Forbidden("The access rule is in use by an application credential.")
    tx.remove(rule)


def create_trust(tx: Tx, trust: Trust, refs: tuple[RoleRef, ...]) -> Trust:
    """Raises Missing for users, project or roles, Forbidden for roles that the trustor does not have."""
    tx.get(User, trust.trustor_user_id)
    tx.get(User, trust.trustee_user_id)
    roles = find_roles(tx, refs)
    if bool(trust.project_id) != bool(roles):
        raise errors.Forbidden("At least one role should be specified, and roles only with a project.")
    if trust.project_id:
        held = _held(tx, trust.trustor_user_id, trust.project_id)
        if not set(roles) <= held:
            raise errors.Missing("The trustor has no such role on that project.")
    return tx.add(replace(trust, roles=roles))


def check_within(
    reader: Reader, credential: ApplicationCredential | None, trust: Trust, roles: tuple[str, ...]
) -> None:
    """Raises Forbidden where an application credential would hand on more than it has itself, or is restricted."""
    if credential is None or not credential.unrestricted:
        raise errors.Forbidden("A restricted application credential cannot make trusts.")
    own = implied_closure(reader, set(credential.roles))
    if trust.project_id and (trust.project_id != credential.project_id or not set(roles) <= own):
        raise errors.Forbidden("An application credential hands on its own roles on its own project, and no more.")


def redelegate(parent: Trust, trust: Trust, roles: tuple[str, ...], count: int | None) -> Trust:
    """`trust` as far as `parent` can be handed on in it (rules of Keystone's OS-TRUST).

    count: the redelegation_count that was asked for, None for the parent's less one. Raises Forbidden.
    """
    left = parent.redelegation_count - 1
    if left < 0:
        raise errors.Forbidden("The trust allows no redelegation.")
    if trust.redelegation_count and count and count != left:
        raise errors.Forbidden("redelegation_count of a redelegated trust cannot be chosen.", hint="Leave it out.")
    if trust.remaining_uses >= 0:
        raise errors.Forbidden("A redelegated trust cannot limit its uses.")
    if trust.impersonation and not parent.impersonation:
        raise errors.Forbidden("Impersonation is not allowed: the trust that is handed on has none.")
    if trust.project_id != parent.project_id:
        raise errors.Forbidden("A trust is handed on for its own project.", field="project_id")
    if not set(roles) <= set(parent.roles):
        raise errors.Forbidden("Some of the roles are not in the trust that is handed on.")
    if parent.expires_at and trust.expires_at > parent.expires_at:
        raise errors.Forbidden("expires_at is beyond that of the trust that is handed on.")
    return replace(
        trust,
        expires_at=trust.expires_at or parent.expires_at,
        redelegation_count=left if trust.redelegation_count else 0,
        redelegated_trust_id=parent.id,
    )


def consume_trust(tx: Tx, trust_id: str) -> None:
    """One use less. Raises Forbidden when none is left, Missing."""
    trust = tx.get(Trust, trust_id)
    if trust.remaining_uses < 0:
        return
    if trust.remaining_uses == 0:
        raise errors.Forbidden(f"No remaining uses for trust: {trust_id}.")
    tx.change(trust, remaining_uses=trust.remaining_uses - 1)


def delete_trust(tx: Tx, trust_id: str) -> None:
    """With those that it was handed on in. Raises Missing."""
    remove_trusts(tx, [tx.get(Trust, trust_id)])
