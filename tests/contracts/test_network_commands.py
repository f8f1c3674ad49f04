"""The network commands on SQLite and PostgreSQL alike: what two writers at once may not spoil, and what is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from trilith import errors
from trilith.commands import (
    addresses,
    floating_ips,
    network_agents,
    network_quota,
    networks,
    ports,
    quota,
    routers,
    security_groups,
    subnets,
)
from trilith.commands.network_faults import (
    InvalidInput,
    IpAddressGenerationFailure,
    NetworkHostedByDHCPAgent,
    NetworkNotHostedByDhcpAgent,
    OverQuota,
    SecurityGroupNotFound,
    SecurityGroupRuleExists,
)
from trilith.model.network import (
    DhcpOption,
    FixedIp,
    IpAddress,
    MacAddress,
    Network,
    Port,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    guest_dns,
)
from trilith.model.network_access import DefaultRule
from trilith.reconcile import topology
from trilith.store.contract import Store
from trilith.store.tx import Reader, Tx

P = "project-one"


def inside(tx: Tx, cidr: str = "10.0.0.0/24", **more: Any) -> tuple[Network, Subnet]:
    network = networks.create_network(tx, project_id=P, mtu=1442, name="n", **more)
    return network, subnets.create_subnet(tx, network, project_id=P, cidr=cidr)


async def test_ports_made_at_once_have_addresses_of_their_own(store: Store) -> None:
    network, _ = await store.write(inside)
    made = await asyncio.gather(
        *(store.write(lambda tx: ports.create_port(tx, project_id=P, network_id=network.id)) for _ in range(24))
    )
    assert len({p.fixed_ips[0].ip_address for p in made}) == 24
    assert len({p.mac_address for p in made}) == 24
    assert len({p.security_groups for p in made}) == 1, "one default group, not one a request"
    assert await store.read(lambda r: r.count(SecurityGroup, default=True)) == 1
    used = await store.read(lambda r: network_quota.used(r, P))
    assert used["port"] == 24


async def test_the_last_address_is_given_once(store: Store) -> None:
    network, subnet = await store.write(lambda tx: inside(tx, "10.0.0.0/28"))
    results = await asyncio.gather(
        *(store.write(lambda tx: ports.create_port(tx, project_id=P, network_id=network.id)) for _ in range(14)),
        return_exceptions=True,
    )
    made = [r for r in results if isinstance(r, Port)]
    refused = [r for r in results if not isinstance(r, Port)]
    # 14 hosts, less the gateway and the metadata port
    assert len(made) == 12
    assert {type(r) for r in refused} == {IpAddressGenerationFailure}
    # what was refused left nothing: neither a MAC nor a use of the quota
    assert await store.read(lambda r: r.count(MacAddress)) == 13
    assert (await store.read(lambda r: network_quota.used(r, P)))["port"] == 12
    # a freed address in the middle is found again
    gone = made[5]
    await store.write(lambda tx: ports.delete_port(tx, tx.get(Port, gone.id)))
    again = await store.write(lambda tx: ports.create_port(tx, project_id=P, network_id=network.id))
    assert again.fixed_ips == gone.fixed_ips
    assert await store.read(lambda r: r.count(IpAddress, subnet_id=subnet.id)) == 13


def _linger(tx: Tx) -> None:
    """Let the others begin; SQLite's writers take turns."""
    if tx.conn.dialect.name == "postgresql":
        tx.conn.execute(sa.text("SELECT pg_sleep(0.3)"))


@pytest.mark.parametrize("what", ["port", "subnet", "address"])
async def test_nothing_is_made_on_what_is_deleted_at_the_same_time(store: Store, what: str) -> None:
    network, subnet = await store.write(inside)
    port = await store.write(lambda tx: ports.create_port(tx, project_id=P, network_id=network.id, fixed_ips=()))
    if what != "address":
        await store.write(lambda tx: ports.delete_port(tx, port))

    def make(tx: Tx) -> None:
        if what == "port":
            ports.create_port(tx, project_id=P, network_id=network.id)
        elif what == "subnet":
            subnets.create_subnet(tx, tx.get(Network, network.id), project_id=P, cidr="10.9.0.0/24")
        else:
            wanted = (FixedIp(subnet_id=subnet.id, ip_address=""),)
            ports.update_port(tx, tx.get(Port, port.id), fixed_ips=wanted)
        _linger(tx)

    def delete(tx: Tx) -> None:
        if what == "address":
            subnets.delete_subnet(tx, tx.get(Subnet, subnet.id))
        else:
            networks.delete_network(tx, tx.get(Network, network.id))
        _linger(tx)

    results = await asyncio.gather(store.write(make), store.write(delete), return_exceptions=True)
    assert all(r is None or isinstance(r, errors.Missing | errors.Conflict | errors.Invalid) for r in results), results
    left = await store.read(lambda r: {n.id for n in r.select(Network)})
    assert {p.network_id for p in await store.read(lambda r: r.select(Port))} <= left
    assert {s.network_id for s in await store.read(lambda r: r.select(Subnet))} <= left
    known = await store.read(lambda r: {s.id for s in r.select(Subnet)})
    assert {a.subnet_id for a in await store.read(lambda r: r.select(IpAddress))} <= known


async def test_the_quota_holds_against_requests_at_once(store: Store) -> None:
    await store.write(lambda tx: network_quota.set_limits(tx, P, {"router": 3}))
    await store.write(lambda tx: routers.create_router(tx, project_id=P))  # the counter's row is there now
    results = await asyncio.gather(
        *(store.write(lambda tx: routers.create_router(tx, project_id=P)) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(r, Router) for r in results) == 2
    assert {type(r) for r in results if not isinstance(r, Router)} == {OverQuota}
    assert await store.read(lambda r: r.count(Router)) == 3


async def test_a_large_ipv6_subnet_needs_no_scan(store: Store) -> None:
    def body(tx: Tx) -> list[str]:
        network = networks.create_network(tx, project_id=P, mtu=1442)
        subnets.create_subnet(
            tx, network, project_id=P, cidr="2001:db8::/48", ipv6_address_mode="dhcpv6-stateful",
            ipv6_ra_mode="dhcpv6-stateful",
        )  # fmt: skip
        made = [ports.create_port(tx, project_id=P, network_id=network.id) for _ in range(20)]
        return [p.fixed_ips[0].ip_address for p in made]

    assert len(set(await store.write(body))) == 20


async def test_generations_grow_with_what_the_backend_makes(store: Store) -> None:
    """Whatever is a part of a noun's spec moves the noun, and nothing else does."""

    def setup(tx: Tx) -> tuple[str, str, str, str]:
        public = networks.ensure_external(tx, cidr="172.24.4.0/24")
        network, subnet = inside(tx)
        router = routers.create_router(tx, project_id=P, gateway=routers.Gateway(network_id=public.id))
        routers.add_interface(tx, router, subnet_id=subnet.id)
        port = ports.create_port(tx, project_id=P, network_id=network.id, dns_name="web")
        return network.id, subnet.id, router.id, port.id

    network, subnet, router, port = await store.write(setup)
    public = await store.read(lambda r: r.first(Network, external=True))
    assert public is not None
    group = (await store.read(lambda r: r.get(Port, port))).security_groups[0]
    watched: dict[str, tuple[type[Any], str]] = {
        "network": (Network, network),
        "router": (Router, router),
        "port": (Port, port),
        "group": (SecurityGroup, group),
    }

    async def moved(body: Callable[[Tx], Any]) -> set[str]:
        def at(reader: Reader) -> dict[str, int]:
            return {n: reader.get(cls, id).generation for n, (cls, id) in watched.items()}

        before = await store.read(at)
        await store.write(body)
        after = await store.read(at)
        return {n for n in before if after[n] > before[n]}

    def rule(tx: Tx) -> Any:
        return security_groups.create_rule(
            tx,
            tx.get(SecurityGroup, group),
            project_id=P,
            direction="ingress",
            protocol="tcp",
            port_min=22,
            port_max=22,
        )

    def change(**fields: Any) -> Callable[[Tx], Any]:
        return lambda tx: ports.update_port(tx, tx.get(Port, port), **fields)

    assert await moved(rule) == {"group"}
    assert await moved(change(name="x", description="y")) == set()
    assert await moved(change(admin_up=False)) == {"port"}
    assert await moved(change(dns_name="db")) == {"port", "network"}
    assert await moved(lambda tx: ports.bind_port(tx, tx.get(Port, port), "node-1", "server-1", "compute:nova")) == {
        "port", "network",
    }  # fmt: skip
    assert (
        await moved(lambda tx: ports.bind_port(tx, tx.get(Port, port), "node-1", "server-1", "compute:nova")) == set()
    )
    assert await moved(lambda tx: subnets.update_subnet(tx, tx.get(Subnet, subnet), dns=["1.1.1.1"])) == {"network"}
    assert await moved(lambda tx: subnets.update_subnet(tx, tx.get(Subnet, subnet), dhcp=False)) == {"network", "port"}

    def float_it(tx: Tx) -> Any:
        return floating_ips.create(tx, project_id=P, network_id=public.id, port=tx.get(Port, port))

    assert await moved(float_it) == {"router"}
    assert await moved(change(mac="fa:16:3e:12:34:56")) == {"port", "router"}
    assert await moved(change(fixed_ips=[])) == {"port", "network", "router"}


async def test_external_is_made_once(store: Store) -> None:
    first = await store.write(lambda tx: networks.ensure_external(tx, cidr="172.24.4.0/24"))
    second = await store.write(lambda tx: networks.ensure_external(tx, cidr="172.24.4.0/24"))
    assert first.id == second.id
    subnet = await store.read(lambda r: r.first(Subnet, network_id=first.id))
    assert subnet is not None
    assert (subnet.gateway, subnet.dhcp) == ("172.24.4.1", False)
    assert len(await store.read(lambda r: r.select(Subnet, network_id=first.id))) == 1
    with pytest.raises(errors.Invalid):
        await store.write(lambda tx: networks.ensure_external(tx, cidr="10.0.0.0/30", physical_network="other"))


async def test_all_of_it_can_be_deleted(store: Store) -> None:
    """And nothing is left: no address, no MAC, no counter above zero."""

    def setup(tx: Tx) -> tuple[str, str]:
        public = networks.ensure_external(tx, cidr="172.24.4.0/24")
        network, subnet = inside(tx)
        router = routers.create_router(tx, project_id=P, gateway=routers.Gateway(network_id=public.id))
        routers.add_interface(tx, router, subnet_id=subnet.id)
        port = ports.create_port(tx, project_id=P, network_id=network.id)
        floating_ips.create(tx, project_id=P, network_id=public.id, port=port)
        return network.id, router.id

    network, router = await store.write(setup)

    def down(tx: Tx) -> None:
        from trilith.model.network import FloatingIp

        for floating in tx.select(FloatingIp):
            floating_ips.delete(tx, floating)
        subnet = tx.first(Subnet, network_id=network)
        assert subnet is not None
        routers.remove_interface(tx, tx.get(Router, router), subnet_id=subnet.id)
        routers.delete_router(tx, tx.get(Router, router))
        for port in tx.select(Port, network_id=network, device_owner=""):
            ports.delete_port(tx, port)
        networks.delete_network(tx, tx.get(Network, network))
        networks.delete_network(tx, tx.select(Network)[0])

    await store.write(down)
    for cls in (Network, Subnet, Port, Router, IpAddress, MacAddress):
        assert await store.read(lambda r, cls=cls: r.count(cls)) == 0, cls
    assert not any((await store.read(lambda r: network_quota.used(r, P))).values())


async def test_a_claimed_address_is_refused_without_spoiling_the_transaction(store: Store) -> None:
    _, subnet = await store.write(inside)

    def body(tx: Tx) -> str:
        addresses.claim(tx, subnet, "port-a", "10.0.0.9")
        with pytest.raises(errors.Conflict):
            addresses.claim(tx, subnet, "port-b", "10.0.0.9")
        # PostgreSQL would refuse everything from here on, had the insert failed
        return addresses.allocate(tx, subnet, "port-b")

    assert (await store.write(body)).startswith("10.0.0.")


async def test_what_is_built_of_the_rows_is_what_ovn_takes(store: Store, tmp_path: Any) -> None:
    """Every spec of a whole topology turns into northbound operations, with nothing there before."""
    from trilith.config import Settings
    from trilith.drivers.ovn.northbound import compose
    from trilith.model.network import AddressPair, DhcpOption, HostRoute
    from trilith.model.topology import Ensure, NetworkSpec, PortSpec, RouterSpec
    from trilith.reconcile.topology import KINDS, build

    class Empty:
        def get(self, table: str, row: Any) -> None:
            return None

    def body(tx: Tx) -> None:
        public = networks.ensure_external(tx, cidr="172.24.4.0/24")
        network, subnet = inside(tx)
        slaac = subnets.create_subnet(
            tx, network, project_id=P, cidr="2001:db8::/64", ipv6_address_mode="slaac", ipv6_ra_mode="slaac"
        )
        router = routers.create_router(tx, project_id=P, gateway=routers.Gateway(network_id=public.id))
        routers.add_interface(tx, router, subnet_id=subnet.id)
        routers.add_interface(tx, router, subnet_id=slaac.id)
        routers.set_routes(
            tx, tx.get(Router, router.id), [HostRoute(destination="192.168.0.0/24", nexthop="10.0.0.200")]
        )
        port = ports.create_port(
            tx,
            project_id=P,
            network_id=network.id,
            dns_name="web",
            allowed_address_pairs=[AddressPair(ip_address="10.0.0.99")],
            dhcp_options=[DhcpOption(opt_name="bootfile-name", opt_value="x")],
        )
        floating_ips.create(tx, project_id=P, network_id=public.id, port=port)
        group = tx.get(SecurityGroup, port.security_groups[0])
        security_groups.create_rule(
            tx, group, project_id=P, direction="ingress", protocol="tcp", port_min=22, port_max=22,
            remote_ip_prefix="192.168.1.7/24",
        )  # fmt: skip

    await store.write(body)

    def read(reader: Reader) -> list[Any]:
        settings = Settings(state=tmp_path)
        return [
            n for kind, cls in KINDS.items() for n in build(reader, settings, kind, [r.id for r in reader.select(cls)])
        ]

    nouns = await store.read(read)
    assert compose(Empty(), [Ensure(noun=n) for n in nouns], cloud="c", gateway_chassis=["node-1"])
    router = next(n for n in nouns if isinstance(n, RouterSpec))
    assert router.gateway is not None
    assert router.gateway.next_hops == ("172.24.4.1",)
    assert router.gateway.snat_cidrs == ("10.0.0.0/24",)
    # one port a version: IPv6 prefixes of a network share theirs, an IPv4 one is its own
    assert sorted(c for i in router.interfaces for c in i.cidrs) == ["10.0.0.1/24", "2001:db8::1/64"]
    (nat,) = router.nats
    (port,) = [n for n in nouns if isinstance(n, PortSpec)]
    assert (nat.port_id, bool(nat.mac)) == (port.id, True)
    assert nat.mac != port.mac
    network = next(n for n in nouns if isinstance(n, NetworkSpec) and not n.external)
    assert {name for name, _ in network.names} == {"web", "web.openstacklocal"}
    assert network.subnets[0].dns == ("172.24.4.1",)


async def test_first_uses_of_a_counter_may_meet(store: Store) -> None:
    """Nova's counters, of which the first use makes the row."""
    results = await asyncio.gather(
        *(store.write(lambda tx: quota.use(tx, P, {"instances": 1, "cores": 2, "ram": 512})) for _ in range(14)),
        return_exceptions=True,
    )
    refused = [r for r in results if r is not None]
    assert {type(r) for r in refused} == {errors.QuotaExceeded}
    assert len(refused) == 4
    counted = await store.read(lambda r: quota.usage(r, P, ("instances", "cores", "ram")))
    assert counted == {"instances": 10, "cores": 20, "ram": 5120}
    # one that never fits leaves no use behind, also as the first
    with pytest.raises(errors.QuotaExceeded, match="but already used 0 of 10"):
        await store.write(lambda tx: quota.use(tx, "project-two", {"instances": 11}))
    assert (await store.read(lambda r: quota.usage(r, "project-two", ("instances",))))["instances"] == 0


async def test_of_identical_rules_at_once_one_is_made(store: Store) -> None:
    group = await store.write(lambda tx: security_groups.create_group(tx, project_id=P, name="web"))

    def rule(tx: Tx, protocol: str) -> SecurityGroupRule:
        # three spellings of one protocol
        return security_groups.create_rule(
            tx, group, project_id=P, direction="ingress", protocol=protocol, port_min=22, port_max=22
        )

    results = await asyncio.gather(
        *(store.write(lambda tx, p=p: rule(tx, p)) for p in ("tcp", "6", "TCP") * 3),  # type: ignore[misc]
        return_exceptions=True,
    )
    assert sum(isinstance(r, SecurityGroupRule) for r in results) == 1
    assert {type(r) for r in results if not isinstance(r, SecurityGroupRule)} == {SecurityGroupRuleExists}
    # the group's two egress rules and this one
    assert (await store.read(lambda r: network_quota.used(r, P)))["security_group_rule"] == 3
    assert await store.read(lambda r: r.count(SecurityGroupRule, security_group_id=group.id)) == 3


async def test_a_rule_for_a_group_that_goes_at_the_same_time_is_refused(store: Store) -> None:
    group = await store.write(lambda tx: security_groups.create_group(tx, project_id=P, name="web"))
    await store.write(lambda tx: security_groups.delete_group(tx, tx.get(SecurityGroup, group.id)))
    with pytest.raises(SecurityGroupNotFound):
        await store.write(
            lambda tx: security_groups.create_rule(tx, group, project_id=P, direction="ingress", protocol="udp")
        )
    assert await store.read(lambda r: r.count(SecurityGroupRule, security_group_id=group.id)) == 0


@pytest.mark.parametrize(
    ("name", "value", "version"),
    [
        ("nonsense", "1", 4),
        ("router", "10.0.0.1", 6),
        ("mtu", "1500; drop", 4),
        ("mtu", "65536", 4),
        ("ntp-server", "pool.example.org", 4),
        ("classless-static-route", "10.0.0.0/8", 4),
        ("netmask", "255.0.0.0,255.255.0.0", 4),
        ("dns-server", "10.0.0.1", 6),
    ],
)
async def test_a_dhcp_option_that_ovn_could_not_serve_is_refused(
    store: Store, name: str, value: str, version: int
) -> None:
    network, _ = await store.write(inside)
    await store.write(lambda tx: subnets.create_subnet(tx, network, project_id=P, cidr="2001:db8::/64"))
    port = await store.write(lambda tx: ports.create_port(tx, project_id=P, network_id=network.id))
    option = DhcpOption(opt_name=name, opt_value=value, ip_version=version)
    with pytest.raises(InvalidInput, match="extra_dhcp_opts"):
        await store.write(lambda tx: ports.create_port(tx, project_id=P, network_id=network.id, dhcp_options=[option]))
    with pytest.raises(InvalidInput, match="extra_dhcp_opts"):
        await store.write(lambda tx: ports.update_port(tx, port, dhcp_options={(name, version): value}))
    assert (await store.read(lambda r: r.get(Port, port.id))).dhcp_options == ()


async def test_a_dhcp_options_value_is_checked_once_the_port_asks_that_version(store: Store) -> None:
    network = await store.write(lambda tx: networks.create_network(tx, project_id=P, mtu=1442))
    await store.write(lambda tx: subnets.create_subnet(tx, network, project_id=P, cidr="2001:db8::/64"))
    option = DhcpOption(opt_name="server-ip-address", opt_value="2015::badd", ip_version=4)
    port = await store.write(
        lambda tx: ports.create_port(tx, project_id=P, network_id=network.id, dhcp_options=[option])
    )
    four = await store.write(lambda tx: subnets.create_subnet(tx, network, project_id=P, cidr="10.9.0.0/24"))
    ips = (*port.fixed_ips, FixedIp(subnet_id=four.id, ip_address=""))
    with pytest.raises(InvalidInput, match="server-ip-address"):
        await store.write(lambda tx: ports.update_port(tx, port, fixed_ips=ips))
    await store.write(
        lambda tx: ports.update_port(tx, port, fixed_ips=ips, dhcp_options={("server-ip-address", 4): None})
    )


async def test_first_groups_made_at_once_start_with_the_same_rules(store: Store) -> None:
    made = await asyncio.gather(
        *(
            store.write(lambda tx, n=n: security_groups.create_group(tx, project_id=f"p{n}", name="web"))
            for n in range(6)
        )
    )
    counts = [await store.read(lambda r, g=g: r.count(SecurityGroupRule, security_group_id=g.id)) for g in made]
    assert counts == [2] * 6
    assert await store.read(lambda r: r.count(DefaultRule)) == 4


async def test_a_node_that_answers_no_dhcp_on_a_network(store: Store) -> None:
    network, _ = await store.write(inside)
    made = [
        await store.write(lambda tx, host=host: ports.create_port(tx, project_id=P, network_id=network.id, host=host))
        for host in ("n1", "n2", "n2,n1", "")
    ]

    async def served() -> list[bool]:
        specs = await store.read(lambda r: topology.ports(r, [p.id for p in made]))
        return [s.dhcp for s in specs]

    assert await served() == [True] * 4
    await store.write(lambda tx: network_agents.exclude(tx, network, "n1"))
    assert await served() == [False, True, False, True]
    assert [p.generation for p in await store.read(lambda r: r.select(Port, id=[p.id for p in made]))] == [2, 1, 2, 1]
    with pytest.raises(NetworkNotHostedByDhcpAgent):
        await store.write(lambda tx: network_agents.exclude(tx, network, "n1"))
    await store.write(lambda tx: network_agents.include(tx, network, "n1"))
    assert await served() == [True] * 4
    with pytest.raises(NetworkHostedByDHCPAgent):
        await store.write(lambda tx: network_agents.include(tx, network, "n1"))


def test_the_name_servers_that_guests_are_told() -> None:
    four = Subnet(id="4", name="", project_id=P, network_id="n", cidr="10.0.0.0/24")
    six = replace(four, cidr="2001:db8::/64", ip_version=6)
    assert guest_dns(four, (), "172.24.4.0/24") == ("172.24.4.1",)
    assert guest_dns(six, (), "172.24.4.0/24") == ()
    assert guest_dns(four, ("9.9.9.9", "2620:fe::fe"), "172.24.4.0/24") == ("9.9.9.9",)
    assert guest_dns(six, ("9.9.9.9", "2620:fe::fe"), "172.24.4.0/24") == ("2620:fe::fe",)
    assert guest_dns(replace(four, dns=("10.0.0.5",)), ("9.9.9.9",), "172.24.4.0/24") == ("10.0.0.5",)
    assert guest_dns(four, (), "") == ()
