"""/v3/OS-FEDERATION: identity providers, their protocols, and mappings."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.identity import listing
from trilith.api.identity.listing import Filters
from trilith.api.identity.views import link
from trilith.api.identity.wire import Links, Name, Text, or_none, set_fields
from trilith.commands import identity_federation as commands
from trilith.commands.identity_rules import hex_id
from trilith.model.identity_extensions import FederationMapping, FederationProtocol, IdentityProvider
from trilith.model.identity_mapping import parse_rules
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

_PATH = "/v3/OS-FEDERATION"
#: of rules that do not say
_SCHEMA = "1.0"
RemoteIds = Annotated[list[Name], Meta(max_length=256)]


class ProviderGiven(Struct, forbid_unknown_fields=True):
    id: Text | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    remote_ids: RemoteIds | UnsetType | None = UNSET
    domain_id: Text | UnsetType | None = UNSET
    authorization_ttl: Annotated[int, Meta(ge=0, le=2**31 - 1)] | UnsetType | None = UNSET


class ProviderBody(Struct):
    identity_provider: ProviderGiven


class ProtocolGiven(Struct, forbid_unknown_fields=True):
    mapping_id: Name
    remote_id_attribute: Annotated[str, Meta(max_length=64)] | UnsetType | None = UNSET
    id: Text | UnsetType = UNSET


class ProtocolChange(Struct, forbid_unknown_fields=True):
    id: Text | UnsetType = UNSET
    mapping_id: Name | UnsetType = UNSET
    remote_id_attribute: Annotated[str, Meta(max_length=64)] | UnsetType | None = UNSET


class ProtocolBody(Struct):
    protocol: ProtocolGiven


class ProtocolChangeBody(Struct):
    protocol: ProtocolChange


class MappingGiven(Struct, forbid_unknown_fields=True):
    rules: list[dict[str, Any]]
    schema_version: Annotated[str, Meta(pattern=r"^\d+\.\d+$", max_length=5)] | None = None
    id: Text | UnsetType = UNSET


class MappingBody(Struct):
    mapping: MappingGiven


class ProviderLinks(Struct):
    self: str
    protocols: str


class ProviderView(Struct):
    id: str
    domain_id: str
    description: str | None
    enabled: bool
    remote_ids: tuple[str, ...]
    authorization_ttl: int | None
    links: ProviderLinks


class ProtocolLinks(Struct):
    self: str
    identity_provider: str


class ProtocolView(Struct):
    id: str
    mapping_id: str
    remote_id_attribute: str | None
    links: ProtocolLinks


class MappingView(Struct):
    id: str
    rules: list[dict[str, Any]]
    schema_version: str
    links: Links


def _provider(call: Call, p: IdentityProvider) -> ProviderView:
    self = call.url(f"{_PATH}/identity_providers/{p.id}")
    return ProviderView(
        id=p.id,
        domain_id=p.domain_id,
        description=or_none(p.description),
        enabled=p.enabled,
        remote_ids=p.remote_ids,
        authorization_ttl=None,
        links=ProviderLinks(self=self, protocols=f"{self}/protocols"),
    )


def _fields(given: ProviderGiven) -> dict[str, Any]:
    """Raises Unsupported for memberships that outlast their token."""
    if given.authorization_ttl is not UNSET and given.authorization_ttl:
        raise errors.Unsupported(
            "authorization_ttl is not supported: the groups of an identity provider hold for the token only.",
            capability="federation_authorization_ttl",
            hint="Leave it out, or give the user roles of their own.",
            field="authorization_ttl",
        )
    fields = set_fields(given, "id", "remote_ids", "authorization_ttl")
    if given.remote_ids is not UNSET:
        fields["remote_ids"] = tuple(dict.fromkeys(given.remote_ids or ()))
    return fields


def _id(text: str, field: str, given: str | UnsetType = UNSET) -> str:
    """given: what the body says, where it does. Raises Invalid for another, or what cannot be in a path as it is."""
    if given is not UNSET and given != text:
        raise errors.Invalid(f"The id in the body differs from {field} in the URL.", field="id")
    if not 0 < len(text) <= 64 or not all(c.isalnum() or c in "-_.~@" for c in text):
        raise errors.Invalid(f"{field} must be up to 64 letters, digits and -_.~@.", field=field)
    return text


async def create_provider(call: Call) -> dict[str, Any]:
    """201; enabled only if it says so. 400, 403, 404 for an unknown domain, 409."""
    fields: dict[str, Any] = {"enabled": False, "domain_id": ""} | _fields(call.body.identity_provider)
    provider = IdentityProvider(id=_id(call.params["idp_id"], "idp_id", call.body.identity_provider.id), **fields)
    made = await call.write(lambda tx: commands.create_provider(tx, provider), "identity_provider.create")
    return {"identity_provider": _provider(call, made)}


async def list_providers(call: Call) -> dict[str, Any]:
    """200, a page. 403."""
    clauses = Filters(texts=("id",), flags=("enabled",)).clauses(call, IdentityProvider)
    path = f"{_PATH}/identity_providers"
    found = await call.read(lambda r: listing.page(call, r, IdentityProvider, path, *clauses))
    return listing.answer("identity_providers", found, lambda p: _provider(call, p))


async def show_provider(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    id = call.params["idp_id"]
    return {"identity_provider": _provider(call, await call.read(lambda r: r.get(IdentityProvider, id)))}


async def update_provider(call: Call) -> dict[str, Any]:
    """200; one that is disabled ends the tokens that it vouched for. 400 for a change of domain, 403, 404, 409."""
    id, fields = call.params["idp_id"], _fields(call.body.identity_provider)
    done = await call.write(lambda tx: commands.update_provider(tx, id, dict(fields)), "identity_provider.update")
    return {"identity_provider": _provider(call, done)}


async def delete_provider(call: Call) -> None:
    """204, its protocols and tokens too. 403, 404."""
    id = call.params["idp_id"]
    await call.write(lambda tx: commands.delete_provider(tx, id), "identity_provider.delete")


def _protocol(call: Call, p: FederationProtocol) -> ProtocolView:
    provider = call.url(f"{_PATH}/identity_providers/{p.idp_id}")
    return ProtocolView(
        id=p.name,
        mapping_id=p.mapping_id,
        remote_id_attribute=or_none(p.remote_id_attribute),
        links=ProtocolLinks(self=f"{provider}/protocols/{p.name}", identity_provider=provider),
    )


async def create_protocol(call: Call) -> dict[str, Any]:
    """201. 400 also for an unknown mapping, 403, 404 for an unknown provider, 409."""
    fields = set_fields(call.body.protocol, "id")
    name = _id(call.params["protocol_id"], "protocol_id", call.body.protocol.id)
    protocol = FederationProtocol(id=hex_id(), idp_id=call.params["idp_id"], name=name, **fields)
    made = await call.write(lambda tx: commands.create_protocol(tx, protocol), "protocol.create")
    return {"protocol": _protocol(call, made)}


async def list_protocols(call: Call) -> dict[str, Any]:
    """200, a page. 403, 404 for an unknown provider."""
    idp_id = call.params["idp_id"]
    mine = REGISTRY[FederationProtocol].table.c.idp_id == idp_id
    path = f"{_PATH}/identity_providers/{idp_id}/protocols"

    def look(reader: Reader) -> listing.Page:
        reader.get(IdentityProvider, idp_id)
        return listing.page(call, reader, FederationProtocol, path, mine)

    return listing.answer("protocols", await call.read(look), lambda p: _protocol(call, p))


async def show_protocol(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    idp_id, name = call.params["idp_id"], call.params["protocol_id"]
    return {"protocol": _protocol(call, await call.read(lambda r: commands.find_protocol(r, idp_id, name)))}


async def update_protocol(call: Call) -> dict[str, Any]:
    """200. 400 also for an unknown mapping, 403, 404."""
    idp_id, name, fields = call.params["idp_id"], call.params["protocol_id"], set_fields(call.body.protocol, "id")
    done = await call.write(lambda tx: commands.update_protocol(tx, idp_id, name, fields), "protocol.update")
    return {"protocol": _protocol(call, done)}


async def delete_protocol(call: Call) -> None:
    """204. 403, 404."""
    idp_id, name = call.params["idp_id"], call.params["protocol_id"]
    await call.write(lambda tx: commands.delete_protocol(tx, idp_id, name), "protocol.delete")


def _mapping(call: Call, m: FederationMapping) -> MappingView:
    links = link(call, f"OS-FEDERATION/mappings/{m.id}")
    return MappingView(id=m.id, rules=m.rules, schema_version=m.schema_version, links=links)


async def create_mapping(call: Call) -> dict[str, Any]:
    """201. 400 for what is no rule, 403, 409."""
    given = call.body.mapping
    parse_rules(given.rules)
    id = _id(call.params["mapping_id"], "mapping_id", given.id)
    mapping = FederationMapping(id=id, rules=given.rules, schema_version=given.schema_version or _SCHEMA)
    made = await call.write(lambda tx: commands.create_mapping(tx, mapping), "mapping.create")
    return {"mapping": _mapping(call, made)}


async def list_mappings(call: Call) -> dict[str, Any]:
    """200, a page. 403."""
    found = await call.read(lambda r: listing.page(call, r, FederationMapping, f"{_PATH}/mappings"))
    return listing.answer("mappings", found, lambda m: _mapping(call, m))


async def show_mapping(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    id = call.params["mapping_id"]
    return {"mapping": _mapping(call, await call.read(lambda r: r.get(FederationMapping, id)))}


async def update_mapping(call: Call) -> dict[str, Any]:
    """200. 400, 403, 404."""
    id, given = call.params["mapping_id"], call.body.mapping
    parse_rules(given.rules)
    fields = {"rules": given.rules, "schema_version": given.schema_version or _SCHEMA}
    done = await call.write(lambda tx: commands.update_mapping(tx, id, fields), "mapping.update")
    return {"mapping": _mapping(call, done)}


async def delete_mapping(call: Call) -> None:
    """204. 403, 404."""
    id = call.params["mapping_id"]
    await call.write(lambda tx: commands.delete_mapping(tx, id), "mapping.delete")
