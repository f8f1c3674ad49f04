"""Actions that help when nothing else does: rescue, unrescue, changePassword, injectNetworkInfo; and createBackup."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute.faults import not_implemented
from trilith.api.compute.microversions import has
from trilith.api.compute.server_load import change, settled
from trilith.api.compute.wire import Metadata, Name, Number, Text255, Uuid, number
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import server_changes, server_details, server_rescue
from trilith.model.image import Image
from trilith.model.job import Job, JobState
from trilith.model.server import Server
from trilith.store.tx import Tx

_ACCEPTED = 202


class Rescue(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    adminPass: str | UnsetType = UNSET
    rescue_image_ref: Uuid | UnsetType = UNSET


async def rescue(call: Call, value: Rescue | None) -> Answer:
    """200 with the administrator's password of the rescue; 400 for an image that cannot; 404; 409."""
    password = value.adminPass if value is not None and value.adminPass is not UNSET else secrets.token_urlsafe(9)
    image = value.rescue_image_ref if value is not None and value.rescue_image_ref is not UNSET else ""

    def body(tx: Tx, server: Server) -> None:
        server_rescue.rescue(tx, call.actor, server, password, image)

    await change(call, "os-rescue", "server.rescue", body)
    return Answer({"adminPass": password}, status=200)


async def unrescue(call: Call, _value: Any) -> Answer:
    """202; 409 for a server that is not in rescue."""
    await change(call, "os-unrescue", "server.unrescue", server_rescue.unrescue)
    return Answer(status=_ACCEPTED)


class ChangePassword(msgspec.Struct, forbid_unknown_fields=True):
    adminPass: str


async def change_password(call: Call, value: ChangePassword) -> Answer:
    """202 when the guest has it; 409 where it cannot take it (stopped, no agent inside); 501 where the node cannot."""

    def body(tx: Tx, server: Server) -> Job:
        return server_rescue.change_password(tx, server, value.adminPass)

    job = await change(call, "os-admin-password", "server.change_password", body)
    ended = await settled(call, job.id)
    if ended is not None and ended.state is not JobState.DONE:
        error = ended.error
        if error is not None and error.code == "unsupported":
            not_implemented("Unable to set password on instance: it", error.hint)
        why = error.message if error is not None else "cancelled"
        raise errors.Conflict(f"Failed to set admin password on {call.params['id']} because {why}")
    return Answer(status=_ACCEPTED)


class CreateBackup(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name
    backup_type: Text255
    rotation: Number
    metadata: Metadata | UnsetType = UNSET


async def create_backup(call: Call, value: CreateBackup) -> Answer:
    """202: the image's id in the body from 2.45 on, before that its URL in Location; neither for a rotation of 0,
    which leaves no image."""
    rotation = number(value.rotation, "rotation")
    metadata = value.metadata if value.metadata is not UNSET else {}

    def body(tx: Tx, server: Server) -> Image:
        if not has(call.version, "no_image_metadata"):
            server_details.check_metadata(tx, server.project_id, metadata)
        return server_changes.backup(
            tx, call.actor, server, value.name.strip(), value.backup_type, rotation, metadata=metadata
        )

    image = await change(call, "os-create-backup", "server.create_backup", body, locks=False)
    if rotation == 0:
        return Answer(status=_ACCEPTED)
    if has(call.version, "image_id_body"):
        return Answer({"image_id": image.id}, status=_ACCEPTED)
    where = f"{call.host.settings.url}/image/v2/images/{image.id}"
    return Answer(status=_ACCEPTED, headers={"Location": where})


async def inject_network_info(call: Call, _value: Any) -> Answer:
    """202: the guest's metadata and config drive say again what its ports are; 409 by state."""
    await change(
        call, "os-admin-actions:inject_network_info", "server.inject_network_info", server_changes.inject_network_info
    )
    return Answer(status=_ACCEPTED)
