"""/v3/credentials and /v3/users/{id}/credentials/OS-EC2."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.identity import listing
from trilith.api.identity.delegated import refuse_delegated
from trilith.api.identity.listing import Filters
from trilith.api.identity.views import link
from trilith.api.identity.wire import Links, Name, or_none, parse, set_fields
from trilith.commands.identity_credentials import (
    Ec2Blob,
    blob_of,
    create_credential,
    delete_credential,
    ec2_blob,
    ec2_id,
    update_credential,
)
from trilith.model.identity import Credential, User
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

Blob = Annotated[str, Meta(max_length=65_536)]


class CredentialCreate(Struct):
    type: Name
    blob: Blob | dict[str, Any]
    user_id: str | UnsetType = UNSET
    project_id: str | UnsetType | None = UNSET
    id: str | UnsetType = UNSET


class CredentialUpdate(Struct):
    type: Name | UnsetType = UNSET
    blob: Blob | dict[str, Any] | UnsetType = UNSET
    user_id: str | UnsetType = UNSET
    project_id: str | UnsetType | None = UNSET


class CredentialBody(Struct):
    credential: dict[str, Any]


class CredentialView(Struct):
    id: str
    user_id: str
    project_id: str | None
    type: str
    blob: str
    links: Links


class Ec2View(Struct):
    user_id: str
    tenant_id: str
    access: str
    secret: str
    trust_id: str | None
    links: Links


class Ec2Create(Struct):
    tenant_id: Annotated[str, Meta(min_length=1, max_length=64)]


def _view(call: Call, credential: Credential, blob: str) -> CredentialView:
    return CredentialView(
        id=credential.id,
        user_id=credential.user_id,
        project_id=or_none(credential.project_id),
        type=credential.type,
        blob=blob,
        links=link(call, f"credentials/{credential.id}"),
    )


def _text(blob: str | dict[str, Any]) -> str:
    return blob if isinstance(blob, str) else msgspec.json.encode(blob).decode()


async def _load(call: Call, policy: str) -> tuple[Credential, str]:
    """With its blob opened. Raises Forbidden before Missing."""
    id = call.params["credential_id"]

    def look(reader: Reader) -> tuple[Credential | None, str]:
        found = reader.find(Credential, id)
        return found, blob_of(reader, found) if found else ""

    found, blob = await call.read(look)
    call.allow(f"identity:{policy}", **{"target.credential.user_id": found.user_id if found else ""})
    if found is None:
        raise errors.Missing(f"Could not find credential: {id}.")
    return found, blob


async def create(call: Call) -> dict[str, Any]:
    """201. 400 for an EC2 one without project or keys, 403, 404 for an unknown user or project, 409."""
    refuse_delegated(call, "manage credentials")
    given = parse(call.body.credential, CredentialCreate)
    user_id = given.user_id or call.actor.user_id
    call.allow("identity:create_credential", **{"target.credential.user_id": user_id})
    blob, project_id = _text(given.blob), given.project_id or ""
    made = await call.write(
        lambda tx: create_credential(tx, user_id=user_id, type=given.type, blob=blob, project_id=project_id),
        "credential.create",
    )
    return {"credential": _view(call, made, blob)}


async def list_credentials(call: Call) -> dict[str, Any]:
    """200, a page: one's own, or with the rights for it everyone's."""
    clauses = Filters(texts=("user_id", "type")).clauses(call, Credential)
    if not call.can("identity:list_credentials", **{"target.credential.user_id": ""}):
        clauses.append(REGISTRY[Credential].table.c.user_id == call.actor.user_id)

    def look(reader: Reader) -> tuple[listing.Page, dict[str, str]]:
        page = listing.page(call, reader, Credential, "/v3/credentials", *clauses)
        return page, {c.id: blob_of(reader, c) for c in page.records}

    found, blobs = await call.read(look)
    return listing.answer("credentials", found, lambda c: _view(call, c, blobs[c.id]))


async def show(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    return {"credential": _view(call, *await _load(call, "get_credential"))}


async def update(call: Call) -> dict[str, Any]:
    """200. 400 for a change of anything but the blob, 403, 404."""
    refuse_delegated(call, "manage credentials")
    credential, blob = await _load(call, "update_credential")
    given = parse(call.body.credential, CredentialUpdate)
    fresh = None if given.blob is UNSET else _text(given.blob)
    fields = set_fields(given, "blob")
    done = await call.write(lambda tx: update_credential(tx, credential.id, fields, fresh), "credential.update")
    return {"credential": _view(call, done, blob if fresh is None else fresh)}


async def delete(call: Call) -> None:
    """204. 403, 404."""
    refuse_delegated(call, "manage credentials")
    credential, _ = await _load(call, "delete_credential")
    await call.write(lambda tx: delete_credential(tx, credential.id), "credential.delete")


def _ec2_view(call: Call, credential: Credential, blob: Ec2Blob) -> Ec2View:
    return Ec2View(
        user_id=credential.user_id,
        tenant_id=credential.project_id,
        access=blob.access,
        secret=blob.secret,
        trust_id=blob.trust_id,
        links=link(call, f"users/{credential.user_id}/credentials/OS-EC2/{blob.access}"),
    )


async def create_ec2(call: Call) -> dict[str, Any]:
    """201. 403, 404 for an unknown user or project."""
    refuse_delegated(call, "manage credentials")
    user_id, project_id = call.params["user_id"], call.body.tenant_id
    call.allow("identity:ec2_create_credential", **{"target.user.id": user_id})
    blob = Ec2Blob(access=uuid.uuid4().hex, secret=uuid.uuid4().hex)
    text = msgspec.json.encode(blob).decode()
    made = await call.write(
        lambda tx: create_credential(tx, user_id=user_id, type="ec2", blob=text, project_id=project_id),
        "credential.create",
    )
    return {"credential": _ec2_view(call, made, blob)}


async def list_ec2(call: Call) -> dict[str, Any]:
    """200. 403, 404 for an unknown user."""
    user_id = call.params["user_id"]
    call.allow("identity:ec2_list_credentials", **{"target.user.id": user_id})

    def look(reader: Reader) -> list[tuple[Credential, Ec2Blob]]:
        reader.get(User, user_id)
        found = reader.select(Credential, user_id=user_id, type="ec2")
        return [(c, ec2_blob(blob_of(reader, c))) for c in found]

    found = await call.read(look)
    path = f"/v3/users/{user_id}/credentials/OS-EC2"
    return listing.plain(call, "credentials", path, [_ec2_view(call, c, blob) for c, blob in found])


async def _load_ec2(call: Call, policy: str) -> tuple[Credential, Ec2Blob]:
    user_id, access = call.params["user_id"], call.params["access"]

    def look(reader: Reader) -> tuple[Credential, Ec2Blob] | None:
        found = reader.first(Credential, id=ec2_id(access), user_id=user_id, type="ec2")
        return (found, ec2_blob(blob_of(reader, found))) if found else None

    found = await call.read(look)
    call.allow(f"identity:{policy}", **{"target.credential.user_id": user_id})
    if found is None:
        raise errors.Missing(f"Could not find credential: {ec2_id(access)}.")
    return found


async def show_ec2(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    return {"credential": _ec2_view(call, *await _load_ec2(call, "ec2_get_credential"))}


async def delete_ec2(call: Call) -> None:
    """204. 403, 404."""
    refuse_delegated(call, "manage credentials")
    credential, _ = await _load_ec2(call, "ec2_delete_credential")
    await call.write(lambda tx: delete_credential(tx, credential.id), "credential.delete")
