"""Identity providers, their protocols and mappings, and the users whom they vouch for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from trilith import errors
from trilith.commands.identity_grants import Grant, give
from trilith.commands.identity_projects import create_project
from trilith.commands.identity_rules import hex_id
from trilith.model.identity import Domain, Group, Project, Role, User
from trilith.model.identity_extensions import (
    FederatedUser,
    FederationMapping,
    FederationProtocol,
    IdentityProvider,
)
from trilith.model.identity_mapping import Mapped, MappedGroup, MappedProject
from trilith.store.tx import Reader, Tx

#: groups of a token at most: it holds their ids, and must fit a header
MOST_GROUPS = 64


def create_provider(tx: Tx, provider: IdentityProvider) -> IdentityProvider:
    """Without a domain_id its users get a domain of their own. Raises Missing for an unknown domain, Conflict."""
    if tx.find(IdentityProvider, provider.id) is not None:
        raise errors.Conflict(f"Duplicate entry: identity provider {provider.id}.")
    _check_remote_ids(tx, provider.id, provider.remote_ids)
    if provider.domain_id:
        tx.get(Domain, provider.domain_id)
    else:
        text = f"Auto generated federated domain for Identity Provider: {provider.id}"
        made = tx.add(Domain(id=hex_id(), name=_free_name(tx, provider.id), description=text))
        provider = replace(provider, domain_id=made.id)
    return tx.add(provider)


def _free_name(tx: Tx, wanted: str) -> str:
    return wanted if tx.first(Domain, name=wanted) is None else f"{wanted}-{hex_id()[:8]}"


def update_provider(tx: Tx, id: str, changes: dict[str, Any]) -> IdentityProvider:
    """Raises Missing, Invalid for a change of domain, Conflict for a remote id of another."""
    provider = tx.get(IdentityProvider, id)
    if changes.pop("domain_id", provider.domain_id) != provider.domain_id:
        raise errors.Invalid("The domain of an identity provider cannot be changed.", field="domain_id")
    _check_remote_ids(tx, id, changes.get("remote_ids", ()))
    return tx.change(provider, **changes) if changes else provider


def _check_remote_ids(tx: Tx, id: str, remote_ids: tuple[str, ...]) -> None:
    """Raises Conflict: who says it is X must be one provider."""
    wanted = set(remote_ids)
    for other in tx.select(IdentityProvider) if wanted else ():
        taken = wanted & set(other.remote_ids) if other.id != id else set()
        if taken:
            raise errors.Conflict(f"The remote id {min(taken)} is taken by identity provider {other.id}.")


def delete_provider(tx: Tx, id: str) -> None:
    """With its protocols, and what ties users to it; the users stay. Raises Missing."""
    provider = tx.get(IdentityProvider, id)
    tx.remove_where(FederationProtocol, idp_id=id)
    tx.remove_where(FederatedUser, idp_id=id)
    tx.remove(provider)


def create_protocol(tx: Tx, protocol: FederationProtocol) -> FederationProtocol:
    """Raises Missing for an unknown provider, Invalid for an unknown mapping, Conflict."""
    tx.get(IdentityProvider, protocol.idp_id)
    _check_mapping(tx, protocol.mapping_id)
    return tx.add(protocol)


def find_protocol(reader: Reader, idp_id: str, name: str) -> FederationProtocol:
    """Raises Missing."""
    found = reader.first(FederationProtocol, idp_id=idp_id, name=name)
    if found is None:
        raise errors.Missing(f"Could not find federated protocol {name} for Identity Provider: {idp_id}.")
    return found


def update_protocol(tx: Tx, idp_id: str, name: str, changes: dict[str, Any]) -> FederationProtocol:
    """Raises Missing, Invalid for an unknown mapping."""
    protocol = find_protocol(tx, idp_id, name)
    if "mapping_id" in changes:
        _check_mapping(tx, changes["mapping_id"])
    return tx.change(protocol, **changes) if changes else protocol


def delete_protocol(tx: Tx, idp_id: str, name: str) -> None:
    """With what ties users to it. Raises Missing."""
    protocol = find_protocol(tx, idp_id, name)
    tx.remove_where(FederatedUser, idp_id=idp_id, protocol_id=name)
    tx.remove(protocol)


def _check_mapping(reader: Reader, id: str) -> None:
    if reader.find(FederationMapping, id) is None:
        raise errors.Invalid(f"Invalid mapping id: {id}.", field="mapping_id")


def create_mapping(tx: Tx, mapping: FederationMapping) -> FederationMapping:
    """Raises Conflict."""
    if tx.find(FederationMapping, mapping.id) is not None:
        raise errors.Conflict(f"Duplicate entry: mapping {mapping.id}.")
    return tx.add(mapping)


def update_mapping(tx: Tx, id: str, changes: dict[str, Any]) -> FederationMapping:
    """Raises Missing."""
    mapping = tx.get(FederationMapping, id)
    return tx.change(mapping, **changes) if changes else mapping


def delete_mapping(tx: Tx, id: str) -> None:
    """Protocols that name it let nobody in any more. Raises Missing."""
    tx.remove(tx.get(FederationMapping, id))


@dataclass(frozen=True, slots=True)
class Admitted:
    """The user, and the groups in which the provider puts them for as long as the token lasts."""

    user: User
    group_ids: tuple[str, ...]


def admit(tx: Tx, provider: IdentityProvider, protocol: str, mapped: Mapped) -> Admitted:
    """The user whom the mapping means: a local one, or one that stands for the person, made at the first log-in. What
    has not changed since the last one is not written.

    Raises Unauthenticated for a local user or a domain that is not there, Forbidden for unknown groups or roles,
    Conflict for a name that another user of the domain has.
    """
    groups = tuple(dict.fromkeys(id for g in mapped.groups if (id := _group(tx, g))))
    if len(groups) > MOST_GROUPS:
        raise errors.Forbidden(f"The mapping gives {len(groups)} groups; a token holds {MOST_GROUPS}.")
    if mapped.local:
        return Admitted(_local(tx, mapped), groups)
    user = _stand_in(tx, provider, protocol, mapped)
    for project in mapped.projects:
        _provision(tx, provider, user, project)
    return Admitted(user, groups)


def _domain_id(reader: Reader, id: str, name: str, default: str) -> str:
    """Raises Unauthenticated for a domain that is not there."""
    if not id and not name:
        return default
    found = reader.find(Domain, id) if id else reader.first(Domain, name=name)
    if found is None:
        raise errors.Unauthenticated(f"The mapping names a domain that is not there: {id or name}.")
    return found.id


def _local(tx: Tx, mapped: Mapped) -> User:
    user = tx.find(User, mapped.id) if mapped.id else None
    if user is None and mapped.name and (mapped.domain_id or mapped.domain_name):
        domain_id = _domain_id(tx, mapped.domain_id, mapped.domain_name, "")
        user = tx.first(User, domain_id=domain_id, name=mapped.name)
    if user is None:
        raise errors.Unauthenticated("The mapping names a local user that is not there.")
    return user


def _stand_in(tx: Tx, provider: IdentityProvider, protocol: str, mapped: Mapped) -> User:
    unique_id, name = mapped.id or mapped.name, mapped.name or mapped.id
    domain_id = _domain_id(tx, mapped.domain_id, mapped.domain_name, provider.domain_id)
    known = tx.first(FederatedUser, idp_id=provider.id, protocol_id=protocol, unique_id=unique_id)
    if known is not None:
        user = tx.get(User, known.user_id)
        changes: dict[str, Any] = {"name": name} if user.name != name else {}
        if mapped.email and user.email != mapped.email:
            changes["email"] = mapped.email
        if known.display_name != name:
            tx.change(known, display_name=name)
        return tx.change(user, **changes) if changes else user
    if tx.first(User, domain_id=domain_id, name=name) is not None:
        raise errors.Conflict(
            f"There is another user {name} in domain {domain_id}.",
            hint="Give the identity provider a domain of its own, or map to the local user.",
        )
    user = tx.add(User(id=hex_id(), name=name, domain_id=domain_id, email=mapped.email))
    tx.add(
        FederatedUser(
            id=hex_id(),
            user_id=user.id,
            idp_id=provider.id,
            protocol_id=protocol,
            unique_id=unique_id,
            display_name=name,
        )
    )
    return user


def _group(reader: Reader, mapped: MappedGroup) -> str:
    """Its id; "" for a name that is not there: a provider has groups of its own. Raises Forbidden for an unknown id."""
    if mapped.id:
        if reader.find(Group, mapped.id) is None:
            raise errors.Forbidden(f"The mapping names a group that is not there: {mapped.id}.")
        return mapped.id
    if not mapped.name:
        return ""
    domain_id = _domain_id(reader, mapped.domain_id, mapped.domain_name, "")
    found = reader.first(Group, domain_id=domain_id, name=mapped.name)
    return found.id if found else ""


def _provision(tx: Tx, provider: IdentityProvider, user: User, mapped: MappedProject) -> None:
    """The project, made where it is not there, and the user's roles on it. Raises Forbidden for an unknown role."""
    domain_id = _domain_id(tx, mapped.domain_id, mapped.domain_name, provider.domain_id)
    project = tx.first(Project, domain_id=domain_id, name=mapped.name)
    if project is None:
        project = create_project(tx, Project(id=hex_id(), name=mapped.name, domain_id=domain_id, parent_id=""))
    grant = Grant(actor_kind="user", actor_id=user.id, target_kind="project", target_id=project.id)
    for name in mapped.roles:
        role = tx.first(Role, name=name, domain_id="") or tx.first(Role, name=name, domain_id=domain_id)
        if role is None:
            raise errors.Forbidden(f"The mapping names a role that is not there: {name}.")
        give(tx, grant, role.id)


def set_federated(tx: Tx, user: User, links: list[FederatedUser]) -> None:
    """In place of what ties the user to providers. Raises Invalid for unknown ones, Conflict for another's id."""
    tx.remove_where(FederatedUser, user_id=user.id)
    for link in links:
        if tx.first(FederationProtocol, idp_id=link.idp_id, name=link.protocol_id) is None:
            raise errors.Invalid(
                f"There is no protocol {link.protocol_id} of identity provider {link.idp_id}.", field="federated"
            )
        tx.add(replace(link, user_id=user.id, display_name=user.name))
