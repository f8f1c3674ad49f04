"""`trilith network`: a network with its subnet and its way out, as one thing."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trilith import errors
from trilith.cli import options, screen

if TYPE_CHECKING:
    from trilith.cli.client import Cloud

app = typer.Typer(no_args_is_help=True, help="Networks, each with its subnet and its way out.")


def as_row(network: Any, subnets: list[Any]) -> dict[str, Any]:
    return {
        "id": network.id,
        "name": network.name,
        "status": network.status,
        "external": network.is_router_external,
        "shared": network.is_shared,
        "mtu": network.mtu,
        "project_id": network.project_id,
        "subnets": [
            {
                "id": s.id,
                "name": s.name,
                "cidr": s.cidr,
                "gateway": s.gateway_ip,
                "dhcp": s.is_dhcp_enabled,
                "dns": list(s.dns_nameservers or []),
            }
            for s in subnets
        ],
    }


@app.command("list")
def list_networks(
    os_cloud: options.OsCloud = "", clouds_yaml: options.CloudsYaml = None, as_json: options.AsJson = False
) -> None:
    """List networks with their subnets.

    Example:

      trilith network list
    """
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        subnets: dict[str, list[Any]] = {}
        for subnet in cloud.sdk.network.subnets():
            subnets.setdefault(subnet.network_id, []).append(subnet)
        rows = [as_row(n, subnets.get(n.id, [])) for n in cloud.sdk.network.networks()]
    if as_json:
        screen.document({"networks": rows})
        return
    screen.table(
        ("name", "status", "subnets", "external", "shared", "mtu", "id"),
        [
            (r["name"], r["status"], [s["cidr"] for s in r["subnets"]], r["external"], r["shared"], r["mtu"], r["id"])
            for r in rows
        ],
        empty="No networks. Make one: trilith network create private --cidr 10.31.0.0/24",
    )


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name or id.")],
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Show a network: subnets, routers on it, and who has which address.

    Example:

      trilith network show private
    """
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        net = cloud.sdk.network
        network = _find(cloud, name)
        ports = [_port(p) for p in net.ports(network_id=network.id)]
        routers = sorted({p["device_id"] for p in ports if p["owner"].startswith("network:router")} - {""})
        row = {**as_row(network, list(net.subnets(network_id=network.id))), "routers": routers, "ports": ports}
    if as_json:
        screen.document(row)
        return
    screen.fields({k: v for k, v in row.items() if k not in ("subnets", "ports")})
    for subnet in row["subnets"]:
        screen.line(f"subnet {subnet['cidr']} gateway {subnet['gateway'] or '–'} ({subnet['name'] or subnet['id']})")
    screen.table(
        ("address", "mac", "owner", "device", "status"),
        [(p["addresses"], p["mac"], p["owner"], p["device_id"], p["status"]) for p in ports],
        empty="No ports.",
    )


def _port(port: Any) -> dict[str, Any]:
    return {
        "id": port.id,
        "addresses": [ip["ip_address"] for ip in port.fixed_ips or []],
        "mac": port.mac_address,
        "owner": port.device_owner or "",
        "device_id": port.device_id or "",
        "status": port.status,
    }


def _find(cloud: Cloud, name: str) -> Any:
    return cloud.find(cloud.sdk.network.find_network, name, "network", "trilith network list")


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Name of the network, its subnet and its router.")],
    cidr: Annotated[str, typer.Option(help="Addresses of its subnet.")] = "10.31.0.0/24",
    dns: Annotated[list[str] | None, typer.Option(help="Name server for guests; several times.")] = None,
    isolated: Annotated[bool, typer.Option("--isolated", help="Without a router: no way out.")] = False,
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a network with a subnet, and a router to the outside.

    Examples:

      trilith network create private

      trilith network create backend --cidr 10.40.0.0/24 --isolated
    """
    from trilith.cli import topology
    from trilith.cli.client import connect

    block = parse_cidr(cidr)
    with connect(os_cloud, clouds_yaml) as cloud, screen.progress() as steps:
        net = cloud.sdk.network
        if next(iter(net.networks(name=name, project_id=cloud.project_id)), None) is not None:
            raise errors.Conflict(f"There is a network {name!r}.", hint=f"trilith network show {name}")
        steps.step(f"network {name}")
        network = net.create_network(name=name)
        try:
            more = {"dns_nameservers": dns} if dns else {}
            subnet = net.create_subnet(
                network_id=network.id, name=name, ip_version=block.version, cidr=str(block), **more
            )
            outside = None if isolated else topology.external(cloud)
            router = topology.connect_out(cloud, subnet, outside, f"{name}-router", steps) if outside else None
        except BaseException:
            _remove(cloud, network, steps)
            raise
        row = {**as_row(net.get_network(network.id), [subnet]), "routers": [router.id] if router else []}
    out = "with a way out" if row["routers"] else "without a way out"
    text = f"{name}: {cidr}, {out} ({row['id']})\nstart a server on it:  trilith launch IMAGE NAME --network {name}"
    screen.answer(row, as_json=as_json, text=lambda: screen.line(text))


def parse_cidr(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Raises Invalid with what is wrong."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as err:
        raise errors.Invalid(f"--cidr {text}: {err}.", hint="As in 10.31.0.0/24.", field="cidr") from err


@app.command("delete")
def delete(
    names: Annotated[list[str], typer.Argument(help="Names or ids.", metavar="NAME...")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Delete networks with their subnets, and routers that then lead nowhere. Refused while servers are on them.

    Example:

      trilith network delete backend
    """
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        found = [_find(cloud, n) for n in names]
        screen.confirm("Delete", (n.name or n.id for n in found), yes=yes)
        with screen.progress() as steps:
            for network in found:
                _refuse_used(cloud, network)
                _remove(cloud, network, steps)
    screen.deleted(found, as_json=as_json)


def _refuse_used(cloud: Cloud, network: Any) -> None:
    """Before anything is taken apart: a router taken from under servers would cut them off."""
    used = [p for p in cloud.sdk.network.ports(network_id=network.id) if str(p.device_owner).startswith("compute:")]
    if used:
        names = sorted({p.device_id for p in used})
        raise errors.Conflict(
            f"{len(names)} servers are on {network.name}, {names[0]} is one.", hint="Delete them first: trilith delete"
        )


def _remove(cloud: Cloud, network: Any, steps: screen.Steps) -> None:
    net = cloud.sdk.network
    steps.step(f"deleting {network.name}")
    for port in list(net.ports(network_id=network.id)):
        if not str(port.device_owner).startswith("network:router_interface"):
            continue
        router = net.find_router(port.device_id, ignore_missing=True)
        if router is None:
            continue
        for ip in port.fixed_ips:
            net.remove_interface_from_router(router, subnet_id=ip["subnet_id"])
        rest = [p for p in net.ports(device_id=router.id) if str(p.device_owner).startswith("network:router_interface")]
        if not rest and router.name in (f"{network.name}-router", f"{network.id[:8]}-router"):
            net.delete_router(router)
    net.delete_network(network)
