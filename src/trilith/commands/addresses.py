"""IP and MAC addresses: chosen without reading the subnet's whole list, kept apart by unique rows."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from trilith.commands.network_faults import (
    IpAddressAlreadyAllocated,
    IpAddressGenerationFailure,
    MacAddressInUse,
)
from trilith.model.network import AllocationPool, IpAddress, MacAddress, Subnet
from trilith.model.record import Record
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Tx, new_id

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Neutron's base_mac: the OUI of OpenStack guests
MAC_PREFIX = "fa:16:3e"
#: how far into a pool a random start may lie: keeps IPv6 addresses short to read
_WINDOW = 1 << 16
#: positions beyond do not fit the column
_POSITIONS = 1 << 62
#: addresses lost to other writers in a row before it is called a failure
_ATTEMPTS = 32
#: modes in which a guest makes its own address from its MAC (RFC 4862)
AUTO_MODES = ("slaac", "dhcpv6-stateless")


def is_auto(subnet: Subnet) -> bool:
    return subnet.ip_version == 6 and subnet.ipv6_address_mode in AUTO_MODES


def default_pools(network: Network, gateway: str) -> tuple[AllocationPool, ...]:
    """All host addresses but the gateway's: one pool, or two around it."""
    first, last = int(network.network_address), int(network.broadcast_address)
    hosts = network.max_prefixlen - network.prefixlen
    if hosts > 1:
        first += 1
        if network.version == 4:
            last -= 1
    ranges = [(first, last)]
    if gateway and ipaddress.ip_address(gateway) in network:
        at = int(ipaddress.ip_address(gateway))
        ranges = [r for low, high in ranges for r in ((low, min(high, at - 1)), (max(low, at + 1), high))]
    make = type(network.network_address)
    return tuple(AllocationPool(start=str(make(low)), end=str(make(high))) for low, high in ranges if low <= high)


def eui64(cidr: str, mac: str) -> str:
    """The address that a guest with this MAC makes itself in the prefix (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    interface = bytes((octets[0] ^ 2, octets[1], octets[2], 0xFF, 0xFE, *octets[3:]))
    return str(ipaddress.ip_network(cidr)[0] + int.from_bytes(interface))


def random_mac() -> str:
    return ":".join((MAC_PREFIX, *(f"{b:02x}" for b in secrets.token_bytes(3))))


def claim_mac(tx: Tx, network_id: str, port_id: str, mac: str = "") -> str:
    """A MAC unique on the network. Raises MacAddressInUse for a given one that is taken."""
    for _ in range(1 if mac else _ATTEMPTS):
        wanted = mac.lower() or random_mac()
        if insert_if_free(tx, MacAddress(id=new_id(), network_id=network_id, mac=wanted, port_id=port_id)):
            return wanted
    raise MacAddressInUse(
        f"Unable to complete operation for network {network_id}. The mac address {mac or MAC_PREFIX} is in use.",
        field="mac_address",
    )


def claim(tx: Tx, subnet: Subnet, port_id: str, address: str) -> None:
    """This very address. Raises IpAddressAlreadyAllocated."""
    if not insert_if_free(tx, _row(subnet, port_id, ipaddress.ip_address(address))):
        raise IpAddressAlreadyAllocated(
            f"IP address {address} already allocated in subnet {subnet.id}", field="fixed_ips"
        )


def allocate(tx: Tx, subnet: Subnet, port_id: str, *, lowest: bool = False) -> str:
    """The next free address of the pools after a random start (lowest: after the pool's first).

    Raises IpAddressGenerationFailure when none is left.
    """
    base = int(ipaddress.ip_network(subnet.cidr).network_address)
    make = type(ipaddress.ip_network(subnet.cidr).network_address)
    ranges = [(int(ipaddress.ip_address(p.start)) - base, int(ipaddress.ip_address(p.end)) - base)
              for p in subnet.pools]  # fmt: skip
    ranges = [(low, min(high, _POSITIONS - 1)) for low, high in ranges if low < _POSITIONS]
    if not lowest and len(ranges) > 1:
        at = secrets.randbelow(len(ranges))
        ranges = ranges[at:] + ranges[:at]
    for low, high in ranges:
        start = low if lowest else low + secrets.randbelow(min(high - low + 1, _WINDOW))
        # optimistic first: with a random start in a roomy pool the very first guess is nearly always free
        guess: int | None = start
        for _ in range(_ATTEMPTS):
            if guess is None:
                break
            address = make(base + guess)
            if insert_if_free(tx, _row(subnet, port_id, address)):
                return str(address)
            guess = _gap(tx, subnet.id, start, high)
            if guess is None and start > low:
                guess = _gap(tx, subnet.id, low, start - 1)
    raise IpAddressGenerationFailure(f"No more IP addresses available on network {subnet.network_id}.")


def release(tx: Tx, port_ids: Sequence[str]) -> None:
    """Every address and MAC of the ports."""
    for cls in (IpAddress, MacAddress):
        table = REGISTRY[cls].table
        tx.conn.execute(sa.delete(table).where(table.c.port_id.in_(port_ids)))


def release_ip(tx: Tx, subnet_id: str, address: str) -> None:
    table = REGISTRY[IpAddress].table
    tx.conn.execute(sa.delete(table).where(table.c.subnet_id == subnet_id, table.c.address == address))


def release_mac(tx: Tx, network_id: str, mac: str) -> None:
    table = REGISTRY[MacAddress].table
    tx.conn.execute(sa.delete(table).where(table.c.network_id == network_id, table.c.mac == mac))


def _row(subnet: Subnet, port_id: str, address: Address) -> IpAddress:
    position = int(address) - int(ipaddress.ip_network(subnet.cidr).network_address)
    return IpAddress(
        id=new_id(),
        subnet_id=subnet.id,
        address=str(address),
        port_id=port_id,
        position=position if position < _POSITIONS else -1,
    )


def _gap(tx: Tx, subnet_id: str, low: int, high: int) -> int | None:
    """The lowest free position in [low, high]: low itself, or the one after the first used that has none behind it."""
    table = REGISTRY[IpAddress].table
    used, after = table.alias("used"), table.alias("after")
    free_low = ~sa.exists().where(after.c.subnet_id == subnet_id, after.c.position == low)
    if tx.conn.execute(sa.select(free_low)).scalar_one():
        return low
    found = tx.conn.execute(
        sa.select(used.c.position + 1)
        .where(
            used.c.subnet_id == subnet_id,
            used.c.position >= low,
            used.c.position < high,
            ~sa.exists().where(after.c.subnet_id == subnet_id, after.c.position == used.c.position + 1),
        )
        .order_by(used.c.position)
        .limit(1)
    ).scalar()
    return None if found is None else int(found)


def insert_if_free(tx: Tx, record: Record) -> bool:
    """False where a unique rule forbids it. A plain INSERT would abort PostgreSQL's transaction."""
    mapped = REGISTRY[type(record)]
    record = replace(record, created_at=tx.now, updated_at=tx.now)
    values = {name: getattr(record, name) for name in mapped.fields if name != "seq"}
    insert = postgresql.insert if tx.conn.dialect.name == "postgresql" else sqlite.insert
    stmt = insert(mapped.table).values(values).on_conflict_do_nothing().inline()
    return bool(tx.conn.execute(stmt).rowcount == 1)
