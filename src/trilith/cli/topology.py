"""What a first server needs of the network, made where the project has none: idempotent, by fixed names."""

from __future__ import annotations

from typing import Any

from trilith import errors
from trilith.cli.client import Cloud
from trilith.cli.screen import Steps

PRIVATE = "private"
GROUP = "trilith-ssh"
_CIDR = "10.31.0.0/24"


def floating_mark(server_id: str) -> str:
    """Description of a floating IP that `launch` made: `delete` releases it with the server."""
    return f"trilith launch {server_id}"


def network_for(cloud: Cloud, wanted: str, steps: Steps) -> Any:
    """The network to attach to: the one named, the project's own, or `private`, made now."""
    net = cloud.sdk.network
    if wanted:
        return cloud.find(net.find_network, wanted, "network", "trilith network list")
    own = [n for n in net.networks(project_id=cloud.project_id) if not n.is_router_external]
    if len(own) == 1:
        return _with_subnet(cloud, own[0], steps)
    named = [n for n in own if n.name == PRIVATE]
    if named:
        return _with_subnet(cloud, named[0], steps)
    if own:
        names = ", ".join(sorted(n.name or n.id for n in own)[:8])
        raise errors.Conflict("The project has several networks.", hint=f"Choose with --network: {names}")
    shared = [n for n in net.networks(is_shared=True) if not n.is_router_external]
    if len(shared) == 1:
        return shared[0]
    steps.step(f"network {PRIVATE}")
    return _with_subnet(cloud, net.create_network(name=PRIVATE), steps)


def _with_subnet(cloud: Cloud, network: Any, steps: Steps) -> Any:
    """A subnet and a way out for a network of ours that has none: also what an earlier try left half made."""
    net = cloud.sdk.network
    if network.name != PRIVATE:
        return network
    subnet = next(iter(net.subnets(network_id=network.id)), None)
    if subnet is None:
        steps.step(f"subnet {_CIDR} of {network.name}")
        subnet = net.create_subnet(network_id=network.id, name=PRIVATE, ip_version=4, cidr=_CIDR)
    outside = external(cloud)
    if outside is not None and not routed(cloud, network.id):
        connect_out(cloud, subnet, outside, f"{PRIVATE}-router", steps)
    return network


def external(cloud: Cloud) -> Any:
    """The external network `public`, or the only one; None when there is none."""
    found = list(cloud.sdk.network.networks(is_router_external=True))
    return next((n for n in found if n.name == "public"), found[0] if len(found) == 1 else None)


def routed(cloud: Cloud, network_id: str) -> bool:
    """Whether a router with a gateway stands on this network."""
    net = cloud.sdk.network
    for port in net.ports(network_id=network_id):
        if str(port.device_owner).startswith("network:router_interface"):
            router = net.find_router(port.device_id, ignore_missing=True)
            if router is not None and router.external_gateway_info:
                return True
    return False


def connect_out(cloud: Cloud, subnet: Any, outside: Any, name: str, steps: Steps) -> Any:
    """A router between the subnet and the outside. Half-made ones are finished."""
    net = cloud.sdk.network
    steps.step(f"router {name} to {outside.name}")
    router = next(iter(net.routers(name=name, project_id=cloud.project_id)), None)
    if router is None:
        router = net.create_router(name=name, external_gateway_info={"network_id": outside.id})
    elif not router.external_gateway_info:
        net.update_router(router, external_gateway_info={"network_id": outside.id})
    fixed = [ip["subnet_id"] for port in net.ports(device_id=router.id) for ip in port.fixed_ips]
    if subnet.id not in fixed:
        net.add_interface_to_router(router, subnet_id=subnet.id)
    return router


def ssh_group(cloud: Cloud, steps: Steps) -> Any:
    """The security group that lets in ssh and ping."""
    net = cloud.sdk.network
    group = next(iter(net.security_groups(name=GROUP, project_id=cloud.project_id)), None)
    if group is None:
        steps.step(f"security group {GROUP} (ssh and ping)")
        group = net.create_security_group(name=GROUP, description="ssh and ping, made by trilith launch")
    have = {
        (r.protocol, r.port_range_min, r.ether_type)
        for r in net.security_group_rules(security_group_id=group.id, direction="ingress")
    }
    for protocol, port, family in (("tcp", 22, "IPv4"), ("icmp", None, "IPv4"), ("tcp", 22, "IPv6")):
        if (protocol, port, family) not in have:
            net.create_security_group_rule(
                security_group_id=group.id,
                direction="ingress",
                ethertype=family,
                protocol=protocol,
                port_range_min=port,
                port_range_max=port,
            )
    return group


def publish(cloud: Cloud, server: Any, steps: Steps) -> str:
    """A floating IP on the server's first port; its address. Raises Missing without an external network."""
    net = cloud.sdk.network
    outside = external(cloud)
    if outside is None:
        raise errors.Missing(
            "There is no external network named `public`.",
            hint="An administrator makes one: openstack network create --external …",
        )
    port = next(iter(net.ports(device_id=server.id)), None)
    if port is None:
        raise errors.Backend(f"{server.name} has no port.", hint=f"trilith show {server.id}")
    known = next(iter(net.ips(port_id=port.id)), None)
    if known is not None:
        return str(known.floating_ip_address)
    if not routed(cloud, port.network_id):
        for subnet in net.subnets(network_id=port.network_id, ip_version=4):
            connect_out(cloud, subnet, outside, f"{port.network_id[:8]}-router", steps)
            break
    steps.step("floating IP")
    made = net.create_ip(floating_network_id=outside.id, port_id=port.id, description=floating_mark(server.id))
    return str(made.floating_ip_address)


def release(cloud: Cloud, server_id: str) -> list[str]:
    """Delete the floating IPs that `launch` made for this server; their addresses."""
    net = cloud.sdk.network
    gone = []
    for ip in net.ips(project_id=cloud.project_id):
        if ip.description == floating_mark(server_id):
            net.delete_ip(ip, ignore_missing=True)
            gone.append(str(ip.floating_ip_address))
    return gone
