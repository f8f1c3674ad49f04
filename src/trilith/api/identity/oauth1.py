"""/v3/OS-OAUTH1, and the access tokens of a user. Its answers to consumers are forms, as OAuth 1.0a has it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.identity import listing
from trilith.api.identity.delegated import refuse_delegated
from trilith.api.identity.oauth1_signature import FORM, signed_request
from trilith.api.identity.views import link, role_view
from trilith.api.identity.wire import Links, Text, flat, isotime, or_none, parse_open, set_fields
from trilith.commands import identity_oauth1
from trilith.commands.identity_rules import hex_id
from trilith.model.identity import Role, User
from trilith.model.identity_extensions import AccessToken, Consumer
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

_PATH = "/v3/OS-OAUTH1"


class ConsumerGiven(Struct):
    description: Text | UnsetType | None = UNSET


class ConsumerBody(Struct):
    consumer: dict[str, Any]


class RoleGiven(Struct):
    id: Text


class AuthorizeBody(Struct):
    roles: Annotated[list[RoleGiven], Meta(min_length=1, max_length=256)]


class ConsumerView(Struct):
    id: str
    description: str | None
    links: Links


class AccessTokenView(Struct):
    id: str
    consumer_id: str
    project_id: str
    authorizing_user_id: str
    expires_at: str | None
    links: Links


def _consumer(call: Call, c: Consumer) -> dict[str, Any]:
    view = ConsumerView(id=c.id, description=or_none(c.description), links=link(call, f"OS-OAUTH1/consumers/{c.id}"))
    return flat(view, c.extra)


async def create_consumer(call: Call) -> dict[str, Any]:
    """201, with the secret, which is shown this once. 400, 403."""
    given, extra = parse_open(call.body.consumer, ConsumerGiven)
    if "secret" in extra:
        raise errors.Invalid("The secret of a consumer is made here.", field="secret")
    consumer = Consumer(id=hex_id(), secret="", extra=extra, **set_fields(given))
    made, secret = await call.write(lambda tx: identity_oauth1.create_consumer(tx, consumer), "consumer.create")
    return {"consumer": _consumer(call, made) | {"secret": secret}}


async def list_consumers(call: Call) -> dict[str, Any]:
    """200, a page. 403."""
    found = await call.read(lambda r: listing.page(call, r, Consumer, f"{_PATH}/consumers"))
    return listing.answer("consumers", found, lambda c: _consumer(call, c))


async def show_consumer(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    id = call.params["consumer_id"]
    return {"consumer": _consumer(call, await call.read(lambda r: r.get(Consumer, id)))}


async def update_consumer(call: Call) -> dict[str, Any]:
    """200. 400 for a change of the secret, 403, 404."""
    id = call.params["consumer_id"]
    given, extra = parse_open(call.body.consumer, ConsumerGiven)
    if "secret" in extra:
        raise errors.Invalid("The secret of a consumer cannot be changed.", field="secret")
    fields = set_fields(given)
    if extra:
        fields["extra"] = extra
    done = await call.write(lambda tx: identity_oauth1.update_consumer(tx, id, dict(fields)), "consumer.update")
    return {"consumer": _consumer(call, done)}


async def delete_consumer(call: Call) -> None:
    """204; what was delegated to it ends. 403, 404."""
    id = call.params["consumer_id"]
    await call.write(lambda tx: identity_oauth1.delete_consumer(tx, id), "consumer.delete")


async def create_request_token(call: Call) -> Answer:
    """201, a form. 400 without the header Requested-Project-Id or OAuth's, 401 for a wrong signature, 404 for an
    unknown project."""
    project_id = call.headers.get("requested-project-id", "")
    if not project_id:
        raise errors.Invalid("The header Requested-Project-Id is missing.")
    signed = await signed_request(call)
    form = await call.write(lambda tx: identity_oauth1.request_token(tx, signed, project_id), "oauth1.request_token")
    return Answer(form.encode(), media_type=FORM)


async def create_access_token(call: Call) -> Answer:
    """201, a form. 400, 401 for a wrong signature or verifier."""
    signed = await signed_request(call)
    form = await call.write(lambda tx: identity_oauth1.access_token(tx, signed), "oauth1.access_token")
    return Answer(form.encode(), media_type=FORM)


async def authorize(call: Call) -> dict[str, Any]:
    """200 with the verifier. 401 for one that has run out or roles that the caller has not, 403 for a delegated
    token, 404."""
    refuse_delegated(call, "authorize a request token")
    id = call.params["request_token_id"]
    roles = tuple(dict.fromkeys(r.id for r in call.body.roles))
    user_id = call.actor.user_id
    verifier = await call.write(lambda tx: identity_oauth1.authorize(tx, id, user_id, roles), "oauth1.authorize")
    return {"token": {"oauth_verifier": verifier}}


def _view(call: Call, token: AccessToken) -> AccessTokenView:
    return AccessTokenView(
        id=token.id,
        consumer_id=token.consumer_id,
        project_id=token.project_id,
        authorizing_user_id=token.user_id,
        expires_at=isotime(token.expires_at) if token.expires_at else None,
        links=link(call, f"users/{token.user_id}/OS-OAUTH1/access_tokens/{token.id}"),
    )


async def _load(call: Call, policy: str) -> AccessToken:
    """Raises Forbidden before Missing."""
    user_id, id = call.params["user_id"], call.params["access_token_id"]
    call.allow(f"identity:{policy}", **{"target.user.id": user_id})
    found = await call.read(lambda r: r.first(AccessToken, id=id, user_id=user_id))
    if found is None:
        raise errors.Missing(f"Could not find access token: {id}.")
    return found


async def list_access_tokens(call: Call) -> dict[str, Any]:
    """200, a page: what the user delegated. 403 also for a delegated token, 404 for an unknown user."""
    refuse_delegated(call, "list access tokens")
    user_id = call.params["user_id"]
    call.allow("identity:list_access_tokens", **{"target.user.id": user_id})
    path = f"/v3/users/{user_id}/OS-OAUTH1/access_tokens"
    mine = REGISTRY[AccessToken].table.c.user_id == user_id

    def look(reader: Reader) -> listing.Page:
        reader.get(User, user_id)
        return listing.page(call, reader, AccessToken, path, mine)

    found = await call.read(look)
    return listing.answer("access_tokens", found, lambda t: _view(call, t))


async def show_access_token(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    return {"access_token": _view(call, await _load(call, "get_access_token"))}


async def delete_access_token(call: Call) -> None:
    """204; its tokens count no more. 403, 404."""
    token = await _load(call, "delete_access_token")
    await call.write(
        lambda tx: identity_oauth1.delete_access_token(tx, token.user_id, token.id), "oauth1.access_token.delete"
    )


async def list_roles(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    token = await _load(call, "list_access_token_roles")
    roles = await call.read(lambda r: r.select(Role, id=token.roles))
    path = f"/v3/users/{token.user_id}/OS-OAUTH1/access_tokens/{token.id}/roles"
    return listing.plain(call, "roles", path, [role_view(call, r) for r in roles])


async def show_role(call: Call) -> dict[str, Any]:
    """200. 403, 404 also for a role that is not delegated."""
    token, id = await _load(call, "get_access_token_role"), call.params["role_id"]
    role = await call.read(lambda r: r.find(Role, id)) if id in token.roles else None
    if role is None:
        raise errors.Missing(f"Could not find role: {id}.")
    return {"role": role_view(call, role)}
