"""Addresses without a database: pools, EUI-64, gaps between prefixes."""

from __future__ import annotations

import ipaddress
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilith.commands.addresses import default_pools, eui64, random_mac
from trilith.commands.network_faults import InvalidInput
from trilith.commands.subnet_pools import _first_free, compact
from trilith.commands.subnets import check_pools, parse_cidr
from trilith.model.network import AllocationPool


@pytest.mark.parametrize(
    ("cidr", "gateway", "pools"),
    [
        ("10.0.0.0/24", "10.0.0.1", [("10.0.0.2", "10.0.0.254")]),
        ("10.0.0.0/24", "", [("10.0.0.1", "10.0.0.254")]),
        ("10.0.0.0/24", "10.0.0.254", [("10.0.0.1", "10.0.0.253")]),
        ("10.0.0.0/24", "10.0.0.9", [("10.0.0.1", "10.0.0.8"), ("10.0.0.10", "10.0.0.254")]),
        ("10.0.0.0/24", "192.168.0.1", [("10.0.0.1", "10.0.0.254")]),
        ("10.0.0.0/30", "10.0.0.1", [("10.0.0.2", "10.0.0.2")]),
        ("10.0.0.0/31", "10.0.0.0", [("10.0.0.1", "10.0.0.1")]),
        ("10.0.0.7/32", "", [("10.0.0.7", "10.0.0.7")]),
        ("2001:db8::/64", "2001:db8::1", [("2001:db8::2", "2001:db8::ffff:ffff:ffff:ffff")]),
    ],
)
def test_default_pools(cidr: str, gateway: str, pools: list[tuple[str, str]]) -> None:
    found = default_pools(ipaddress.ip_network(cidr), gateway)
    assert [(p.start, p.end) for p in found] == pools


@given(st.integers(0, 2**32 - 1), st.integers(8, 30), st.integers(0, 2**22))
def test_default_pools_never_hold_the_gateway_or_the_edges(base: int, length: int, offset: int) -> None:
    network = ipaddress.ip_network((base >> (32 - length) << (32 - length), length))
    gateway = network[1 + offset % (network.num_addresses - 2)]
    pools = default_pools(network, str(gateway))
    size = sum(int(ipaddress.ip_address(p.end)) - int(ipaddress.ip_address(p.start)) + 1 for p in pools)
    assert size == network.num_addresses - 3
    # they are pools that a user could have given
    assert check_pools(network, pools, str(gateway)) == pools


def test_eui64_is_the_reference_example() -> None:
    # RFC 4291, appendix A: the universal bit is inverted, FF-FE goes in the middle
    assert eui64("fe80::/64", "34:56:78:9a:bc:de") == "fe80::3656:78ff:fe9a:bcde"


def test_macs_are_of_openstack_guests() -> None:
    made = {random_mac() for _ in range(200)}
    assert len(made) > 190
    assert all(m.startswith("fa:16:3e:") and len(m) == 17 for m in made)


@pytest.mark.parametrize("bad", ["10.0.0.5/24", "10.0.0.0", "x", "0.0.0.0/0", "127.0.0.0/8", "224.0.0.0/24", "1.2.3/8"])
def test_what_is_no_cidr(bad: str) -> None:
    with pytest.raises(InvalidInput):
        parse_cidr(bad)


def test_pools_come_out_in_order() -> None:
    given = [AllocationPool(start="10.0.0.50", end="10.0.0.60"), AllocationPool(start="10.0.0.2", end="10.0.0.9")]
    found = check_pools(ipaddress.ip_network("10.0.0.0/24"), given, "10.0.0.1")
    assert [p.start for p in found] == ["10.0.0.2", "10.0.0.50"]


@given(st.lists(st.integers(0, 255), unique=True, max_size=40), st.integers(25, 30))
def test_the_first_free_prefix_overlaps_nothing(taken: list[int], length: int) -> None:
    pool = ipaddress.ip_network("10.0.0.0/24")
    used = [ipaddress.ip_network(f"10.0.0.{i}/32") for i in taken]
    found = _first_free(pool, used, length)
    blocks = list(pool.subnets(new_prefix=length))
    free = [b for b in blocks if not any(u.overlaps(b) for u in used)]
    assert found == (free[0] if free else None)


def test_prefixes_of_one_version_are_merged() -> None:
    assert [str(p) for p in compact(["10.0.1.0/24", "10.0.0.0/24"])] == ["10.0.0.0/23"]
    for bad in ([], ["10.0.0.0/8", "2001:db8::/32"], ["10.0.0.1/8"]):
        with pytest.raises(InvalidInput):
            compact(bad)


def test_names_of_faults_are_neutrons() -> None:
    from trilith.commands import network_faults

    names = [n for n in vars(network_faults) if n[0].isupper()]
    assert len(names) > 60
    codes = {getattr(network_faults, n).code for n in names}
    assert codes == {"invalid", "missing", "conflict", "quota", "forbidden"}
    for one, other in itertools.combinations(names, 2):
        assert getattr(network_faults, one) is not getattr(network_faults, other)
