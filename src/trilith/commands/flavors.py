"""Flavors: made, described, given extra specs, opened to projects. Servers keep the flavor as it was."""

from __future__ import annotations

from dataclasses import dataclass

from trilith import errors
from trilith.commands.network_search import has
from trilith.model.identity import Project
from trilith.model.record import Actor
from trilith.model.server import Flavor
from trilith.placement.advisor.request import check_own_specs
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx, new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class FlavorRequest:
    """id "" for a new one. ram, swap: MiB. disk, ephemeral: GiB."""

    name: str
    vcpus: int
    ram: int
    disk: int
    id: str = ""
    ephemeral: int = 0
    swap: int = 0
    rxtx_factor: float = 1.0
    public: bool = True
    description: str = ""


def create(tx: Tx, request: FlavorRequest) -> Flavor:
    """Raises Conflict for a name or id that is taken."""
    if tx.first(Flavor, name=request.name) is not None:
        raise errors.Conflict(f"Flavor with name {request.name} already exists.", field="name")
    if request.id and tx.find(Flavor, request.id) is not None:
        raise errors.Conflict(f"Flavor with ID {request.id} already exists.", field="id")
    return tx.add(
        Flavor(
            id=request.id or new_id(),
            name=request.name,
            vcpus=request.vcpus,
            ram=request.ram,
            disk=request.disk,
            ephemeral=request.ephemeral,
            swap=request.swap,
            rxtx_factor=request.rxtx_factor,
            public=request.public,
            description=request.description,
        )
    )


def get(reader: Reader, flavor_id: str) -> Flavor:
    """Raises Missing."""
    flavor = reader.find(Flavor, flavor_id)
    if flavor is None:
        raise errors.Missing(f"Flavor {flavor_id} could not be found.")
    return flavor


def shown(reader: Reader, actor: Actor, flavor_id: str) -> Flavor:
    """As `get`, for who may know of it: a private one only its projects and admins. Raises Missing."""
    flavor = get(reader, flavor_id)
    if not (flavor.public or actor.is_admin or actor.project_id in flavor.projects):
        raise errors.Missing(f"Flavor {flavor_id} could not be found.")
    return flavor


def visible_to(reader: Reader, project_id: str) -> object:
    """A clause: the flavors that are public, or open to the project."""
    table = REGISTRY[Flavor].table
    return table.c.public.is_(True) | has(reader, table.c.projects, project_id)


def describe(tx: Tx, flavor_id: str, description: str) -> Flavor:
    return tx.change(get(tx, flavor_id), description=description)


def delete(tx: Tx, flavor_id: str) -> None:
    """Servers that were made with it go on: they have their own copy."""
    tx.remove(get(tx, flavor_id))


def set_extra_specs(tx: Tx, flavor_id: str, specs: dict[str, str]) -> Flavor:
    """Raises Invalid for a `trilith:` spec that is none, or has a value that it does not take."""
    flavor = get(tx, flavor_id)
    check_own_specs(specs)
    return tx.change(flavor, extra_specs={**flavor.extra_specs, **specs})


def remove_extra_spec(tx: Tx, flavor_id: str, key: str) -> Flavor:
    """Raises Missing for a key that the flavor does not have."""
    flavor = get(tx, flavor_id)
    if key not in flavor.extra_specs:
        raise errors.Missing(f"Flavor {flavor_id} has no extra specs with key {key}.")
    return tx.change(flavor, extra_specs={k: v for k, v in flavor.extra_specs.items() if k != key})


def add_access(tx: Tx, flavor_id: str, project_id: str, *, public_is_conflict: bool) -> Flavor:
    """Raises Invalid for a project that is not there, Conflict for one that has access already."""
    if tx.find(Project, project_id) is None:
        raise errors.Invalid(f"Project ID {project_id} is not a valid project.", field="tenant")
    flavor = get(tx, flavor_id)
    if flavor.public and public_is_conflict:
        raise errors.Conflict("Can not add access to a public flavor.")
    if project_id in flavor.projects:
        raise errors.Conflict(
            f"Flavor access already exists for flavor {flavor_id} and project {project_id} combination."
        )
    return tx.change(flavor, projects=(*flavor.projects, project_id))


def remove_access(tx: Tx, flavor_id: str, project_id: str) -> Flavor:
    """Raises Missing where the project has no access."""
    flavor = get(tx, flavor_id)
    if project_id not in flavor.projects:
        raise errors.Missing(f"Flavor access not found for {flavor_id} / {project_id} combination.")
    return tx.change(flavor, projects=tuple(p for p in flavor.projects if p != project_id))
