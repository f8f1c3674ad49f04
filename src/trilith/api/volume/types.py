"""/types, their extra specs and who may use them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.volume.wire import Flag, Name, Text, changed, flag, page
from trilith.commands import volume_types as commands
from trilith.model.volume import VolumeType
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

SpecKey = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9\-_:. ]+$")]
Specs = dict[SpecKey, Text]
_SORT = {"name": "name", "created_at": "created_at", "id": "id", "updated_at": "updated_at"}


class TypeView(msgspec.Struct, kw_only=True):
    id: str
    name: str
    description: str | None
    is_public: bool
    public_access: bool | UnsetType = msgspec.field(name="os-volume-type-access:is_public", default=UNSET)
    extra_specs: dict[str, str] | UnsetType = UNSET
    qos_specs_id: str | UnsetType | None = UNSET


class TypeOne(msgspec.Struct):
    volume_type: TypeView


class TypeList(msgspec.Struct):
    volume_types: list[TypeView]


class NewType(msgspec.Struct, kw_only=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^(?!\s*$)[^\x00]+$")]
    description: Text | None = None
    public: Flag = msgspec.field(name="os-volume-type-access:is_public", default=True)
    extra_specs: Specs = {}


class Create(msgspec.Struct, forbid_unknown_fields=True):
    volume_type: NewType


class Changed(msgspec.Struct, kw_only=True):
    name: Name | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET
    is_public: Flag | UnsetType = UNSET


class Update(msgspec.Struct, forbid_unknown_fields=True):
    volume_type: Changed


class SetSpecs(msgspec.Struct, forbid_unknown_fields=True):
    extra_specs: Specs


def view(call: Call, kind: VolumeType) -> TypeView:
    """Extra specs in whole for administrators; for others those that say what a user must know (Cinder's own list)."""
    made = TypeView(
        id=kind.id, name=kind.name, description=kind.description, is_public=kind.public, public_access=kind.public
    )
    if call.can("volume_extension:access_types_extra_specs"):
        made.extra_specs, made.qos_specs_id = dict(kind.extra_specs), None
    else:
        seen = ("multiattach", "replication_enabled", "RESKEY:availability_zones")
        made.extra_specs = {k: v for k, v in kind.extra_specs.items() if k in seen}
    return made


async def index(call: Call) -> TypeList:
    """200."""
    t = REGISTRY[VolumeType].table.c
    clauses = []
    if not call.actor.is_admin or call.one("is_public").lower() not in ("none", ""):
        public = call.flag("is_public", True)
        clauses.append(t.public == public)

    def read(reader: Reader) -> list[VolumeType]:
        found = page(reader, call, VolumeType, clauses, _SORT).rows
        if call.actor.is_admin:
            return found
        # private ones that the project may use, too: few, and so not part of the page's query
        mine = [k for k in reader.select(VolumeType, public=False) if call.actor.project_id in k.projects]
        return [*found, *mine]

    return TypeList([view(call, k) for k in await call.read(read)])


async def show(call: Call) -> TypeOne:
    """200; 404. `default` is the type of volumes that name none."""
    wanted = call.params["id"]

    def read(reader: Reader) -> VolumeType:
        kind = reader.first(VolumeType, default=True) if wanted == "default" else None
        return kind or commands.get(reader, call.actor, wanted)

    return TypeOne(view(call, await call.read(read)))


async def create(call: Call) -> TypeOne:
    """200; 400; 403; 409 for a name that is taken."""
    new: NewType = call.body.volume_type
    kind = await call.write(
        lambda tx: commands.create(
            tx,
            name=new.name.strip(),
            description=new.description,
            public=flag(new.public, "is_public"),
            extra_specs=new.extra_specs,
        ),
        "volume_type.create",
    )
    made = view(call, kind)
    made.qos_specs_id = UNSET
    return TypeOne(made)


async def update(call: Call) -> TypeOne:
    """200; 400; 403; 404; 409 for a name that is taken."""
    new: Changed = call.body.volume_type
    wanted = changed(
        name=UNSET if new.name is None or new.name is UNSET else new.name.strip(),
        description=new.description,
        public=UNSET if new.is_public is UNSET else flag(new.is_public, "is_public"),
    )
    if not wanted:
        raise errors.Invalid("Specify volume type name, description, is_public or a combination thereof.")
    if wanted.get("name") == "":
        raise errors.Invalid("Volume type name can not be empty.", field="name")
    kind = await call.write(lambda tx: commands.update(tx, _get(tx, call), wanted), "volume_type.update")
    made = view(call, kind)
    made.qos_specs_id = made.public_access = UNSET
    return TypeOne(made)


async def delete(call: Call) -> Answer:
    """202; 400 for one in use; 403; 404."""
    await call.write(lambda tx: commands.delete(tx, _get(tx, call)), "volume_type.delete")
    return Answer(status=202)


def _get(tx: Tx, call: Call) -> VolumeType:
    return commands.get(tx, call.actor, call.params["id"])


async def list_specs(call: Call) -> Any:
    """200; 404."""
    kind = await call.read(lambda r: commands.get(r, call.actor, call.params["id"]))
    return {"extra_specs": view(call, kind).extra_specs}


async def set_specs(call: Call) -> Any:
    """200; 400; 403; 404."""
    specs = call.body.extra_specs
    await call.write(lambda tx: commands.set_specs(tx, _get(tx, call), specs), "volume_type.update")
    return {"extra_specs": specs}


async def show_spec(call: Call) -> Any:
    """200; 404."""
    kind = await call.read(lambda r: commands.get(r, call.actor, call.params["id"]))
    key = call.params["key"]
    seen = view(call, kind).extra_specs
    if seen is UNSET or key not in seen:
        raise errors.Missing(f"Volume Type {kind.id} has no extra specs with key {key}.")
    return {key: seen[key]}


async def set_spec(call: Call) -> Any:
    """200; 400 for a body that is of another key; 403; 404."""
    specs: dict[str, str] = call.body
    key = call.params["key"]
    if list(specs) != [key]:
        raise errors.Invalid("Request body and URI mismatch", field=key)
    await call.write(lambda tx: commands.set_specs(tx, _get(tx, call), specs), "volume_type.update")
    return specs


async def drop_spec(call: Call) -> Answer:
    """202; 403; 404."""
    await call.write(lambda tx: commands.drop_spec(tx, _get(tx, call), call.params["key"]), "volume_type.update")
    return Answer(status=202)


async def list_access(call: Call) -> Any:
    """200; 404 for a public one."""
    kind = await call.read(lambda r: commands.get(r, call.actor, call.params["id"]))
    if kind.public:
        raise errors.Missing("Access list not available for public volume types.")
    return {"volume_type_access": [{"volume_type_id": kind.id, "project_id": p} for p in kind.projects]}


class Access(msgspec.Struct):
    project: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class Action(msgspec.Struct, rename={"add": "addProjectAccess", "remove": "removeProjectAccess"}):
    add: Access | UnsetType = UNSET
    remove: Access | UnsetType = UNSET


async def action(call: Call) -> Answer:
    """202; 403; 404; 409."""
    wanted: Action = call.body
    if isinstance(wanted.add, Access):
        call.allow("volume_extension:add_project_access")
        project = wanted.add.project
        await call.write(lambda tx: commands.open_to(tx, _get(tx, call), project), "volume_type.add_project_access")
    elif isinstance(wanted.remove, Access):
        call.allow("volume_extension:remove_project_access")
        project = wanted.remove.project
        await call.write(lambda tx: commands.close_to(tx, _get(tx, call), project), "volume_type.remove_project_access")
    else:
        raise errors.Invalid("There is no such action.", hint="addProjectAccess and removeProjectAccess there are.")
    return Answer(status=202)
