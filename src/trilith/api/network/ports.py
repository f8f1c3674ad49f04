"""Ports."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, Meta, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.network import listing, port_devices, trunk_details
from trilith.api.network import networks as network_api
from trilith.api.network.dns_names import check_name
from trilith.api.network.listing import Noun, Standard, Viewer
from trilith.api.network.networks import Given, Name, Tags
from trilith.commands import ports as commands
from trilith.commands import qos, subnets
from trilith.commands.network_faults import InvalidInput, PortNotFound
from trilith.commands.network_search import contains
from trilith.commands.server_resources import OF_SERVER, promised, refit_all
from trilith.model.network import AddressPair, DhcpOption, FixedIp, IpAddress, Network, Port, domain_of
from trilith.model.node import ResourceProvider
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

#: key of binding:profile: the resource provider of a bound port with a resource request, as Nova sets it
_ALLOCATION = "allocation"
_MAC = re.compile(r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$")
#: Neutron's max_allowed_address_pair
_MAX_PAIRS = 10
#: of a port; one that took more would be a way around the quota of ports
_MAX_IPS, _MAX_OPTIONS = 64, 64
Vnic = Literal["normal"]


class FixedIpWire(Struct, forbid_unknown_fields=True):
    subnet_id: str | UnsetType = UNSET
    ip_address: str | UnsetType = UNSET


class PairWire(Struct, forbid_unknown_fields=True):
    ip_address: str
    mac_address: str | UnsetType = UNSET


class OptionWire(Struct, forbid_unknown_fields=True):
    opt_name: Annotated[str, Meta(min_length=1, max_length=64)]
    opt_value: Annotated[str, Meta(min_length=1, max_length=255)] | None
    ip_version: Literal[4, 6, "4", "6"] = 4


class Assignment(Struct):
    hostname: str
    ip_address: str
    fqdn: str


class ResourceRequest(Struct):
    """What the port asks of the node of its server: traits, and amounts by resource class."""

    required: list[str]
    resources: dict[str, int]


class PortView(Standard, kw_only=True):
    name: str
    network_id: str
    admin_state_up: bool
    status: str
    mac_address: str
    fixed_ips: list[FixedIpWire]
    device_id: str
    device_owner: str
    security_groups: tuple[str, ...]
    port_security_enabled: bool
    allowed_address_pairs: list[PairWire]
    extra_dhcp_opts: list[OptionWire]
    dns_name: str
    dns_domain: str
    dns_assignment: list[Assignment]
    vnic_type: str = msgspec.field(name="binding:vnic_type")
    host_id: str | UnsetType = msgspec.field(name="binding:host_id", default=UNSET)
    vif_type: str | UnsetType = msgspec.field(name="binding:vif_type", default=UNSET)
    vif_details: dict[str, bool | str] | UnsetType = msgspec.field(name="binding:vif_details", default=UNSET)
    profile: dict[str, str] | UnsetType = msgspec.field(name="binding:profile", default=UNSET)
    trunk_details: trunk_details.TrunkDetails | UnsetType = UNSET
    qos_policy_id: str | None
    qos_network_policy_id: str | None
    resource_request: ResourceRequest | UnsetType | None = UNSET
    tags: tuple[str, ...]


class PortWire(Struct, kw_only=True, forbid_unknown_fields=True):
    """What both create and update take."""

    name: Name | UnsetType = UNSET
    description: Name | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET
    mac_address: str | UnsetType | None = UNSET
    fixed_ips: Annotated[list[FixedIpWire], Meta(max_length=_MAX_IPS)] | UnsetType | None = UNSET
    security_groups: list[str] | UnsetType | None = UNSET
    port_security_enabled: bool | UnsetType = UNSET
    allowed_address_pairs: list[PairWire] | UnsetType | None = UNSET
    extra_dhcp_opts: Annotated[list[OptionWire], Meta(max_length=_MAX_OPTIONS)] | UnsetType | None = UNSET
    device_id: Name | UnsetType | None = UNSET
    device_owner: Name | UnsetType | None = UNSET
    dns_name: str | UnsetType = UNSET
    dns_domain: Name | UnsetType = UNSET
    host_id: Name | UnsetType | None = msgspec.field(name="binding:host_id", default=UNSET)
    vnic_type: Vnic | UnsetType = msgspec.field(name="binding:vnic_type", default=UNSET)
    profile: dict[str, str] | UnsetType | None = msgspec.field(name="binding:profile", default=UNSET)
    qos_policy_id: str | UnsetType | None = UNSET


class PortCreate(PortWire, kw_only=True, forbid_unknown_fields=True):
    network_id: str
    project_id: Given = UNSET
    tenant_id: Given = UNSET
    tags: Tags = []


class CreateBody(Struct):
    port: PortCreate | UnsetType = UNSET
    ports: list[PortCreate] | UnsetType = UNSET


class UpdateBody(Struct):
    port: PortWire


def view(reader: Reader, rows: Sequence[Port], who: Viewer) -> list[PortView]:
    networks = {n.id: n for n in reader.select(Network, id={p.network_id for p in rows})}
    trunks = trunk_details.of(reader, rows)
    views = [_view(p, networks.get(p.network_id), who.admin, trunks.get(p.id)) for p in rows]
    if who.admin:
        _show_promises(reader, views)
    return views


def _show_promises(reader: Reader, views: Sequence[PortView]) -> None:
    """What each port asks of a node; for those that are bound, the resource provider that has promised it."""
    promises = promised(reader, [v.qos_policy_id or v.qos_network_policy_id or "" for v in views])
    asking: list[PortView] = []
    for made in views:
        wanted = promises.get(made.qos_policy_id or made.qos_network_policy_id or "")
        made.resource_request = ResourceRequest(required=[], resources=wanted) if wanted else None
        if wanted and made.host_id and made.device_owner.startswith(OF_SERVER):
            asking.append(made)
    nodes = {v.host_id for v in asking}
    providers = {p.name: p.id for p in reader.select(ResourceProvider, name=nodes)} if nodes else {}
    for made in asking:
        if (provider := providers.get(str(made.host_id))) is not None:
            made.profile = {**(made.profile or {}), _ALLOCATION: provider}


def _profile(given: dict[str, str] | None) -> dict[str, str]:
    """Who writes back what he has read does not set what the cloud itself says."""
    return {key: value for key, value in (given or {}).items() if key != _ALLOCATION}


def _view(port: Port, network: Network | None, admin: bool, trunk: trunk_details.TrunkDetails | None) -> PortView:
    domain = domain_of(network) if network is not None else ""
    made = PortView(
        **listing.standard(port),
        name=port.name,
        network_id=port.network_id,
        admin_state_up=port.admin_up,
        status=port.status,
        mac_address=port.mac_address,
        fixed_ips=[FixedIpWire(ip.subnet_id, ip.ip_address) for ip in port.fixed_ips],
        device_id=port.device_id,
        device_owner=port.device_owner,
        security_groups=port.security_groups,
        port_security_enabled=port.port_security,
        allowed_address_pairs=[PairWire(p.ip_address, p.mac_address) for p in port.allowed_address_pairs],
        extra_dhcp_opts=[OptionWire(o.opt_name, o.opt_value, 6 if o.ip_version == 6 else 4) for o in port.dhcp_options],
        dns_name=port.dns_name,
        dns_domain=port.dns_domain,
        dns_assignment=_assignments(port, domain),
        vnic_type=port.vnic_type,
        qos_policy_id=port.qos_policy_id or None,
        qos_network_policy_id=(network.qos_policy_id or None) if network is not None else None,
        tags=port.tags,
    )
    if trunk is not None:
        made.trunk_details = trunk
    if admin:
        made.host_id = port.host
        made.vif_type = "ovs" if port.host else "unbound"
        made.vif_details = {"port_filter": True, "connectivity": "l2", "bound_drivers": "ovn"} if port.host else {}
        made.profile = port.binding_profile
    return made


def _assignments(port: Port, domain: str) -> list[Assignment]:
    found = []
    for ip in port.fixed_ips:
        name = port.dns_name or "host-" + ip.ip_address.replace(".", "-").replace(":", "-")
        found.append(Assignment(name, ip.ip_address, f"{name}.{domain}."))
    return found


def _fixed_ips(reader: Reader, values: Sequence[str]) -> sa.ColumnElement[bool]:
    """fixed_ips=ip_address=… , subnet_id=… and ip_address_substr=…; those of one kind are alternatives."""
    a = REGISTRY[IpAddress].table.c
    by: dict[str, list[str]] = {}
    for value in values:
        name, _, wanted = value.partition("=")
        by.setdefault(name, []).append(wanted)
    clauses: list[sa.ColumnElement[bool]] = []
    for name, texts in by.items():
        if name == "ip_address":
            clauses.append(a.address.in_([_canonical(w) for w in texts]))
        elif name == "subnet_id":
            clauses.append(a.subnet_id.in_(texts))
        elif name == "ip_address_substr":
            clauses.append(sa.or_(*(contains(reader, a.address, w) for w in texts)))
        else:
            raise errors.Invalid(f"fixed_ips cannot be filtered by {name!r}.", field="fixed_ips")
    return REGISTRY[Port].table.c.id.in_(sa.select(a.port_id).where(*clauses))


def _canonical(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address


def _mac(_reader: Reader, values: Sequence[str]) -> sa.ColumnElement[bool]:
    return REGISTRY[Port].table.c.mac_address.in_([v.lower() for v in values])


NOUN: Noun[Port] = Noun(
    Port,
    "port",
    "ports",
    "Port",
    PortNotFound,
    view,
    {
        **listing.standard_filters(Port),
        "network_id": listing.text(Port, "network_id"),
        "device_id": listing.text(Port, "device_id"),
        "device_owner": listing.text(Port, "device_owner"),
        "mac_address": _mac,
        "fixed_ips": _fixed_ips,
        "security_groups": listing.member(Port, "security_groups"),
        "status": listing.text(Port, "status"),
        "admin_state_up": listing.flag(Port, "admin_up"),
        "binding:host_id": listing.text(Port, "host"),
        "binding:vnic_type": listing.text(Port, "vnic_type"),
        "dns_name": listing.text(Port, "dns_name"),
        "port_security_enabled": listing.flag(Port, "port_security"),
        "qos_policy_id": listing.text(Port, "qos_policy_id"),
    },
    {
        **listing.standard_sort(Port),
        "network_id": "network_id",
        "mac_address": "mac_address",
        "device_id": "device_id",
        "device_owner": "device_owner",
    },
    hidden=frozenset({"binding:host_id"}),
)


def mine(call: Call, tx: Tx, id: str) -> Port:
    """A port that the caller may use; a network's owner sees others' ports on it, too.

    Raises PortNotFound, Forbidden.
    """
    port = listing.fetch(tx, NOUN, listing.viewer(call), id)
    call.allow("update_port", project_id=port.project_id)
    return port


async def create(call: Call) -> Answer:
    """201: the port. 400: addresses that do not fit. 404: network or group. 409: address, MAC or quota taken."""
    body: CreateBody = call.body
    return await listing.create_all(call, NOUN, body.port, body.ports, lambda tx, w: _make(call, tx, w))


def _make(call: Call, tx: Tx, wanted: PortCreate) -> Port:
    project = listing.owner(call, NOUN, wanted.project_id, wanted.tenant_id)
    _check_rules(call, wanted, "create_port")
    network = listing.fetch(tx, network_api.NOUN, listing.viewer(call), wanted.network_id)
    if network.external and not network.shared and network.project_id != call.actor.project_id:
        call.allow("context_is_admin")
    _check_free(call, network, wanted)
    port_devices.check(call, tx, network, project, wanted.device_owner, wanted.device_id)
    options = wanted.extra_dhcp_opts or []
    groups = wanted.security_groups
    return commands.create_port(
        tx,
        project_id=project,
        network_id=network.id,
        network=network,
        security_groups=None if groups is UNSET or groups is None else groups,
        device_id=wanted.device_id or "",
        device_owner=wanted.device_owner or "",
        dns_name=check_name(wanted.dns_name or ""),
        name=wanted.name or "",
        description=wanted.description or "",
        admin_up=wanted.admin_state_up is not False,
        mac=_check_mac(wanted.mac_address or ""),
        fixed_ips=_ips(wanted.fixed_ips),
        port_security=None if wanted.port_security_enabled is UNSET else wanted.port_security_enabled,
        allowed_address_pairs=_pairs(wanted.allowed_address_pairs or []),
        dhcp_options=[
            DhcpOption(opt_name=o.opt_name, opt_value=o.opt_value, ip_version=int(o.ip_version))
            for o in options
            if o.opt_value is not None
        ],
        dns_domain=wanted.dns_domain or "",
        host=wanted.host_id or "",
        binding_profile=_profile(wanted.profile or {}),
        qos_policy_id=qos.check(tx, wanted.qos_policy_id or ""),
        tags=tuple(dict.fromkeys(wanted.tags)),
    )


def _check_rules(call: Call, wanted: PortWire, rule: str) -> None:
    listing.refuse_publishing("dns_domain", wanted.dns_domain)
    listing.restrict(call, {f"{rule}:binding:host_id": wanted.host_id, f"{rule}:binding:profile": wanted.profile})


def _check_free(call: Call, network: Network, wanted: PortWire) -> None:
    """On a network that is only shared with the project, the fixed address, MAC and guards are its owner's to choose
    (Neutron: ADMIN_OR_NET_OWNER_MEMBER)."""
    chosen = [ip for ip in wanted.fixed_ips or [] if isinstance(ip.ip_address, str)]
    if chosen or wanted.mac_address or wanted.port_security_enabled is not UNSET or wanted.allowed_address_pairs:
        call.allow("create_port:mac_address", project_id=network.project_id)


def _ips(wanted: list[FixedIpWire] | UnsetType | None) -> list[FixedIp] | None:
    if wanted is UNSET or wanted is None:
        return None
    return [FixedIp(subnet_id=w.subnet_id or "", ip_address=w.ip_address or "") for w in wanted]


def _pairs(wanted: Sequence[PairWire]) -> list[AddressPair]:
    if len(wanted) > _MAX_PAIRS:
        raise errors.Invalid(f"The number of allowed address pair exceeds the maximum {_MAX_PAIRS}.")
    found = []
    for pair in wanted:
        try:
            ipaddress.ip_network(pair.ip_address, strict=False)
        except ValueError as err:
            raise InvalidInput(
                f"Invalid input for allowed_address_pairs. Reason: '{pair.ip_address}' is not a valid IP address or "
                "subnet.",
                field="allowed_address_pairs",
            ) from err
        found.append(AddressPair(ip_address=pair.ip_address, mac_address=_check_mac(pair.mac_address or "")))
    return found


def _check_mac(mac: str) -> str:
    if mac and (not _MAC.match(mac) or mac == "00:00:00:00:00:00" or int(mac[1], 16) & 1):
        raise InvalidInput(
            f"Invalid input for mac_address. Reason: '{mac}' is not a valid MAC address.", field="mac_address"
        )
    return mac


async def update(call: Call) -> Answer:
    """200: as it is now. 400, 404, 409 as create."""
    wanted: PortWire = call.body.port
    _check_rules(call, wanted, "update_port")
    options: dict[tuple[str, int], str | None] | UnsetType = UNSET
    if wanted.extra_dhcp_opts is not UNSET:
        options = {(o.opt_name, int(o.ip_version)): o.opt_value for o in wanted.extra_dhcp_opts or []}
    fixed_ips: Any = UNSET if wanted.fixed_ips is UNSET else _ips(wanted.fixed_ips) or []

    def act(tx: Tx, port: Port) -> Any:
        network = tx.get(Network, port.network_id)
        _check_free(call, network, wanted)
        port_devices.check(call, tx, network, port.project_id, wanted.device_owner, wanted.device_id, port)
        return commands.update_port(
            tx,
            port,
            name=wanted.name,
            description=wanted.description,
            admin_up=wanted.admin_state_up,
            mac=_check_mac(wanted.mac_address) if wanted.mac_address else UNSET,
            fixed_ips=fixed_ips,
            security_groups=UNSET if wanted.security_groups is UNSET else wanted.security_groups or [],
            port_security=wanted.port_security_enabled,
            allowed_address_pairs=(
                UNSET if wanted.allowed_address_pairs is UNSET else _pairs(wanted.allowed_address_pairs or [])
            ),
            dhcp_options=options,
            device_id=wanted.device_id if wanted.device_id is UNSET else wanted.device_id or "",
            device_owner=wanted.device_owner if wanted.device_owner is UNSET else wanted.device_owner or "",
            dns_name=wanted.dns_name if wanted.dns_name is UNSET else check_name(wanted.dns_name),
            dns_domain=wanted.dns_domain,
            host=wanted.host_id if wanted.host_id is UNSET else wanted.host_id or "",
            binding_profile=wanted.profile if wanted.profile is UNSET else _profile(wanted.profile),
            qos_policy_id=UNSET if wanted.qos_policy_id is UNSET else qos.check(tx, wanted.qos_policy_id or ""),
            any_project=listing.viewer(call).admin,
        )

    return await listing.change(call, NOUN, act)


async def delete(call: Call) -> Answer:
    """204; a network's metadata port comes back as another one. 409: a router or floating IP has it."""

    def act(tx: Tx, port: Port) -> None:
        if port.device_owner == commands.METADATA:
            subnets.renew_metadata_port(tx, port)
        else:
            commands.delete_port(tx, port)
            refit_all(tx, [port])

    return await listing.remove(call, NOUN, act)
