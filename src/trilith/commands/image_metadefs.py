"""Metadata definitions: namespaces and what is in them. Each change is one of the namespace's record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol, TypeVar

from trilith import errors
from trilith.model.image_metadef import (
    MetadefAssociation,
    MetadefNamespace,
    MetadefObject,
    MetadefProperty,
    MetadefResourceType,
    MetadefTag,
)
from trilith.store.tx import Reader, Tx, new_id

#: parts of one kind in a namespace, at most
MOST = 1024
_SEEDED = "image.metadefs"
#: of the standard catalogue; a higher one adds what is new to clouds that have an older one
_EDITION = "1"


class Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


def is_seeded(reader: Reader) -> bool:
    return reader.setting(_SEEDED) == _EDITION


def seed(tx: Tx) -> None:
    """The standard namespaces, once: what an operator deletes later stays deleted."""
    if is_seeded(tx):
        return
    from trilith.commands import image_metadefs_standard as standard  # read once in a cloud's life

    tx.set_setting(_SEEDED, _EDITION)
    for name in standard.RESOURCE_TYPES:
        if tx.first(MetadefResourceType, name=name) is None:
            tx.add(MetadefResourceType(id=new_id(), name=name))
    for namespace in standard.namespaces():
        if tx.first(MetadefNamespace, namespace=namespace.namespace) is None:
            tx.add(stamped(namespace, tx.now))


def stamped(namespace: MetadefNamespace, now: float) -> MetadefNamespace:
    """With the times of its parts set."""
    return replace(
        namespace,
        objects=tuple(replace(o, created_at=now, updated_at=now) for o in namespace.objects),
        tags=tuple(replace(t, created_at=now, updated_at=now) for t in namespace.tags),
        associations=tuple(replace(a, created_at=now, updated_at=now) for a in namespace.associations),
    )


def get(reader: Reader, name: str) -> MetadefNamespace:
    """Raises Missing."""
    found = reader.first(MetadefNamespace, namespace=name)
    if found is None:
        raise missing(name)
    return found


def missing(name: str) -> errors.Missing:
    return errors.Missing(f"Metadata definition namespace={name} was not found.")


def create(tx: Tx, namespace: MetadefNamespace) -> MetadefNamespace:
    """Raises Conflict for a name that is taken, Missing for a resource type that is not known, TooLarge, Invalid."""
    if tx.first(MetadefNamespace, namespace=namespace.namespace) is not None:
        raise _taken("namespace", namespace.namespace, field="namespace")
    for kind, parts in _parts(namespace):
        _check_parts(kind, [p.name for p in parts])
    for association in namespace.associations:
        _know_type(tx, association.name)
    return tx.add(stamped(namespace, tx.now))


def update(
    tx: Tx,
    name: str,
    *,
    namespace: str,
    display_name: str,
    description: str,
    visibility: str | None,
    protected: bool | None,
    owner: str | None,
) -> MetadefNamespace:
    """None leaves a field as it is. Raises Missing, Conflict for a new name that is taken."""
    found = get(tx, name)
    if namespace != name and tx.first(MetadefNamespace, namespace=namespace) is not None:
        raise _taken("namespace", namespace, field="namespace")
    return tx.change(
        found,
        namespace=namespace,
        display_name=display_name,
        description=description,
        visibility=found.visibility if visibility is None else visibility,
        protected=found.protected if protected is None else protected,
        owner=found.owner if owner is None else owner,
    )


def delete(tx: Tx, name: str) -> None:
    """With all its parts. Raises Missing, Forbidden for a protected one."""
    found = get(tx, name)
    check_open(found)
    tx.remove(found)


def check_open(namespace: MetadefNamespace) -> None:
    """Raises Forbidden: a protected namespace keeps what it has."""
    if namespace.protected:
        raise errors.Forbidden(
            f"Metadata definition namespace {namespace.namespace} is protected and cannot be deleted."
        )


def _parts(namespace: MetadefNamespace) -> list[tuple[str, Iterable[Named]]]:
    return [
        ("object", namespace.objects),
        ("property", namespace.properties),
        ("tag", namespace.tags),
        ("resource type association", namespace.associations),
    ]


def _check_parts(kind: str, names: list[str]) -> None:
    if len(names) > MOST:
        raise errors.TooLarge(f"A namespace has at most {MOST} of the kind {kind}.")
    twice = next((n for n in names if names.count(n) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise _taken(kind, twice, field="name")


def _taken(kind: str, name: str, *, field: str) -> errors.Conflict:
    return errors.Conflict(f"A metadata definition {kind} with name={name} already exists.", field=field)


def _know_type(reader: Reader, name: str) -> None:
    if reader.first(MetadefResourceType, name=name) is None:
        raise errors.Missing(f"Metadata definition resource-type={name} was not found.", field="name")


def part(parts: Iterable[N], kind: str, name: str, namespace: str) -> N:
    """Raises Missing."""
    found = next((p for p in parts if p.name == name), None)
    if found is None:
        raise errors.Missing(f"Metadata definition {kind} with name={name} was not found in namespace={namespace}.")
    return found


def _added(parts: tuple[N, ...], kind: str, made: N) -> tuple[N, ...]:
    _check_parts(kind, [*(p.name for p in parts), made.name])
    return (*parts, made)


def _replaced(parts: tuple[N, ...], kind: str, name: str, made: N, namespace: str) -> tuple[N, ...]:
    part(parts, kind, name, namespace)
    result = tuple(made if p.name == name else p for p in parts)
    _check_parts(kind, [p.name for p in result])
    return result


def _without(parts: tuple[N, ...], kind: str, name: str, namespace: MetadefNamespace) -> tuple[N, ...]:
    check_open(namespace)
    part(parts, kind, name, namespace.namespace)
    return tuple(p for p in parts if p.name != name)


def add_object(tx: Tx, namespace: str, made: MetadefObject) -> MetadefObject:
    """Raises Missing, Conflict, TooLarge."""
    found = get(tx, namespace)
    made = replace(made, created_at=tx.now, updated_at=tx.now)
    tx.change(found, objects=_added(found.objects, "object", made))
    return made


def set_object(tx: Tx, namespace: str, name: str, made: MetadefObject) -> MetadefObject:
    """Raises Missing, Conflict for a new name that is taken."""
    found = get(tx, namespace)
    old = part(found.objects, "object", name, namespace)
    made = replace(made, created_at=old.created_at, updated_at=tx.now)
    tx.change(found, objects=_replaced(found.objects, "object", name, made, namespace))
    return made


def remove_object(tx: Tx, namespace: str, name: str) -> None:
    """Raises Missing, Forbidden."""
    found = get(tx, namespace)
    tx.change(found, objects=_without(found.objects, "object", name, found))


def add_property(tx: Tx, namespace: str, made: MetadefProperty) -> MetadefProperty:
    """Raises Missing, Conflict, TooLarge."""
    found = get(tx, namespace)
    tx.change(found, properties=_added(found.properties, "property", made))
    return made


def set_property(tx: Tx, namespace: str, name: str, made: MetadefProperty) -> MetadefProperty:
    """Raises Missing, Conflict for a new name that is taken."""
    found = get(tx, namespace)
    tx.change(found, properties=_replaced(found.properties, "property", name, made, namespace))
    return made


def remove_property(tx: Tx, namespace: str, name: str) -> None:
    """Raises Missing, Forbidden."""
    found = get(tx, namespace)
    tx.change(found, properties=_without(found.properties, "property", name, found))


def add_tag(tx: Tx, namespace: str, name: str) -> MetadefTag:
    """Raises Missing, Conflict, TooLarge."""
    found = get(tx, namespace)
    made = MetadefTag(name=name, created_at=tx.now, updated_at=tx.now)
    tx.change(found, tags=_added(found.tags, "tag", made))
    return made


def set_tag(tx: Tx, namespace: str, name: str, new_name: str) -> MetadefTag:
    """Raises Missing, Conflict for a new name that is taken."""
    found = get(tx, namespace)
    made = replace(part(found.tags, "tag", name, namespace), name=new_name, updated_at=tx.now)
    tx.change(found, tags=_replaced(found.tags, "tag", name, made, namespace))
    return made


def set_tags(tx: Tx, namespace: str, names: list[str], *, append: bool) -> tuple[MetadefTag, ...]:
    """All of them anew, or beside those that are there. Raises Missing, Conflict for a name twice, TooLarge."""
    found = get(tx, namespace)
    fresh = tuple(MetadefTag(name=name, created_at=tx.now, updated_at=tx.now) for name in names)
    tags = (*found.tags, *fresh) if append else fresh
    _check_parts("tag", [t.name for t in tags])
    tx.change(found, tags=tags)
    return fresh


def remove_tag(tx: Tx, namespace: str, name: str) -> None:
    """Raises Missing, Forbidden."""
    found = get(tx, namespace)
    tx.change(found, tags=_without(found.tags, "tag", name, found))


def clear(tx: Tx, namespace: str, kind: str) -> None:
    """kind: objects, properties or tags. Raises Missing, Forbidden."""
    found = get(tx, namespace)
    check_open(found)
    tx.change(found, **{kind: ()})


def associate(tx: Tx, namespace: str, made: MetadefAssociation) -> MetadefAssociation:
    """Raises Missing for an unknown resource type too, Conflict where it is associated already."""
    found = get(tx, namespace)
    _know_type(tx, made.name)
    made = replace(made, created_at=tx.now, updated_at=tx.now)
    tx.change(found, associations=_added(found.associations, "resource type association", made))
    return made


def dissociate(tx: Tx, namespace: str, name: str) -> None:
    """Raises Missing, Forbidden."""
    found = get(tx, namespace)
    tx.change(found, associations=_without(found.associations, "resource type association", name, found))
