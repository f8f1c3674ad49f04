"""Commands, through the reconciler, to real OVN: what guests, their neighbours and the host can and cannot reach."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from tests.contracts.test_network_driver_ovn import answer
from tests.ovn_harness import MTU, Guest, Node, inside, running_node
from trilith import errors
from trilith.agent.external import resolver_file
from trilith.agent.metadata_service import MetadataService
from trilith.cluster.links import Links
from trilith.commands import floating_ips, networks, ports, routers, security_groups, subnets
from trilith.commands.adviser import Adviser, read_rules
from trilith.config import Settings
from trilith.drivers.ovn.database import Database
from trilith.drivers.ovn.metadata_ns import list_metadata_namespaces
from trilith.drivers.ovn.tools import run
from trilith.jobs.services import Services
from trilith.model.dhcp_options import V4_TYPES, V6_TYPES
from trilith.model.instance import FixedAddress, InstanceData, InstanceNic
from trilith.model.network import (
    AddressPair,
    FixedIp,
    FloatingIp,
    Network,
    Port,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
)
from trilith.model.plan import MetadataEndpoint
from trilith.reconcile.networks import NetworkReconciler
from trilith.reconcile.topology import KINDS
from trilith.store.mapping import REGISTRY
from trilith.store.seal import Sealer
from trilith.store.sqlite import SqliteStore
from trilith.store.tx import Reader, Tx

pytestmark = [pytest.mark.root, pytest.mark.ovn]

T = TypeVar("T")
P = "project-one"
FORWARDER = "172.24.4.1"


async def _nothing(*_args: Any) -> Any:
    return None


@dataclass
class Cloud:
    node: Node
    services: Services

    async def write(self, body: Callable[[Tx], T]) -> T:
        return await self.services.store.write(body)

    async def change(self, body: Callable[[Tx], T]) -> T:
        """Write, and return once it is in force on the node."""
        result = await self.write(body)
        await self.settled()
        return result

    async def settled(self) -> None:
        def wanted(reader: Reader) -> set[tuple[str, str, int]] | None:
            found = set()
            for kind, cls in KINDS.items():
                t = REGISTRY[cls].table.c
                own = t.device_owner.not_in(ports.SERVICE_OWNERS) if cls is Port else sa.true()
                for id, generation, applied in reader.conn.execute(
                    sa.select(t.id, t.generation, t.applied_revision).where(own)
                ):
                    if generation != applied:
                        return None
                    found.add((kind, id, generation))
            return found

        async with asyncio.timeout(20):
            while True:
                rows = await self.services.store.read(wanted)
                owned = {(o.kind, o.id, o.revision) for o in await self.node.driver.owned()}
                if rows == owned:
                    break
                await asyncio.sleep(0.01)  # the effect is another task's, seen through the store and the database
        await self.node.driver.wait_applied(timeout=20)

    async def plug(self, port: Port, gateway: str = "") -> Guest:
        address = port.fixed_ips[0].ip_address
        guest = await self.node.guest(port.id, port.mac_address, f"{address}/{64 if ':' in address else 24}", gateway)
        await self.node.driver.wait_up([port.id], timeout=10)
        return guest


@asynccontextmanager
async def cloud_on(node: Node, state: Path) -> AsyncIterator[Cloud]:
    store = SqliteStore(state / "t.db", Sealer([b"k" * 32]))
    await store.open()
    links = Links(
        cloud_id="test", joined=_nothing, left=_nothing, reported=_nothing, happened=_nothing, posted=_nothing
    )
    services = Services(
        store=store,
        links=links,
        network=node.driver,
        settings=Settings(state=state),
        cloud_id="test",
        adviser=Adviser(read_rules("")),
    )
    task = asyncio.create_task(NetworkReconciler(services).run())
    try:
        yield Cloud(node, services)
    finally:
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
        await store.close()
    assert isinstance(results[0], asyncio.CancelledError), results


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    async with running_node() as node, cloud_on(node, tmp_path) as made:
        yield made


@dataclass
class Site:
    """Two networks on one router with a gateway; a and c on the first, b on the second, all in one group."""

    public: Network
    first: Network
    router: Router
    group: SecurityGroup
    a: Port
    b: Port
    c: Port


def site(tx: Tx) -> Site:
    public = networks.ensure_external(tx, cidr="172.24.4.0/24")
    router = routers.create_router(tx, project_id=P, gateway=routers.Gateway(network_id=public.id))
    group = security_groups.create_group(tx, project_id=P, name="web")
    security_groups.create_rule(tx, group, project_id=P, direction="ingress", protocol="icmp")
    made = []
    for number in (1, 2):
        network = networks.create_network(tx, project_id=P, mtu=MTU)
        subnet = subnets.create_subnet(tx, network, project_id=P, cidr=f"10.{number}.0.0/24")
        routers.add_interface(tx, tx.get(Router, router.id), subnet_id=subnet.id)
        made.append(network)

    def port(network: Network, address: str, name: str) -> Port:
        return ports.create_port(
            tx, project_id=P, network_id=network.id, fixed_ip=address, security_groups=[group.id], dns_name=name
        )

    return Site(
        public=public,
        first=made[0],
        router=router,
        group=group,
        a=port(made[0], "10.1.0.11", "alpha"),
        b=port(made[1], "10.2.0.11", "beta"),
        c=port(made[0], "10.1.0.12", "gamma"),
    )


def allow(port_number: int, **more: Any) -> Callable[[Tx, SecurityGroup], SecurityGroupRule]:
    def body(tx: Tx, group: SecurityGroup) -> SecurityGroupRule:
        return security_groups.create_rule(
            tx, group, project_id=P, direction="ingress", protocol="tcp", port_min=port_number, port_max=port_number,
            **more,
        )  # fmt: skip

    return body


@pytest.fixture
async def placed(cloud: Cloud) -> tuple[Cloud, Site, Guest, Guest, Guest]:
    made = await cloud.change(site)
    a = await cloud.plug(made.a, "10.1.0.1")
    b = await cloud.plug(made.b, "10.2.0.1")
    c = await cloud.plug(made.c, "10.1.0.1")
    await cloud.settled()
    return cloud, made, a, b, c


Placed = tuple[Cloud, Site, Guest, Guest, Guest]


def change_port(port: Port, **changes: Any) -> Callable[[Tx], Port]:
    return lambda tx: ports.update_port(tx, tx.get(Port, port.id), **changes)


async def test_rules_and_memberships_take_effect_on_live_ports(placed: Placed) -> None:
    cloud, made, a, b, _ = placed
    assert await a.ping(b.address), "one router joins the two subnets"
    async with await answer(b.name, b.address, 80), await answer(b.name, b.address, 81):
        assert await a.tcp(b.address, 80) == "filtered"
        rule = await cloud.change(lambda tx: allow(80)(tx, made.group))
        assert await a.tcp(b.address, 80) == "open"
        await cloud.change(lambda tx: security_groups.delete_rule(tx, tx.get(SecurityGroupRule, rule.id)))
        assert await a.tcp(b.address, 80) == "filtered"
        # who is in the remote group gets in, from the moment of joining to that of leaving
        friends = await cloud.write(lambda tx: security_groups.create_group(tx, project_id=P, name="friends"))
        await cloud.change(lambda tx: allow(81, remote_group_id=friends.id)(tx, made.group))
        assert await a.tcp(b.address, 81) == "filtered"
        await cloud.change(change_port(made.a, security_groups=[made.group.id, friends.id]))
        assert await a.tcp(b.address, 81) == "open"
        await cloud.change(change_port(made.a, security_groups=[made.group.id]))
        assert await a.tcp(b.address, 81) == "filtered"


async def test_a_floating_ip_moves_and_snat_is_switched(placed: Placed) -> None:
    cloud, made, a, _, c = placed

    def floating(tx: Tx) -> FloatingIp:
        for number in (7001, 7002):
            allow(number)(tx, made.group)
        return floating_ips.create(tx, project_id=P, network_id=made.public.id, port=tx.get(Port, made.a.id))

    async with await answer(a.name, a.address, 7001), await answer(c.name, c.address, 7002):
        ip = await cloud.change(floating)
        outside = ip.floating_ip_address
        assert await cloud.node.host_ping(outside)
        assert await cloud.node.host_tcp(outside, 7001) == "open"
        assert await cloud.node.host_tcp(outside, 7002) == "refused"
        await cloud.change(lambda tx: floating_ips.associate(tx, tx.get(FloatingIp, ip.id), tx.get(Port, made.c.id)))
        assert await cloud.node.host_ping(outside)
        assert await cloud.node.host_tcp(outside, 7002) == "open"
        assert await cloud.node.host_tcp(outside, 7001) == "refused"
        # a has no floating IP any more and goes out by the router's address
        assert await a.ping(FORWARDER)
        assert (await cloud.services.store.read(lambda r: r.get(FloatingIp, ip.id))).status == "ACTIVE"
        await cloud.change(lambda tx: floating_ips.disassociate(tx, tx.get(FloatingIp, ip.id)))
        assert not await cloud.node.host_ping(outside, seconds=1)

    def gateway(snat: bool) -> Callable[[Tx], Router]:
        return lambda tx: routers.set_gateway(
            tx, tx.get(Router, made.router.id), routers.Gateway(network_id=made.public.id, enable_snat=snat)
        )

    assert await c.ping(FORWARDER)
    await cloud.change(gateway(False))
    # the host has no way back to 10.1.0.0/24
    assert not await c.ping(FORWARDER, seconds=1)
    await cloud.change(gateway(True))
    assert await c.ping(FORWARDER)


async def test_spoofing_is_let_through_only_where_it_was_asked_for(placed: Placed) -> None:
    cloud, made, a, _, c = placed
    await run(["ip", "address", "add", "10.1.0.99/24", "dev", "eth0"], netns=a.name)

    async def spoofed() -> bool:
        argv = ["ping", "-n", "-q", "-I", "10.1.0.99", "-c", "1", "-i", "0.05", "-w", "1", c.address]
        return ", 0% packet loss" in await run(argv, netns=a.name, accept=(0, 1))

    assert await a.ping(c.address)
    assert not await spoofed()
    await cloud.change(change_port(made.a, allowed_address_pairs=[AddressPair(ip_address="10.1.0.99")]))
    assert await spoofed()
    await cloud.change(change_port(made.a, allowed_address_pairs=[]))
    assert not await spoofed()
    assert await c.tcp(a.address, 9999) == "filtered"
    await cloud.change(change_port(made.a, security_groups=[], port_security=False))
    assert await spoofed()
    assert await c.tcp(a.address, 9999) == "refused"
    await cloud.change(change_port(made.a, security_groups=[made.group.id], port_security=True))
    assert not await spoofed()
    assert await c.tcp(a.address, 9999) == "filtered"


async def test_what_is_administratively_down_carries_nothing(placed: Placed) -> None:
    cloud, made, a, b, c = placed
    assert await a.ping(c.address)
    assert await a.ping(b.address)
    await cloud.change(change_port(made.a, admin_up=False))
    assert await c.silent(a.address)
    assert await c.ping(b.address)

    def network(up: bool) -> Callable[[Tx], Network]:
        return lambda tx: networks.update_network(tx, tx.get(Network, made.first.id), admin_up=up)

    await cloud.change(network(False))
    assert await c.silent(b.address)
    assert await c.silent("10.1.0.1")
    await cloud.change(network(True))
    assert await c.ping(b.address)
    assert not await c.ping(a.address, seconds=1), "the port's own word outlives the network's"
    await cloud.change(change_port(made.a, admin_up=True))
    assert await c.ping(a.address)

    def router(up: bool) -> Callable[[Tx], Router]:
        return lambda tx: routers.update_router(tx, tx.get(Router, made.router.id), admin_up=up)

    await cloud.change(router(False))
    assert await a.silent(b.address)
    assert await a.ping(c.address), "within one network no router is needed"
    await cloud.change(router(True))
    assert await a.ping(b.address)


async def test_names_of_guests_and_of_the_world(placed: Placed, tmp_path: Path) -> None:
    cloud, made, a, _, c = placed
    # what a guest is told by DHCP
    told = tmp_path / "told"
    script = tmp_path / "told.sh"
    script.write_text(f'#!/bin/sh\n[ "$1" = bound ] && echo "$dns $domain $mtu $ip" > {told}\nexit 0\n')
    script.chmod(0o755)
    argv = ["busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "20", "-T", "1", "-O", "mtu", "-s", str(script)]
    await run(argv, netns=c.name, timeout=30)
    assert told.read_text().split() == [FORWARDER, "openstacklocal", str(MTU), c.address]
    # OVN answers on the way to it, short and long; also a name that came a moment ago, and one that was changed
    assert await c.resolve("alpha", FORWARDER) == a.address
    assert await c.resolve("alpha.openstacklocal", FORWARDER) == a.address
    await cloud.change(change_port(made.a, dns_name="Omega"))
    assert await c.resolve("omega", FORWARDER) == a.address
    assert await c.resolve("OMEGA.openstacklocal", FORWARDER) == a.address
    assert await c.resolve("alpha.openstacklocal", FORWARDER) in ("", None)
    late = await cloud.change(
        lambda tx: ports.create_port(tx, project_id=P, network_id=made.first.id, dns_name="delta")
    )
    assert await c.resolve("delta", FORWARDER) == late.fixed_ips[0].ip_address
    await cloud.change(lambda tx: ports.delete_port(tx, tx.get(Port, late.id)))
    assert await c.resolve("delta.openstacklocal", FORWARDER) in ("", None)
    upstream = _upstream()
    if upstream is not None:
        with await inside(cloud.node.netns, lambda: _World(upstream)):
            assert await c.resolve("www.example.org", FORWARDER) == "203.0.113.7"


def _upstream() -> str | None:
    """The name server that this host's dnsmasq forwards to."""
    path = resolver_file()
    if path is None:
        return None
    servers = [line.split()[1] for line in path.read_text().splitlines() if line.startswith("nameserver ")]
    return next((s for s in servers if ":" not in s and not s.startswith("127.")), None)


class _World:
    """Stands for the host's resolver inside the node's namespace: every name is 203.0.113.7."""

    def __init__(self, address: str) -> None:
        os.spawnvp(os.P_WAIT, "ip", ["ip", "address", "add", f"{address}/32", "dev", "lo"])
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 53))
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        # shutdown() wakes the thread; UDP sockets say ENOTCONN all the same
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            self._thread.join(5)
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, peer = self._socket.recvfrom(512)
            if not query:
                return
            end = query.index(b"\0", 12) + 5
            record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton("203.0.113.7")
            self._socket.sendto(query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:end] + record, peer)


async def test_deleting_everything_leaves_an_empty_northbound(placed: Placed) -> None:
    cloud, made, *_ = placed
    nb: Database = cloud.node.driver._nb
    rooted = ("Logical_Switch", "Logical_Switch_Port", "Logical_Router", "Logical_Router_Port", "Port_Group", "ACL",
              "DHCP_Options", "DNS", "NAT", "Logical_Router_Static_Route", "Gateway_Chassis")  # fmt: skip

    async def left() -> dict[str, int]:
        return await nb.read(lambda replica: {t: n for t in rooted if (n := sum(1 for _ in replica.records(t)))})

    assert set(await left()) == set(rooted)

    def ports_first(tx: Tx) -> None:
        floating = floating_ips.create(tx, project_id=P, network_id=made.public.id, port=tx.get(Port, made.a.id))
        for port in (made.a, made.b, made.c):
            ports.delete_port(tx, tx.get(Port, port.id))
        floating_ips.delete(tx, tx.get(FloatingIp, floating.id))

    await cloud.change(ports_first)
    assert not any(name.startswith("trilith_drop") for name in await nb.read(_group_names))

    def the_rest(tx: Tx) -> None:
        router = tx.get(Router, made.router.id)
        for port in routers.interfaces(tx, router.id):
            routers.remove_interface(tx, tx.get(Router, router.id), port_id=port.id)
        routers.delete_router(tx, tx.get(Router, router.id))
        for network in tx.select(Network):
            networks.delete_network(tx, network)
        for group in tx.select(SecurityGroup):
            security_groups.delete_group(tx, group, even_default=True)

    await cloud.change(the_rest)
    assert await cloud.node.driver.owned() == []
    assert await left() == {}


def _group_names(replica: Any) -> list[str]:
    return [str(row["name"]) for row in replica.records("Port_Group")]


async def test_metadata_over_ipv6(cloud: Cloud) -> None:
    """A guest on a network without IPv4 asks from its link-local address, which tells whose it is."""

    def body(tx: Tx) -> tuple[Network, Subnet, Port, Port]:
        network = networks.create_network(tx, project_id=P, mtu=MTU)
        subnet = subnets.create_subnet(
            tx, network, project_id=P, cidr="fd00:7::/64", ipv6_address_mode="slaac", ipv6_ra_mode="slaac"
        )
        made = [ports.create_port(tx, project_id=P, network_id=network.id, dns_name=n) for n in ("one", "two")]
        return network, subnet, made[0], made[1]

    network, subnet, one, two = await cloud.change(body)
    local = await cloud.services.store.read(lambda r: r.get(Port, network.metadata_port_id))
    endpoint = MetadataEndpoint(
        network_id=network.id, port_id=local.id, mac=local.mac_address, mtu=MTU, addresses=_with_prefix(local.fixed_ips)
    )
    posts: list[tuple[str, bytes]] = []
    refusal: list[errors.TrilithError] = []

    async def posted(server_id: str, password: bytes) -> None:
        if refusal:
            raise refusal[0]
        posts.append((server_id, password))

    service = MetadataService(cloud.node.switch, netns=cloud.node.netns, posted=posted)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(service.close)
        guests = []
        for port in (one, two):
            guests.append(await cloud.plug(port))
            nic = InstanceNic(
                port_id=port.id, network_id=network.id, mac=port.mac_address, link="tap",
                addresses=(FixedAddress(address=port.fixed_ips[0].ip_address, cidr=subnet.cidr),),
            )  # fmt: skip
            instance = InstanceData(
                uuid=port.id, name=port.dns_name, hostname=port.dns_name, project_id=P, networks=(nic,)
            )
            await service.serve(instance, (endpoint,))
        await cloud.settled()
        for guest, port in zip(guests, (one, two), strict=True):
            body_text = await inside(guest.name, _get_metadata)
            assert f'"uuid": "{port.id}"' in body_text or f'"uuid":"{port.id}"' in body_text, body_text
        # a guest posts its password, and to nothing else
        assert await inside(guests[0].name, _post_password) == "200"
        assert posts == [(one.id, b"secret")]
        assert await inside(guests[0].name, _post_elsewhere) == "405"
        for error, status in ((errors.Conflict(""), "409"), (errors.Invalid(""), "400"), (errors.Backend(""), "503")):
            refusal[:] = [error]
            assert await inside(guests[0].name, _post_password) == status
        assert len(posts) == 1
        # what is in use stays at a sweep, and goes with its last server
        await service.sweep()
        assert await list_metadata_namespaces(cloud.node.switch) == [network.id]
        await service.forget(one.id)
        assert "404" in await inside(guests[0].name, _get_metadata)
        await service.forget(two.id)
        assert await list_metadata_namespaces(cloud.node.switch) == []


def _with_prefix(ips: tuple[FixedIp, ...]) -> tuple[str, ...]:
    return tuple(f"{ip.ip_address}/64" for ip in ips)


def _get_metadata() -> str:
    return _ask("GET /openstack/latest/meta_data.json HTTP/1.1\r\nHost: metadata\r\n\r\n")


def _post_password() -> str:
    return _post("/openstack/2013-10-17/password").split()[1]


def _post_elsewhere() -> str:
    return _post("/openstack/latest/user_data").split()[1]


def _post(path: str) -> str:
    return _ask(f"POST {path} HTTP/1.1\r\nHost: metadata\r\nContent-Length: 6\r\n\r\nsecret")


def _ask(request: str) -> str:
    """The whole answer. A new link-local address is tentative for a moment (RFC 4862): connecting waits for it."""
    for attempt in range(20):
        with socket.socket(socket.AF_INET6) as client:
            client.settimeout(1)
            try:
                client.connect(("fe80::a9fe:a9fe", 80, 0, socket.if_nametoindex("eth0")))
            except OSError:
                if attempt == 19:
                    raise
                threading.Event().wait(0.1)
                continue
            client.sendall(request.encode())
            return b"".join(iter(lambda: client.recv(65536), b"")).decode()
    raise AssertionError("unreachable")


async def test_the_types_of_dhcp_options_are_ovns_own(cloud: Cloud) -> None:
    for table, mine in (("DHCP_Options", V4_TYPES), ("DHCPv6_Options", V6_TYPES)):
        db = await Database.open(cloud.node.network.sb, "OVN_Southbound", {table: ("name", "type")})
        try:
            theirs = await db.read(lambda r, t=table: {str(x["name"]): str(x["type"]) for x in r.records(t)})  # type: ignore[misc]
        finally:
            await db.close()
        assert {name: theirs.get(name) for name in mine} == mine
