"""What policies do to packets on real OVN: stateless and address groups, forwarded ports, limits and marks, trunks,
logs and address scopes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.contracts.test_network_driver_ovn import answer, new, topology, two_guests
from tests.ovn_harness import Guest, Node, inside, running_node
from trilith.drivers.ovn.tools import run
from trilith.model.topology import (
    AddressGroupSpec,
    Ensure,
    ForwardSpec,
    NetworkSpec,
    QosSpec,
    Remove,
    RouterInterfaceSpec,
    RuleSpec,
    SecurityGroupSpec,
    SubnetSpec,
)

pytestmark = [pytest.mark.root, pytest.mark.ovn]


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with running_node() as made:
        yield made


async def change(node: Node, *nouns: object) -> None:
    await node.driver.apply([Ensure(noun=noun) for noun in nouns])  # type: ignore[arg-type]
    await node.driver.wait_applied(timeout=10)


def tcp(port: int, **more: str) -> RuleSpec:
    return RuleSpec(id=new(), ingress=True, ethertype="IPv4", protocol="tcp", port_min=port, port_max=port, **more)


async def test_a_stateless_group_lets_through_what_its_rules_say_and_no_reply(node: Node) -> None:
    made = topology()
    out = RuleSpec(id=new(), ingress=False, ethertype="IPv4")
    stateless = SecurityGroupSpec(id=made.group.id, revision=1, stateful=False, rules=(tcp(22), out))
    made.group = stateless
    a, b = await two_guests(node, made)
    async with await answer(a.name, a.address, 22):
        # b asks; a's answer comes back to b's port, whose rules say nothing of it
        assert await b.tcp(a.address, 22) == "filtered"
        back = RuleSpec(id=new(), ingress=True, ethertype="IPv4", protocol="tcp", port_min=1024, port_max=65535)
        await change(node, replace(stateless, revision=2, rules=(tcp(22), back, out)))
        assert await b.tcp(a.address, 22) == "open"
        # the same first rules, with state: the reply needs no rule
        await change(node, replace(stateless, revision=3, stateful=True))
        assert await b.tcp(a.address, 22) == "open"


async def test_an_address_group_is_the_far_end_of_a_rule(node: Node) -> None:
    made = topology()
    friends = AddressGroupSpec(id=new(), revision=1, addresses=("192.0.2.0/24", "2001:db8::/64"))
    made.group = replace(made.group, rules=(tcp(22, remote_addresses=friends.id), *made.group.rules[3:]))
    await node.driver.apply([Ensure(noun=friends)])
    a, b = await two_guests(node, made)
    async with await answer(a.name, a.address, 22):
        assert await b.tcp(a.address, 22) == "filtered"
        # the group alone changes, no rule
        await change(node, replace(friends, revision=2, addresses=("10.10.0.12/32",)))
        assert await b.tcp(a.address, 22) == "open"
        await change(node, replace(friends, revision=3, addresses=()))
        assert await b.tcp(a.address, 22) == "filtered"
    owned = {(o.kind, o.id): o.revision for o in await node.driver.owned()}
    assert owned["address_group", friends.id] == 3
    await node.driver.apply([Remove(kind="address_group", id=friends.id)])
    assert not [o for o in await node.driver.owned() if o.kind == "address_group"]


async def test_ports_of_one_address_lead_to_many_guests(node: Node) -> None:
    made = topology()
    forwards = (
        ForwardSpec(protocol="tcp", external_ip="172.24.4.60", external_port=2201, internal_ip="10.10.0.11",
                    internal_port=22),
        ForwardSpec(protocol="tcp", external_ip="172.24.4.60", external_port=2202, internal_ip="10.10.0.12",
                    internal_port=22),
    )  # fmt: skip
    made.router = replace(made.router, nats=(), forwards=forwards)
    a, b = await two_guests(node, made)
    async with await answer(a.name, a.address, 22), await answer(b.name, b.address, 22):
        assert await node.host_tcp("172.24.4.60", 2201) == "open"
        assert await node.host_tcp("172.24.4.60", 2202) == "open"
        assert await node.host_tcp("172.24.4.60", 2203) != "open"
        await change(node, replace(made.router, revision=2, forwards=forwards[1:]))
        assert await node.host_tcp("172.24.4.60", 2201) != "open"
        assert await node.host_tcp("172.24.4.60", 2202) == "open"
    await change(node, replace(made.router, revision=3, forwards=()))
    ask = ["ovn-nbctl", f"--db={node.network.nb}", "--bare", "--columns=name", "list", "Load_Balancer"]
    assert (await run(ask)).strip() == ""


async def received(sender: Guest, target: Guest, seconds: float = 1.0) -> float:
    """kbit/s of UDP that arrive while as much is sent as goes."""

    def listen() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        made.bind((target.address, 5001))
        return made

    sink = await inside(target.name, listen)
    got = 0

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                out.sendto(b"x" * 1000, (target.address, 5001))
                time.sleep(0.0002)

    sending = asyncio.create_task(inside(sender.name, send))
    began = time.monotonic()
    with contextlib.closing(sink):
        while time.monotonic() - began < seconds + 0.2:
            try:
                async with asyncio.timeout(0.2):
                    got += len(await asyncio.get_running_loop().sock_recv(sink, 2000))
            except TimeoutError:
                continue
        await sending
    return got * 8 / 1000 / seconds


async def test_limits_of_what_a_port_sends_and_gets(node: Node) -> None:
    made = topology()
    a, b = await two_guests(node, made)
    free = await received(b, a)
    assert free > 4000  # kbit/s; the machine could, so that the limits below say something
    await change(node, replace(made.b, revision=2, qos=(QosSpec(kbps=1000, burst_kbit=100),)))
    assert await received(b, a) < 2000
    await change(
        node, replace(made.b, revision=3), replace(made.a, revision=2, qos=(QosSpec(ingress=True, kbps=1000),))
    )
    assert await received(b, a) < 2500
    await change(node, replace(made.a, revision=3))
    assert await received(b, a) > 4000
    ask = ["ovn-nbctl", f"--db={node.network.nb}", "--bare", "--columns=match", "list", "QoS"]
    assert (await run(ask)).strip() == ""


async def test_a_mark_is_on_what_a_port_sends(node: Node) -> None:
    made = topology()
    a, b = await two_guests(node, made)
    await change(node, replace(made.b, revision=2, qos=(QosSpec(dscp=46),)))

    def tos() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
            sink.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
            sink.bind((a.address, 5002))
            sink.settimeout(5)
            _, ancillary, _, _ = sink.recvmsg(100, 100)
            return int(ancillary[0][2][0])

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for _ in range(20):
                out.sendto(b"x", (a.address, 5002))
                time.sleep(0.05)

    marked, _ = await asyncio.gather(inside(a.name, tos), inside(b.name, send))
    assert marked >> 2 == 46


async def test_a_floating_ips_limit_is_on_the_external_network(node: Node) -> None:
    made = topology()
    nat = replace(made.router.nats[0], qos=(QosSpec(kbps=1000), QosSpec(ingress=True, kbps=2000)))
    made.router = replace(made.router, nats=(nat,))
    await two_guests(node, made)
    ask = ["ovn-nbctl", f"--db={node.network.nb}", "qos-list", made.external.id]
    listed = await run(ask)
    assert "ip4.src == 172.24.4.50" in listed
    assert "rate=2000" in listed
    assert await node.host_ping("172.24.4.50")
    await change(node, replace(made.router, revision=2, nats=(replace(nat, qos=()),)))
    assert (await run(ask)).strip() == ""


async def test_a_trunk_carries_a_port_in_a_vlan(node: Node) -> None:
    made = topology()
    a, b = await two_guests(node, made)
    # b's interface also carries a port with the tag 101, whose neighbour's question OVN answers in the same VLAN
    child = replace(made.b, id=new(), mac="fa:16:3e:00:00:21", addresses=((made.b.addresses[0][0], "10.10.0.21"),),
                    parent=made.b.id, vlan=101)  # fmt: skip

    def answered() -> bool:
        return _neighbour("10.10.0.11", "10.10.0.21", child.mac, 101)

    assert not await inside(b.name, answered)
    await node.driver.apply([Ensure(noun=child)])
    await node.driver.wait_up([child.id], timeout=10)
    await node.driver.wait_applied(timeout=10)
    assert await inside(b.name, answered)
    assert await a.ping(b.address)  # what is untagged is the parent's as before
    await change(node, replace(child, revision=2, parent="", vlan=0))
    assert not await inside(b.name, answered)


def _neighbour(wanted: str, own: str, mac: str, tag: int) -> bool:
    """Ask for an address by ARP (RFC 826) in a VLAN of eth0, by hand: this kernel may lack VLAN interfaces."""
    sender = bytes.fromhex(mac.replace(":", ""))
    ask = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + sender + socket.inet_aton(own) + bytes(6)
    frame = b"\xff" * 6 + sender + struct.pack("!HHH", 0x8100, tag, 0x0806) + ask + socket.inet_aton(wanted)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as raw:
        raw.bind(("eth0", 0))
        raw.settimeout(0.2)
        raw.send(frame)
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                got = raw.recv(200)
                if got[:6] == sender and socket.inet_aton(wanted) in got:
                    return True
    return False


async def test_what_a_group_lets_through_and_refuses_is_logged(node: Node) -> None:
    made = topology()
    log = new()
    made.group = replace(made.group, log_allowed=log, log_dropped=log)
    a, b = await two_guests(node, made)
    async with await answer(a.name, a.address, 22), await answer(a.name, a.address, 80):
        assert await b.tcp(a.address, 22) == "open"
        assert await b.tcp(a.address, 80) == "filtered"
    logs = await asyncio.to_thread(lambda: [p.read_text() for p in node.network.state_dir.rglob("ovn-controller*.log")])
    lines = [line for text in logs for line in text.splitlines() if f"trilith-{log}" in line]
    assert any("verdict=allow" in line and "tp_dst=22" in line for line in lines), lines
    assert any("verdict=drop" in line and "tp_dst=80" in line for line in lines), lines


async def test_a_router_keeps_address_scopes_apart(node: Node) -> None:
    made = topology()
    subnet = SubnetSpec(id=new(), cidr="10.11.0.0/24", gateway="10.11.0.1")
    other = NetworkSpec(id=new(), revision=1, name="other", mtu=made.network.mtu, subnets=(subnet,))
    c = replace(made.b, id=new(), network_id=other.id, mac="fa:16:3e:00:00:31", addresses=((subnet.id, "10.11.0.31"),))
    inner = RouterInterfaceSpec(port_id=new(), network_id=other.id, mac="fa:16:3e:00:01:03", cidrs=("10.11.0.1/24",))
    made.router = replace(made.router, interfaces=(*made.router.interfaces, inner))
    await node.driver.apply([Ensure(noun=other), Ensure(noun=c)])
    a, _ = await two_guests(node, made)
    far = await node.guest(c.id, c.mac, "10.11.0.31/24", "10.11.0.1")
    await node.driver.wait_up([c.id], timeout=10)
    await node.driver.wait_applied(timeout=10)
    assert await far.ping(a.address)
    pairs = (("10.10.0.0/24", "10.11.0.0/24"), ("10.11.0.0/24", "10.10.0.0/24"))
    await change(node, replace(made.router, revision=2, apart=pairs))
    assert not await far.ping(a.address, seconds=1)
    assert await a.ping("172.24.4.1")  # out, by translation, as before
    await change(node, replace(made.router, revision=3, apart=(), walled=("10.11.0.0/24",)))
    assert await far.ping(a.address)
    assert not await far.ping("172.24.4.1", seconds=1)
