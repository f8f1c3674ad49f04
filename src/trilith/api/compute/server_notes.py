"""A server's metadata and tags."""

from __future__ import annotations

from typing import Annotated

import msgspec

from trilith import errors
from trilith.api.compute.server_create import Tag
from trilith.api.compute.server_load import change, load
from trilith.api.compute.wire import VERSION, Metadata
from trilith.api.http.call import Call
from trilith.api.http.host import decode
from trilith.api.http.route import Answer
from trilith.commands import server_details as commands
from trilith.model.server import Server
from trilith.store.tx import Tx


class MetadataBody(msgspec.Struct, forbid_unknown_fields=True):
    metadata: Metadata


class MetaBody(msgspec.Struct, forbid_unknown_fields=True):
    meta: Annotated[Metadata, msgspec.Meta(min_length=1, max_length=1)]


async def list_metadata(call: Call) -> MetadataBody:
    """200; 404."""
    server = await call.read(lambda r: load(r, call, "server-metadata:index"))
    return MetadataBody(server.metadata)


async def create_metadata(call: Call) -> MetadataBody:
    """200, all items after; 403 over the quota; 404; 409."""
    given: dict[str, str] = call.body.metadata
    server = await change(
        call,
        "server-metadata:create",
        "server.set_metadata",
        lambda tx, s: commands.set_metadata(tx, s, {**s.metadata, **given}),
    )
    return MetadataBody(server.metadata)


async def replace_metadata(call: Call) -> MetadataBody:
    """200, all items after; 403; 404; 409."""
    given: dict[str, str] = call.body.metadata
    server = await change(
        call,
        "server-metadata:update_all",
        "server.set_metadata",
        lambda tx, s: commands.set_metadata(tx, s, given),
    )
    return MetadataBody(server.metadata)


async def show_meta(call: Call) -> MetaBody:
    """200; 404 also for a key that is not there."""
    server = await call.read(lambda r: load(r, call, "server-metadata:show"))
    key = call.params["key"]
    if key not in server.metadata:
        raise errors.Missing("Metadata item was not found")
    return MetaBody({key: server.metadata[key]})


async def update_meta(call: Call) -> MetaBody:
    """200; 400 where path and body name different keys; 403; 404; 409."""
    given: dict[str, str] = call.body.meta
    if call.params["key"] not in given:
        raise errors.Invalid("Request body and URI mismatch")
    await change(
        call,
        "server-metadata:update",
        "server.set_metadata",
        lambda tx, s: commands.set_metadata(tx, s, {**s.metadata, **given}),
    )
    return MetaBody(given)


async def delete_meta(call: Call) -> Answer:
    """204; 404; 409."""
    await change(
        call,
        "server-metadata:delete",
        "server.remove_metadata",
        lambda tx, s: commands.remove_metadata(tx, s, call.params["key"]),
    )
    return Answer(status=204)


# tags


class TagsBody(msgspec.Struct, forbid_unknown_fields=True):
    tags: Annotated[list[Tag], msgspec.Meta(max_length=50)]


async def list_tags(call: Call) -> TagsBody:
    """200; 404."""
    server = await call.read(lambda r: load(r, call, "os-server-tags:index"))
    return TagsBody(list(server.tags))


async def replace_tags(call: Call) -> TagsBody:
    """200; 400; 404; 409."""
    given: list[str] = call.body.tags
    server = await change(
        call, "os-server-tags:update_all", "server.set_tags", lambda tx, s: commands.set_tags(tx, s, given)
    )
    return TagsBody(list(server.tags))


async def delete_tags(call: Call) -> Answer:
    """204; 404."""
    await change(call, "os-server-tags:delete_all", "server.set_tags", lambda tx, s: commands.set_tags(tx, s, ()))
    return Answer(status=204)


async def show_tag(call: Call) -> Answer:
    """204 when the server has it; 404."""
    server = await call.read(lambda r: load(r, call, "os-server-tags:show"))
    if call.params["tag"] not in server.tags:
        raise errors.Missing(f"Server {server.id} has no tag '{call.params['tag']}'")
    return Answer(status=204)


async def update_tag(call: Call) -> Answer:
    """201 for a new one, 204 for one that was there, both with Location; 400; 404."""
    tag = call.params["tag"]
    decode(msgspec.json.encode(tag), Tag)

    def body(tx: Tx, server: Server) -> bool:
        return commands.add_tag(tx, server, tag)[1]

    new = await change(call, "os-server-tags:update", "server.add_tag", body)
    where = call.url(f"{VERSION}/servers/{call.params['id']}/tags/{tag}")
    return Answer(status=201 if new else 204, headers={"Location": where})


async def delete_tag(call: Call) -> Answer:
    """204; 404."""
    await change(
        call,
        "os-server-tags:delete",
        "server.remove_tag",
        lambda tx, s: commands.remove_tag(tx, s, call.params["tag"]),
    )
    return Answer(status=204)
