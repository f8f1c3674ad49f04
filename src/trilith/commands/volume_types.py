"""Volume types: what a volume is to be like, and who may have such a one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trilith import errors
from trilith.model.record import Actor
from trilith.model.volume import Volume, VolumeType
from trilith.store.tx import Reader, Tx, new_id

#: of the type that a new cloud has, which volumes without a type get (Cinder's own name)
DEFAULT = "__DEFAULT__"


def create(tx: Tx, *, name: str, description: str | None, public: bool, extra_specs: Mapping[str, str]) -> VolumeType:
    """Raises Conflict for a name that is taken."""
    if tx.first(VolumeType, name=name) is not None:
        raise errors.Conflict(f"Volume Type {name} already exists.", field="name")
    return tx.add(
        VolumeType(id=new_id(), name=name, description=description, public=public, extra_specs=dict(extra_specs))
    )


def default_of(tx: Tx) -> VolumeType:
    """The default type, made where there is none yet."""
    found = tx.first(VolumeType, default=True)
    if found is not None:
        return found
    taken = tx.first(VolumeType, name=DEFAULT)
    if taken is not None:
        return tx.change(taken, default=True)
    return tx.add(VolumeType(id=new_id(), name=DEFAULT, description="Default Volume Type", default=True))


def may_use(actor: Actor, kind: VolumeType) -> bool:
    return kind.public or actor.is_admin or actor.project_id in kind.projects


def get(reader: Reader, actor: Actor, type_id: str) -> VolumeType:
    """By id. Raises Missing, for one that the caller may not see, too."""
    found = reader.find(VolumeType, type_id)
    if found is None or not may_use(actor, found):
        raise errors.Missing(f"Volume type {type_id} could not be found.")
    return found


def named(reader: Reader, actor: Actor, wanted: str) -> VolumeType:
    """By id or name. Raises Missing."""
    found = reader.find(VolumeType, wanted) or reader.first(VolumeType, name=wanted)
    if found is None or not may_use(actor, found):
        raise errors.Missing(f"Volume type with name {wanted} could not be found.", field="volume_type")
    return found


def update(tx: Tx, kind: VolumeType, changes: Mapping[str, Any]) -> VolumeType:
    """Raises Conflict for a name that is taken, Invalid for a default type that is to be for some only."""
    other = tx.first(VolumeType, name=changes["name"]) if "name" in changes else None
    if other is not None and other.id != kind.id:
        raise errors.Conflict(f"Volume Type {changes['name']} already exists.", field="name")
    if kind.default and changes.get("public") is False:
        raise errors.Invalid("The default volume type must be public.", field="is_public")
    return tx.change(kind, **changes)


def delete(tx: Tx, kind: VolumeType) -> None:
    """Raises Invalid for one in use, or the default one."""
    if kind.default:
        raise errors.Invalid(f"The volume type {kind.id} is the default volume type and cannot be deleted.")
    if tx.first(Volume, type_id=kind.id) is not None:
        raise errors.Invalid(f"Volume Type {kind.id} deletion is not allowed with volumes present with the type.")
    tx.remove(kind)


def set_specs(tx: Tx, kind: VolumeType, specs: Mapping[str, str]) -> VolumeType:
    return tx.change(kind, extra_specs=kind.extra_specs | dict(specs))


def drop_spec(tx: Tx, kind: VolumeType, key: str) -> VolumeType:
    """Raises Missing."""
    if key not in kind.extra_specs:
        raise errors.Missing(f"Volume Type {kind.id} has no extra specs with key {key}.")
    return tx.change(kind, extra_specs={k: v for k, v in kind.extra_specs.items() if k != key})


def open_to(tx: Tx, kind: VolumeType, project_id: str) -> VolumeType:
    """Raises Conflict for a public one, or one that the project has already."""
    if kind.public:
        raise errors.Conflict("Type access modification is not applicable to public volume type.")
    if project_id in kind.projects:
        raise errors.Conflict(f"Volume type access for {kind.id} / {project_id} combination already exists.")
    return tx.change(kind, projects=(*kind.projects, project_id))


def close_to(tx: Tx, kind: VolumeType, project_id: str) -> VolumeType:
    """Raises Conflict for a public one, Missing for one that the project has not."""
    if kind.public:
        raise errors.Conflict("Type access modification is not applicable to public volume type.")
    if project_id not in kind.projects:
        raise errors.Missing(f"Volume type access not found for {kind.id} / {project_id} combination.")
    return tx.change(kind, projects=tuple(p for p in kind.projects if p != project_id))
