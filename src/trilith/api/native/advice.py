"""/trilith/v1/advice: which pillar a workload should have, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.agent.calls import ServerArgs
from trilith.api.compute.server_create import checked_image
from trilith.api.http.call import Call
from trilith.commands import advice
from trilith.commands.advice import Answer, workload_of_fields, workload_of_yaml
from trilith.model.guest import GuestFacts
from trilith.model.server import Server
from trilith.store.tx import Reader

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
#: of a demand given as JSON: numbers are in the unit that the field's name ends with, or a text has its own
_Value = bool | int | float | Annotated[str, msgspec.Meta(max_length=200)] | None
#: seconds for a node to say what a guest uses
_PATIENCE = 10.0


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """A workload as YAML. source: what messages call it, as a file's name."""

    text: Annotated[str, msgspec.Meta(max_length=65_536)]
    source: Annotated[str, msgspec.Meta(max_length=255)] = "the workload"


class AdviceRequest(msgspec.Struct, forbid_unknown_fields=True):
    """One of these: the demands as fields; as a YAML document; image and flavor (ids) as a request would have them; a
    server's id."""

    workload: dict[str, _Value] | UnsetType = UNSET
    document: Document | UnsetType = UNSET
    image: _Id | UnsetType = UNSET
    flavor: _Id | UnsetType = UNSET
    server: _Id | UnsetType = UNSET


async def advise(call: Call) -> Answer:
    """200, also where nothing fits: then `conflict` says what is in the way. 400 with the field (of a document: in the
    message the line) and what is allowed; 404 for no such server in the caller's project; 409 for a server that is on
    no node yet."""
    asked: AdviceRequest = call.body
    given = [n for n in ("workload", "document", "server") if getattr(asked, n) is not UNSET]
    given += ["image and flavor"] if UNSET is not asked.image or UNSET is not asked.flavor else []
    if len(given) != 1:
        raise errors.Invalid(
            f"Given are {', '.join(given) or 'none'}, and one of them is wanted.",
            hint="Allowed: workload, document, server, or image with flavor.",
            field=given[1] if len(given) > 1 else "workload",
        )
    adviser, cloud = call.host.services.adviser, call.host.settings.region
    if asked.server is not UNSET:
        return await _of_server(call, asked.server)
    if asked.image is not UNSET and asked.flavor is not UNSET:
        image, flavor = checked_image(asked.image), asked.flavor
        found = await call.read(
            lambda r: advice.for_request(r, adviser, cloud, call.actor, image_id=image, flavor_id=flavor)
        )
        return _shown(call, found)
    if asked.image is not UNSET or asked.flavor is not UNSET:
        raise errors.Invalid(
            "An image is asked about with its flavor.", field="flavor" if asked.flavor is UNSET else "image"
        )
    document, fields = asked.document, asked.workload

    def body(reader: Reader) -> Answer:
        # here and not before: a long document takes its time, which the event loop has not
        if document is not UNSET:
            workload = workload_of_yaml(document.text, document.source)
        else:
            assert fields is not UNSET
            workload = workload_of_fields(fields)
        return advice.for_workload(reader, adviser, cloud, workload)

    return _shown(call, await call.read(body))


def _shown(call: Call, found: Answer) -> Answer:
    """What machines are made of is for those who may list them."""
    if call.can("trilith:nodes:list"):
        return found
    kinds = tuple(replace(kind, traits=()) for kind in found.grounds.kinds)
    return replace(found, grounds=replace(found.grounds, host=None, rules_file="", kinds=kinds))


async def _of_server(call: Call, server_id: str) -> Answer:
    def load(reader: Reader) -> Server:
        found = reader.find(Server, server_id)
        if found is None or not call.can("trilith:servers:show", project_id=found.project_id):
            raise errors.Missing(f"There is no server {server_id}.")
        return found

    server = await call.read(load)
    if not server.node:
        raise errors.Conflict(f"The server {server.id} is on no node yet.", hint="Wait until it is ACTIVE.")
    facts = await call.host.services.links.call(
        server.node, "guest.state", ServerArgs(server.id), GuestFacts, timeout=_PATIENCE
    )
    adviser, cloud = call.host.services.adviser, call.host.settings.region
    return _shown(call, await call.read(lambda r: advice.for_server(r, adviser, cloud, server, facts)))
