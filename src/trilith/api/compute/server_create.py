"""POST /servers: the request's form, and what Nova's API checks before it asks for a server."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import secrets
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute.faults import unexpected
from trilith.api.compute.microversions import boot_tags, has
from trilith.api.compute.server_view import Shape
from trilith.api.compute.wire import (
    Description,
    Flag,
    Link,
    Metadata,
    Name,
    Number,
    Text255,
    Uuid,
    flag,
    number,
    refuse_newer,
)
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import auto_topology, boot_data, server_details, servers
from trilith.commands.networks import GENEVE_OVERHEAD
from trilith.commands.server_candidates import check_zone
from trilith.commands.server_networks import NetworkRequest
from trilith.commands.servers import ServerRequest
from trilith.model.instance import InjectedFile
from trilith.model.node import Node
from trilith.model.server import Flavor, Server
from trilith.store.tx import Reader, Tx

Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=60, pattern=r"^[^,/]*$")]
Fqdn = Annotated[str, msgspec.Meta(min_length=2, max_length=255)]
DiskConfig = Literal["AUTO", "MANUAL"]
UserData = Annotated[str, msgspec.Meta(max_length=65535)]
FlavorRef = Annotated[str, msgspec.Meta(min_length=1)] | int

_MAX_COUNT = 1000


class NetworkItem(msgspec.Struct, forbid_unknown_fields=True):
    uuid: str | UnsetType = UNSET
    port: Uuid | UnsetType | None = UNSET
    fixed_ip: str | UnsetType = UNSET
    tag: Tag | UnsetType = UNSET


class DeviceItem(msgspec.Struct, forbid_unknown_fields=True):
    """One of block_device_mapping_v2. Only an image on a local disk, booted first, is served."""

    source_type: Literal["volume", "image", "snapshot", "blank"] | UnsetType = UNSET
    destination_type: Literal["local", "volume"] | UnsetType = UNSET
    uuid: Text255 | UnsetType = UNSET
    image_id: str | UnsetType = UNSET
    boot_index: int | str | UnsetType | None = UNSET
    delete_on_termination: Flag | UnsetType = UNSET
    device_name: (
        Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern="^[a-zA-Z0-9._/-]*$")] | UnsetType
    ) = UNSET
    device_type: Text255 | UnsetType | None = UNSET
    disk_bus: Text255 | UnsetType | None = UNSET
    guest_format: Text255 | UnsetType | None = UNSET
    volume_id: str | UnsetType = UNSET
    snapshot_id: str | UnsetType = UNSET
    volume_size: Number | UnsetType = UNSET
    volume_type: str | UnsetType | None = UNSET
    no_device: Any | UnsetType = UNSET
    connection_info: str | UnsetType = UNSET
    virtual_name: str | UnsetType = UNSET
    tag: Tag | UnsetType = UNSET


class FileItem(msgspec.Struct, forbid_unknown_fields=True):
    """One file of a personality; contents: base64."""

    path: Annotated[str, msgspec.Meta(min_length=1, pattern=r"^[^\x00]*$")]
    contents: str


class GroupName(msgspec.Struct, forbid_unknown_fields=True):
    name: Name


class NewServer(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name
    flavorRef: FlavorRef
    imageRef: str | UnsetType = UNSET
    adminPass: str | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    networks: list[NetworkItem] | Literal["auto", "none"] | UnsetType = UNSET
    disk_config: DiskConfig | UnsetType = msgspec.field(name="OS-DCF:diskConfig", default=UNSET)
    accessIPv4: str | UnsetType = UNSET
    accessIPv6: str | UnsetType = UNSET
    personality: list[FileItem] | UnsetType = UNSET
    availability_zone: Name | UnsetType = UNSET
    block_device_mapping: list[Any] | UnsetType = UNSET
    block_device_mapping_v2: list[DeviceItem] | UnsetType = UNSET
    config_drive: Flag | UnsetType = UNSET
    key_name: Name | UnsetType | None = UNSET
    min_count: Number | UnsetType = UNSET
    max_count: Number | UnsetType = UNSET
    return_reservation_id: Flag | UnsetType = UNSET
    security_groups: list[GroupName] | UnsetType = UNSET
    user_data: UserData | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    tags: Annotated[list[Tag], msgspec.Meta(max_length=50)] | UnsetType = UNSET
    trusted_image_certificates: list[str] | UnsetType | None = UNSET
    host: Name | UnsetType = UNSET
    hypervisor_hostname: Name | UnsetType = UNSET
    hostname: Fqdn | UnsetType = UNSET


class Create(msgspec.Struct, forbid_unknown_fields=True):
    server: NewServer
    hints: dict[str, Any] | UnsetType = msgspec.field(name="os:scheduler_hints", default=UNSET)
    old_hints: dict[str, Any] | UnsetType = msgspec.field(name="OS-SCH-HNT:scheduler_hints", default=UNSET)


class Made(msgspec.Struct):
    id: str
    links: list[Link]
    security_groups: list[dict[str, str]]
    disk_config: str = msgspec.field(name="OS-DCF:diskConfig")
    adminPass: str = ""


#: field → the microversion's flag that brought it
_NEWER = {
    "description": "description",
    "tags": "create_tags",
    "trusted_image_certificates": "trusted_certificates",
    "host": "requested_host",
    "hypervisor_hostname": "requested_host",
    "hostname": "hostname",
}


async def create(call: Call) -> Answer:
    """202 with the first server, or the reservation id; 400; 403 at a quota or for what only admins may; 409."""
    body: Create = call.body
    asked = body.server
    refuse_newer(call, asked, _NEWER)
    call.allow("os_compute_api:servers:create")
    hints = _first(body.hints, body.old_hints, {})
    password = _first(asked.adminPass, secrets.token_urlsafe(9))
    files = personality_of(call, asked.personality)
    request = _request(call, asked, hints)
    zone, node = await call.read(lambda r: _place(r, call, asked))
    request = replace(request, zone=zone, node=node)
    if asked.networks is not UNSET and asked.networks not in ("auto", "none"):
        call.allow("os_compute_api:servers:create:attach_network")

    more = {server_details.DISK_TAG: _disk_tag(asked)}
    if call.host.settings.vendordata_targets:
        more[server_details.BOOT_ROLES] = ",".join(call.actor.roles)

    def body_of(tx: Tx) -> list[Server]:
        _check_disk(tx, call, request.flavor_id)
        server_details.check_metadata(tx, call.actor.project_id, request.metadata)
        server_details.check_groups(tx, call.actor.project_id, request.security_groups)
        boot_data.check_files(tx, call.actor.project_id, files or ())
        if asked.networks == "auto":
            auto_topology.ensure_usable(
                tx, call.actor.project_id, mtu=call.host.settings.underlay_mtu - GENEVE_OVERHEAD
            )
        made = servers.create(tx, call.actor, request, call.host.services.adviser)
        wanted = request.networks or ()
        for server in made if files else ():
            boot_data.keep_files(tx, server, files or ())
        return [
            server_details.keep_creation(tx, s, hints=hints, password=password, networks=wanted, more=more)
            for s in made
        ]

    made = await call.write(body_of, "server.create")
    if asked.return_reservation_id is not UNSET and flag(asked.return_reservation_id, "return_reservation_id"):
        return Answer({"reservation_id": made[0].reservation_id}, status=202)
    shape = Shape(call)
    groups = [{"name": g.name} for g in asked.security_groups] if asked.security_groups else [{"name": "default"}]
    links = shape.links(made[0].id)
    answer = Made(made[0].id, links, groups, made[0].disk_config, password)
    return Answer({"server": answer}, status=202, headers={"Location": links[0].href})


def _check_disk(reader: Reader, call: Call, flavor_id: str) -> None:
    """A root without a bound is for whom the policy trusts. Raises Forbidden."""
    flavor = reader.find(Flavor, flavor_id)
    if flavor is not None and flavor.disk == 0 and not call.can("os_compute_api:servers:create:zero_disk_flavor"):
        raise errors.Forbidden("Only volume-backed servers are allowed for flavors with zero disk.")


def _first(*values: Any) -> Any:
    return next(v for v in values if v is not UNSET)


def _request(call: Call, asked: NewServer, hints: dict[str, Any]) -> ServerRequest:
    name = asked.name.strip()
    least = number(_first(asked.min_count, 1), "min_count", least=1, most=_MAX_COUNT)
    most = number(_first(asked.max_count, least), "max_count", least=1, most=_MAX_COUNT)
    if least > most:
        raise errors.Invalid("min_count must be <= max_count", field="min_count")
    described = asked.description if asked.description is not UNSET else None
    _refuse_unserved(call, asked)
    networks = requested_networks(call, asked.networks)
    if most > 1 and networks and any(n.port_id or n.fixed_ip for n in networks):
        raise errors.Invalid("Failed to launch instances: a port or fixed IP cannot be given to several.")
    hostname = checked_hostname(call, asked.hostname) if asked.hostname is not UNSET else ""
    if hostname and most > 1:
        raise errors.Invalid("Cannot specify a hostname when several servers are asked for.", field="hostname")
    return ServerRequest(
        name=name,
        flavor_id=str(asked.flavorRef).rstrip("/").rsplit("/", 1)[-1],
        image_id=image_of(asked),
        networks=networks,
        description=(described or "") if has(call.version, "description") else name,
        hostname=hostname,
        key_name=(asked.key_name or "") if asked.key_name is not UNSET else "",
        metadata=_first(asked.metadata, {}),
        tags=tuple(dict.fromkeys(_first(asked.tags, []))),
        user_data=decoded(asked.user_data) if asked.user_data is not UNSET else b"",
        config_drive=flag(asked.config_drive, "config_drive") if asked.config_drive not in (UNSET, "") else False,
        disk_config=_first(asked.disk_config, "MANUAL"),
        security_groups=tuple(dict.fromkeys(g.name for g in _first(asked.security_groups, []))),
        group_id=group_of(hints),
        access_ipv4=checked_address(asked.accessIPv4, 4, "accessIPv4") if asked.accessIPv4 is not UNSET else "",
        access_ipv6=checked_address(asked.accessIPv6, 6, "accessIPv6") if asked.accessIPv6 is not UNSET else "",
        min_count=least,
        max_count=most,
        hints={k: str(v) for k, v in hints.items()},
    )


def _refuse_unserved(call: Call, asked: NewServer) -> None:
    """What the form allows and this cloud does not have."""
    if asked.trusted_image_certificates is not UNSET and asked.trusted_image_certificates:
        raise errors.Invalid(
            "Signed images are not verified here; trusted_image_certificates cannot be given.",
            field="trusted_image_certificates",
        )
    if asked.block_device_mapping is not UNSET and asked.block_device_mapping:
        raise _no_volumes()
    for item in _first(asked.block_device_mapping_v2, []):
        if item.tag is not UNSET and not boot_tags(call.version, "disk_boot_tags_lost"):
            unexpected("tag")


def _no_volumes() -> errors.Invalid:
    return errors.Invalid(
        "Block Device Mapping is Invalid: volumes cannot be attached yet, only an image on a local disk boots.",
        field="block_device_mapping_v2",
    )


def image_of(asked: NewServer) -> str:
    """The image's id, from imageRef or the one local root disk. Raises Invalid."""
    devices = _first(asked.block_device_mapping_v2, [])
    image = _first(asked.imageRef, "")
    roots = []
    for item in devices:
        source, target = _first(item.source_type, ""), _first(item.destination_type, "")
        index = str(_first(item.boot_index, "")) if item.boot_index is not UNSET else ""
        if source != "image" or target not in ("", "local") or index != "0" or _first(item.uuid, "") == "":
            raise _no_volumes()
        roots.append(item.uuid)
    if len(roots) > 1:
        raise errors.Invalid("Block Device Mapping is Invalid: Boot sequence for the instance and image/block device "
                             "mapping combination is not valid.", field="block_device_mapping_v2")  # fmt: skip
    if roots and image and roots[0] != image:
        raise errors.Invalid("Block Device Mapping is Invalid: it boots another image than imageRef.", field="imageRef")
    image = image or (roots[0] if roots else "")
    if not image:
        raise errors.Invalid("Invalid imageRef provided.", field="imageRef")
    return checked_image(image)


def _disk_tag(asked: NewServer) -> str:
    """Of the root disk."""
    return next((i.tag for i in _first(asked.block_device_mapping_v2, []) if i.tag is not UNSET), "")


def checked_image(ref: str) -> str:
    """An image's id, or the last part of its URL. Raises Invalid."""
    last = ref.rstrip("/").rsplit("/", 1)[-1]
    plain = last.replace("-", "")
    if len(plain) != 32 or any(c not in "0123456789abcdefABCDEF" for c in plain):
        raise errors.Invalid("Invalid imageRef provided.", field="imageRef")
    return last


def requested_networks(
    call: Call, given: list[NetworkItem] | Literal["auto", "none"] | UnsetType
) -> tuple[NetworkRequest, ...] | None:
    """None: automatic. Raises Invalid."""
    strict = has(call.version, "networks_required")
    if given is UNSET:
        if strict:
            raise errors.Invalid("Invalid input received: 'networks' is a required property", field="networks")
        return None
    if isinstance(given, str):
        if not strict:
            raise errors.Invalid("Invalid input for field/attribute networks. It must be a list.", field="networks")
        return None if given == "auto" else ()
    if not given:
        return None
    seen: set[str] = set()
    found = []
    for item in given:
        if item.tag is not UNSET and not boot_tags(call.version, "nic_boot_tags_lost"):
            unexpected("tag")
        found.append(_network(item, seen))
    return tuple(found)


def _network(item: NetworkItem, seen: set[str]) -> NetworkRequest:
    fixed = item.fixed_ip if item.fixed_ip is not UNSET else ""
    if fixed:
        fixed = _ip(fixed, "fixed_ip")
    tag = item.tag if item.tag is not UNSET else ""
    if item.port is not UNSET and item.port:
        if item.port in seen:
            raise errors.Invalid(
                f"Port ID '{item.port}' was specified twice: you cannot attach a port multiple times.", field="networks"
            )
        if fixed:
            raise errors.Invalid(
                f"Specified Fixed IP '{fixed}' cannot be used with port '{item.port}': the two cannot be specified "
                "together.", field="networks",
            )  # fmt: skip
        seen.add(item.port)
        return NetworkRequest(port_id=item.port, tag=tag)
    if item.uuid is UNSET:
        raise errors.Invalid("Bad network format: missing 'uuid'", field="networks")
    plain = item.uuid.replace("-", "").lower()
    if len(plain) != 32 or any(c not in "0123456789abcdef" for c in plain):
        raise errors.Invalid(
            f"Bad networks format: network uuid is not in proper format ({item.uuid})", field="networks"
        )
    return NetworkRequest(network_id=item.uuid, fixed_ip=fixed, tag=tag)


def _ip(text: str, field: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as err:
        raise errors.Invalid(f"Invalid input for field/attribute {field}. Value: {text}.", field=field) from err


def checked_address(text: str, version: int, field: str) -> str:
    """An access address, or "" for none. Raises Invalid."""
    if not text:
        return ""
    found = _ip(text, field)
    if ipaddress.ip_address(found).version != version:
        raise errors.Invalid(f"Invalid input for field/attribute {field}. Value: {text}.", field=field)
    return found


def checked_hostname(call: Call, hostname: str) -> str:
    """One label, or from 2.94 on a qualified name. Raises Invalid."""
    labels = hostname.split(".") if has(call.version, "hostname_fqdn") else [hostname]
    for label in labels:
        fine = label and len(label) <= 63 and label.replace("-", "").isalnum() and label.isascii()
        if not fine or label[0] == "-" or label[-1] == "-":
            raise errors.Invalid(f"Invalid input for field/attribute hostname. Value: {hostname}.", field="hostname")
    return hostname


def personality_of(call: Call, given: list[FileItem] | UnsetType) -> tuple[InjectedFile, ...] | None:
    """None where none was given. Raises Invalid, also for contents that are no base64."""
    if given is UNSET:
        return None
    if has(call.version, "no_personality"):
        unexpected("personality")
    found = []
    for item in given:
        try:
            content = base64.b64decode("".join(item.contents.split()), validate=True)
        except (binascii.Error, ValueError) as err:
            raise errors.Invalid(
                f"Personality content for {item.path} cannot be decoded: {err}", field="personality"
            ) from err
        found.append(InjectedFile(path=item.path, content=content))
    return tuple(found)


def decoded(user_data: str) -> bytes:
    """Raises Invalid for what is no base64."""
    try:
        return base64.b64decode("".join(user_data.split()), validate=True)
    except (binascii.Error, ValueError) as err:
        raise errors.Invalid(
            f"Invalid input for field/attribute user_data: it is no base64 ({err}).", field="user_data"
        ) from err


def group_of(hints: dict[str, Any]) -> str:
    """The id of the server group that the hints name, or "". Raises Invalid."""
    group = hints.get("group", "")
    if isinstance(group, list):
        group = group[0] if group else ""
    if not isinstance(group, str):
        raise errors.Invalid("Invalid input for field/attribute group.", field="group")
    if group:
        plain = group.replace("-", "")
        if len(plain) != 32 or any(c not in "0123456789abcdefABCDEF" for c in plain):
            raise errors.Invalid(f"Invalid input for field/attribute group. Value: {group}.", field="group")
    return group


def _place(reader: Reader, call: Call, asked: NewServer) -> tuple[str, str]:
    """Zone and node that the request names. Raises Invalid, Forbidden."""
    zone, forced = asked.availability_zone if asked.availability_zone is not UNSET else "", ""
    if zone.count(":") > 2:
        raise errors.Invalid("Unable to parse availability zone.", field="availability_zone")
    if ":" in zone:
        zone, host, *rest = zone.split(":")
        forced = host or (rest[0] if rest else "")
        call.allow("os_compute_api:servers:create:forced_host")
    wanted = {n for n in (_first(asked.host, ""), _first(asked.hypervisor_hostname, "")) if n}
    if wanted:
        call.allow("compute:servers:create:requested_destination")
        if forced:
            raise errors.Invalid(
                "One mechanism with host and/or hypervisor_hostname and another mechanism with zone:host:node are "
                "mutually exclusive."
            )
        if len(wanted) > 1:
            raise errors.Invalid(f"Compute host {' and '.join(sorted(wanted))} could not be found.", field="host")
        forced = wanted.pop()
        if reader.first(Node, name=forced) is None:
            raise errors.Invalid(f"Compute host {forced} could not be found.", field="host")
    check_zone(reader, zone)
    return zone, forced
