"""Network nouns as northbound rows, against a golden file; and what a second, an older and a removing batch do.

After a change that is meant: TRILITH_GOLDEN=write pytest tests/golden/ovn, and read the difference.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.golden.ovn.batch import BARE, BATCH, FREE, GROUP, PRIVATE, ROUTER, WEB
from tests.golden.ovn.memory import Memory
from trilith.drivers.ovn.groups import match, merged
from trilith.drivers.ovn.northbound import compose
from trilith.errors import Conflict, Invalid, Missing, Unsupported
from trilith.model.topology import Change, Ensure, Remove, RuleSpec

GOLDEN = Path(__file__).parent / "rows.json"


def run(memory: Memory, changes: Sequence[Change], cloud: str = "cloud-1") -> None:
    memory.run(compose(memory, changes, cloud=cloud, gateway_chassis=("n1", "n2")))


@pytest.fixture
def filled() -> Memory:
    memory = Memory()
    run(memory, BATCH)
    return memory


def test_rows(filled: Memory) -> None:
    found = json.dumps(filled.dump(), indent=1) + "\n"
    if os.environ.get("TRILITH_GOLDEN") == "write":
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text()


def test_the_same_batch_again_changes_nothing(filled: Memory) -> None:
    before = filled.dump()
    run(filled, BATCH)
    assert filled.dump() == before


@pytest.mark.parametrize("size", [1, 2, 3])
def test_any_order_and_any_cut_of_the_batch_ends_in_the_same_rows(filled: Memory, size: int) -> None:
    roots_first = list(reversed(BATCH))
    memory = Memory()
    for start in range(0, len(roots_first), size):
        run(memory, roots_first[start : start + size])
    assert memory.dump() == filled.dump()


def _rule(
    cidr: str = "", low: int = -1, high: int | None = None, protocol: str = "tcp", ingress: bool = True
) -> RuleSpec:
    return RuleSpec(id="r", ingress=ingress, ethertype="IPv4", protocol=protocol, port_min=low,
                    port_max=low if high is None else high, remote_cidr=cidr)  # fmt: skip


def test_rules_that_differ_in_one_value_share_rows_and_say_the_same() -> None:
    """Each rule's own meaning is in exactly one row, and no row says more than its rules."""
    rules = [
        *(_rule(f"192.0.2.{n}/32", 443) for n in range(1, 200)),
        *(_rule("", 1000 + n) for n in range(600)),
        *(_rule("198.51.100.0/24", 2000 + n) for n in range(20)),
        # alike, but not to be merged: no port, a range, both directions, a remote that is everybody
        _rule("198.51.100.0/24"),
        _rule("198.51.100.0/24", 2000, 2100),
        _rule("198.51.100.0/24", 2000, ingress=False),
        _rule("0.0.0.0/0", 443),
        _rule("", 22, protocol="udp"),
        _rule("192.0.2.1/32", 8, 0, protocol="icmp"),
        _rule("192.0.2.1/32", protocol=""),
    ]
    meant = set()
    for group in merged(rules):
        text = match("g", *group)
        prefixes = re.findall(r"\d+\.\d+\.\d+\.\d+/\d+", text)
        ports = re.findall(r"dst == {?([\d, ]+)", text)
        ends = ports[0].split(", ") if ports else [",".join(re.findall(r"dst [<>]= (\d+)", text))]
        said = {(group[0].ingress, group[0].protocol, p, e) for p in prefixes or [""] for e in ends}
        assert len(said) == len(group), text
        assert not meant & said
        meant |= said
    assert len(meant) == len(rules)
    assert len(list(merged(rules))) < 450  # of 826
    # one rule more is one row changed
    before = {match("g", *g) for g in merged(rules)}
    after = {match("g", *g) for g in merged([*rules, _rule("203.0.113.7/32", 443)])}
    assert (len(before - after), len(after - before)) in ((1, 1), (0, 1))
    # in any order the same
    assert {match("g", *g) for g in merged(rules[::-1])} == before


def test_an_older_revision_is_skipped(filled: Memory) -> None:
    before = filled.dump()
    older = [Ensure(noun=replace(noun, revision=0)) for noun in (WEB, GROUP, PRIVATE, ROUTER)]
    assert compose(filled, older, cloud="cloud-1") == []
    assert filled.dump() == before


def test_every_change_of_a_stored_noun_is_guarded(filled: Memory) -> None:
    operations = compose(filled, BATCH, cloud="cloud-1", gateway_chassis=("n1", "n2"))
    # and the drop group, which another writer may take away
    assert sum(op["op"] == "wait" for op in operations) == len(BATCH) + 1


def test_the_last_word_of_a_batch_counts() -> None:
    memory = Memory()
    run(memory, BATCH)
    run(memory, [Ensure(noun=replace(FREE, revision=9)), Remove(kind="port", id=FREE.id)])
    assert "port-free" not in json.dumps(memory.dump())
    run(memory, [Remove(kind="port", id=FREE.id), Ensure(noun=FREE)])
    assert "port-free" in json.dumps(memory.dump())


def _removals() -> list[Change]:
    return [
        Remove(kind="network", id="net-private"),
        Remove(kind="network", id="net-public"),
        Remove(kind="router", id="router-1"),
        Remove(kind="security_group", id="sg-web"),
        Remove(kind="security_group", id="sg-stateless"),
        *(Remove(kind="port", id=port.id) for port in (WEB, FREE, BARE)),
    ]


def test_removing_all_leaves_nothing(filled: Memory) -> None:
    run(filled, _removals())
    assert filled.dump() == {}
    run(filled, _removals())
    assert filled.dump() == {}


def test_removing_the_networks_alone_takes_the_drop_group_along(filled: Memory) -> None:
    run(filled, [c for c in _removals() if isinstance(c, Remove) and c.kind != "port"])
    assert filled.dump() == {}


def test_the_drop_group_stays_as_long_as_one_port_is_in_it(filled: Memory) -> None:
    def drops() -> list[object]:
        return [g["ports"] for g in filled.dump()["Port_Group"] if str(g["name"]).startswith("trilith_drop")]

    run(filled, [Remove(kind="port", id=WEB.id)])
    assert drops() == [["Logical_Switch_Port: port-bare"]]
    # the last one goes as another comes: the group stays
    run(filled, [Remove(kind="port", id=BARE.id), Ensure(noun=replace(WEB, revision=9))])
    assert drops() == [["Logical_Switch_Port: port-web"]]
    run(filled, [Ensure(noun=replace(WEB, revision=10, security_groups=(), port_security=False))])
    assert drops() == []
    run(filled, [Ensure(noun=replace(WEB, revision=11))])
    assert drops() == [["Logical_Switch_Port: port-web"]]


def test_a_network_that_is_down_takes_all_its_ports_down(filled: Memory) -> None:
    def enabled() -> dict[str, object]:
        return {str(p["name"]): p["enabled"] for p in filled.dump()["Logical_Switch_Port"]}

    up = enabled()
    run(filled, [Ensure(noun=replace(PRIVATE, revision=4, admin_up=False))])
    on_it = {"port-web", "port-free", "port-bare", "port-r-in", "port-metadata"}
    assert {name for name, value in enabled().items() if value == [False]} >= on_it & set(up)
    # what is changed meanwhile stays down, and a port's own word is kept
    run(filled, [Ensure(noun=replace(WEB, revision=9, admin_up=False)), Ensure(noun=replace(ROUTER, revision=9))])
    assert enabled()["port-web"] == [False]
    run(filled, [Ensure(noun=replace(PRIVATE, revision=5))])
    assert enabled() == up | {"port-web": [False]}


def test_removing_a_network_takes_its_ports_along(filled: Memory) -> None:
    run(filled, [Remove(kind="router", id="router-1"), Remove(kind="network", id="net-private")])
    left = filled.dump()
    assert {row["name"] for row in left["Logical_Switch_Port"]} == {"ln-net-public"}
    assert "DHCP_Options" not in left
    assert "DNS" not in left


def test_what_a_network_loses_goes(filled: Memory) -> None:
    plain = replace(PRIVATE, revision=4, subnets=PRIVATE.subnets[2:], names=(), metadata_port_id="")
    run(filled, [Ensure(noun=plain)])
    left = filled.dump()
    assert "DNS" not in left
    assert [row["external_ids"]["trilith:kind"] for row in left["DHCP_Options"]] == ["port-dhcp"]  # type: ignore[index]
    assert "port-metadata" not in json.dumps(left)
    assert all(not row["ipv6_ra_configs"] for row in left["Logical_Router_Port"])


def test_a_router_that_loses_an_interface_leaves_its_network(filled: Memory) -> None:
    run(filled, [Ensure(noun=replace(ROUTER, revision=5, gateway=None, nats=()))])
    left = filled.dump()
    assert "NAT" not in left
    assert "Gateway_Chassis" not in left
    assert "port-r-out" not in json.dumps(left)


def test_a_port_leaves_the_groups_that_it_no_longer_names(filled: Memory) -> None:
    run(filled, [Ensure(noun=replace(WEB, revision=6, security_groups=()))])
    members = {row["name"]: row.get("ports") for row in filled.dump()["Port_Group"]}
    assert members["pg_sg_web"] == []
    assert [m for name, m in members.items() if name.startswith("trilith_drop")] == [  # type: ignore[attr-defined]
        ["Logical_Switch_Port: port-bare", "Logical_Switch_Port: port-web"]
    ]


def test_a_port_before_its_group_gets_an_empty_one() -> None:
    memory = Memory()
    run(memory, [Ensure(noun=PRIVATE), Ensure(noun=WEB)])
    group = next(row for row in memory.dump()["Port_Group"] if row["name"] == "pg_sg_web")
    assert group["external_ids"]["trilith:revision"] == "-1"  # type: ignore[index]
    run(memory, [Ensure(noun=GROUP)])
    group = next(row for row in memory.dump()["Port_Group"] if row["name"] == "pg_sg_web")
    assert group["ports"] == ["Logical_Switch_Port: port-web"]


def test_refusals(filled: Memory) -> None:
    with pytest.raises(Missing):
        run(Memory(), [Ensure(noun=WEB)])
    with pytest.raises(Conflict):
        run(filled, [Remove(kind="port", id=WEB.id)], cloud="cloud-2")
    with pytest.raises(Invalid):
        run(filled, [Remove(kind="volume", id="x")])
    with pytest.raises(Unsupported):
        run(filled, [Ensure(noun=replace(WEB, revision=9, dhcp_options=(("nonsense", "1", 4),)))])
