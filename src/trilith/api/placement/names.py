"""/traits, /resource_classes, and the traits of a provider."""

from __future__ import annotations

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.placement.providers import get, provider_of
from trilith.api.placement.wire import CustomName, Generation, Link, Name, fresh, known_query, path
from trilith.commands import resource_providers as commands
from trilith.model.node import ProviderTraits, ResourceClass, ResourceProvider, Trait
from trilith.store.tx import Reader


class Traits(msgspec.Struct):
    traits: list[str]


async def list_traits(call: Call) -> Answer:
    """200. 400 for a name filter that is neither in: nor startswith:."""
    known_query(call, frozenset({"name", "associated"}))
    if call.all("associated") and call.one("associated").lower() not in ("true", "false"):
        raise errors.Invalid('The query parameter "associated" only accepts "true" or "false"', field="associated")

    def body(reader: Reader) -> tuple[list[str], set[str]]:
        custom = [t.id for t in reader.select(Trait)]
        held = reader.select(ProviderTraits) if call.one("associated") else []
        return custom, {name for row in held for name in row.traits}

    custom, associated = await call.read(body)
    names = sorted(commands.standard_traits()) + sorted(custom)
    wanted = call.one("name")
    if wanted.startswith("in:"):
        listed = set(wanted[3:].split(","))
        names = [n for n in names if n in listed]
    elif wanted.startswith("startswith:"):
        names = [n for n in names if n.startswith(wanted.partition(":")[2])]
    elif wanted:
        raise errors.Invalid(
            "Badly formatted name parameter. Expected name query string parameter in form: "
            f'?name=[in|startswith]:[name1,name2|prefix]. Got: "{wanted}"',
            field="name",
        )
    if call.one("associated"):
        value = call.flag("associated")
        names = [n for n in names if (n in associated) is value]
    return fresh(call, Traits(names))


async def _trait_exists(call: Call) -> bool:
    name = call.params["name"]
    return name in await call.read(lambda r: commands.known_traits(r, [name]))


async def show_trait(call: Call) -> Answer:
    """204. 404 for no such trait."""
    if not await _trait_exists(call):
        raise errors.Missing(f"No such trait(s): {call.params['name']}.")
    return fresh(call, None, status=204)


def _custom(name: str, noun: str) -> str:
    try:
        return msgspec.convert(name, CustomName)
    except msgspec.ValidationError as err:
        raise errors.Invalid(
            f"JSON does not validate: The {noun} is invalid. A valid {noun} must be no longer than 255 characters, "
            f'start with the prefix "CUSTOM_" and use following characters: "A"-"Z", "0"-"9" and "_". Got: {name}',
            field="name",
        ) from err


async def put_trait(call: Call) -> Answer:
    """201, or 204 when it is there. 400 for a name without CUSTOM_."""
    name = _custom(call.params["name"], "trait")
    made = await call.write(lambda tx: commands.add_name(tx, Trait, name), "trait.create")
    headers = {"Location": call.url(f"/traits/{name}")}
    return fresh(call, None, status=201 if made else 204, headers=headers)


async def delete_trait(call: Call) -> None:
    """204. 400 for a standard trait, 404, 409 while a provider has it."""
    await call.write(lambda tx: commands.remove_trait(tx, call.params["name"]), "trait.delete")


class ProviderTraitsView(msgspec.Struct):
    traits: list[str]
    resource_provider_generation: int


class ProviderTraitsPut(msgspec.Struct, forbid_unknown_fields=True):
    traits: list[Name]
    resource_provider_generation: Generation


async def list_provider_traits(call: Call) -> Answer:
    """200. 404 for no such provider."""

    def body(reader: Reader) -> tuple[ResourceProvider, ProviderTraits | None]:
        provider = get(reader, call)
        return provider, reader.find(ProviderTraits, provider.id)

    provider, held = await call.read(body)
    return fresh(call, ProviderTraitsView(sorted(held.traits) if held else [], provider.generation))


async def put_provider_traits(call: Call) -> Answer:
    """200. 400 for a trait that does not exist, 404, 409 for an old generation."""
    body: ProviderTraitsPut = call.body
    await provider_of(call)
    made = await call.write(
        lambda tx: commands.set_traits(tx, call.params["uuid"], body.traits, body.resource_provider_generation),
        "resource_provider.traits",
    )
    return fresh(call, ProviderTraitsView(sorted(set(body.traits)), made))


async def delete_provider_traits(call: Call) -> None:
    """204. 404 for no such provider."""
    await provider_of(call)
    await call.write(lambda tx: commands.set_traits(tx, call.params["uuid"], (), None), "resource_provider.traits")


class NewClass(msgspec.Struct, forbid_unknown_fields=True):
    name: CustomName


class ClassView(msgspec.Struct):
    name: str
    links: list[Link]


class Classes(msgspec.Struct):
    resource_classes: list[ClassView]


def _class(name: str) -> ClassView:
    return ClassView(name, [Link("self", path(f"/resource_classes/{name}"))])


async def list_classes(call: Call) -> Answer:
    """200."""
    custom = await call.read(lambda r: [c.id for c in r.select(ResourceClass)])
    return fresh(call, Classes([_class(n) for n in (*commands.standard_classes(), *custom)]))


async def create_class(call: Call) -> Answer:
    """201. 400 for a name without CUSTOM_, 409 for one that is there."""
    body: NewClass = call.body
    if not await call.write(lambda tx: commands.add_name(tx, ResourceClass, body.name), "resource_class.create"):
        raise commands.PlacementConflict(f"Conflicting resource class already exists: {body.name}")
    return Answer(status=201, headers={"Location": call.url(f"/resource_classes/{body.name}")})


async def show_class(call: Call) -> Answer:
    """200. 404 for no such class."""
    name = call.params["name"]
    if name not in await call.read(lambda r: commands.known_classes(r, [name])):
        raise errors.Missing(f"No such resource class {name}.")
    return fresh(call, _class(name))


async def rename_class(call: Call) -> Answer:
    """200, up to 1.6. 400 for a standard class or a name without CUSTOM_, 404, 409 for a name that is taken."""
    body: NewClass = call.body
    await call.write(lambda tx: commands.rename_class(tx, call.params["name"], body.name), "resource_class.update")
    return Answer(_class(body.name))


async def put_class(call: Call) -> Answer:
    """201, or 204 when it is there (1.7 and newer). 400 for a name without CUSTOM_."""
    name = _custom(call.params["name"], "resource class")
    made = await call.write(lambda tx: commands.add_name(tx, ResourceClass, name), "resource_class.create")
    headers = {"Location": call.url(f"/resource_classes/{name}")}
    return Answer(status=201 if made else 204, headers=headers)


async def delete_class(call: Call) -> None:
    """204. 400 for a standard class, 404, 409 while it is in use."""
    await call.write(lambda tx: commands.remove_class(tx, call.params["name"]), "resource_class.delete")
