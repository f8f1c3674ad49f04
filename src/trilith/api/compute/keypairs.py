"""/os-keypairs: a user's ssh keys."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute import paging
from trilith.api.compute.microversions import has
from trilith.api.compute.wire import Link, micro, refuse_newer
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import keypairs as commands
from trilith.model.server import KeyPair
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

LIST_QUERY = ("user_id", "limit", "marker")
SHOW_QUERY = ("user_id",)


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    public_key: str | UnsetType = UNSET
    type: Literal["ssh", "x509"] | UnsetType = UNSET
    user_id: str | UnsetType = UNSET


class Create(msgspec.Struct, forbid_unknown_fields=True):
    keypair: NewKey


class KeyBrief(msgspec.Struct, kw_only=True):
    name: str
    public_key: str
    fingerprint: str
    type: str | UnsetType = UNSET


class KeyMade(KeyBrief, kw_only=True):
    user_id: str
    private_key: str | UnsetType = UNSET


class KeyView(KeyBrief, kw_only=True):
    user_id: str
    id: int
    created_at: str
    deleted: bool = False
    deleted_at: str | None = None
    updated_at: str | None = None


class KeyOne(msgspec.Struct):
    keypair: KeyView


class KeyMadeOne(msgspec.Struct):
    keypair: KeyMade


class KeyEntry(msgspec.Struct):
    keypair: KeyBrief


class KeyList(msgspec.Struct):
    keypairs: list[KeyEntry]
    keypairs_links: list[Link] | UnsetType = UNSET


def _owner(call: Call) -> str:
    """The caller, or from 2.10 on whom the query names."""
    return (call.one("user_id") if has(call.version, "keypair_user") else "") or call.actor.user_id


def _type(call: Call, key: KeyPair) -> Any:
    return key.type if has(call.version, "keypair_type") else UNSET


async def index(call: Call) -> KeyList:
    """200; 400 for a marker that is not there; 403 for another user's."""
    user = _owner(call)
    call.allow("os_compute_api:os-keypairs:index", user_id=user)
    pages = has(call.version, "keypair_paging")
    limit = paging.limit_of(call) if pages else None
    marker = paging.marker_of(call) if pages else ""
    table = REGISTRY[KeyPair].table

    def read(reader: Reader) -> list[KeyPair]:
        clauses = []
        if marker:
            if reader.first(KeyPair, user_id=user, name=marker) is None:
                raise paging.no_marker(marker)
            clauses.append(table.c.name > marker)
        return reader.select(KeyPair, *clauses, user_id=user, order=[table.c.name], limit=limit)

    found = await call.read(read)
    more = bool(found) and len(found) == limit
    return KeyList(
        [
            KeyEntry(KeyBrief(name=k.name, public_key=k.public_key, fingerprint=k.fingerprint, type=_type(call, k)))
            for k in found
        ],
        paging.next_link(call, "/os-keypairs", found[-1].name) if more else UNSET,
    )


async def show(call: Call) -> KeyOne:
    """200; 403; 404."""
    user = _owner(call)
    call.allow("os_compute_api:os-keypairs:show", user_id=user)
    key = await call.read(lambda r: r.first(KeyPair, user_id=user, name=call.params["id"]))
    if key is None:
        raise errors.Missing(f"Keypair {call.params['id']} not found for user {user}")
    return KeyOne(
        KeyView(
            name=key.name,
            public_key=key.public_key,
            fingerprint=key.fingerprint,
            type=_type(call, key),
            user_id=key.user_id,
            id=key.seq,
            created_at=micro(key.created_at),
        )
    )


async def create(call: Call) -> Answer:
    """201 (200 before 2.2), with the private key when one was made; 400; 403 at the quota; 409."""
    asked: NewKey = call.body.keypair
    refuse_newer(call, asked, {"type": "keypair_type", "user_id": "keypair_user"})
    user = asked.user_id if asked.user_id is not UNSET else call.actor.user_id
    call.allow("os_compute_api:os-keypairs:create", user_id=user)
    kind = asked.type if asked.type is not UNSET else "ssh"
    name = " ".join(asked.name.split(" ")).strip()
    _check_name(name, dots=has(call.version, "import_only"))
    private: str | UnsetType = UNSET
    if asked.public_key is not UNSET:
        public = asked.public_key
    elif has(call.version, "import_only"):
        raise errors.Invalid(
            "Invalid input received: 'public_key' is a required property",
            field="public_key",
            hint="Make the pair where you are and send its public half.",
        )
    elif kind == "x509":
        made = await asyncio.to_thread(commands.generate_certificate, user, call.actor.project_id)
        public, private = made.public_key, made.private_key
    else:
        # ed25519 is what every guest image of today takes, and is made at once
        made = await asyncio.to_thread(commands.generate, "ed25519")
        public, private = made.public_key, made.private_key
    print_of_key = commands.fingerprint(public, kind)
    key = await call.write(
        lambda tx: commands.create(
            tx, user_id=user, name=name, public_key=public, print_of_key=print_of_key, type=kind
        ),
        "keypair.create",
    )
    body = KeyMadeOne(
        KeyMade(
            name=key.name,
            public_key=key.public_key,
            fingerprint=key.fingerprint,
            type=_type(call, key),
            user_id=key.user_id,
            private_key=private,
        )
    )
    return Answer(body, status=201 if has(call.version, "keypair_type") else 200)


async def delete(call: Call) -> Answer:
    """204 (202 before 2.2); 403; 404."""
    user = _owner(call)
    call.allow("os_compute_api:os-keypairs:delete", user_id=user)
    await call.write(lambda tx: commands.delete(tx, user, call.params["id"]), "keypair.delete")
    return Answer(status=204 if has(call.version, "keypair_type") else 202)


def _check_name(name: str, *, dots: bool) -> None:
    """Nova's safe characters: letters, digits, underscore, space, dash; from 2.92 on also @ and the dot."""
    safe = "_- " + ("@." if dots else "")
    if not name or any(not (c.isascii() and c.isalnum()) and c not in safe for c in name):
        raise errors.Invalid(
            f"Keypair data is invalid: Keypair name contains unsafe characters: {name!r}",
            field="name",
        )
