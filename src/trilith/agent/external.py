"""The default external network: a bridge with the host's own address, masquerade, and forwarded DNS.

The host's NIC is not touched: the bridge holds no NIC, packets leave by routing. What was switched on for it
(forwarding) is remembered and switched off again.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from trilith.agent.supervise import DaemonSpec
from trilith.drivers.ovn.tools import run
from trilith.errors import Invalid
from trilith.model.network import DEFAULT_DOMAIN

_FORWARD = "/proc/sys/net/ipv4/ip_forward"
#: Of the bridge alone (arp(7)): a question put while the switch starts is asked again after 0.1 s, not after 1 s, and
#: as long as by default, 3 s. Floating IPs answer that much sooner after the switch was made anew.
_NEIGHBOURS = {"retrans_time_ms": 100, "mcast_solicit": 30, "ucast_solicit": 30}
_RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalNetwork:
    """address: the host's own on the bridge, with its prefix length ("172.24.4.1/24")."""

    cloud_id: str
    state_dir: Path
    bridge: str = "br-ex"
    address: str = "172.24.4.1/24"
    netns: str = ""
    offload: bool = False  # false on the userspace datapath, where a TCP checksum left to the device stays undone

    @property
    def interface(self) -> ipaddress.IPv4Interface:
        try:
            return ipaddress.IPv4Interface(self.address)
        except ValueError as error:
            raise Invalid(f"The external network's address {self.address!r}: {error}.", field="address") from error

    @property
    def table(self) -> str:
        return "trilith_" + hashlib.sha256(self.cloud_id.encode()).hexdigest()[:8]

    @property
    def _memory(self) -> Path:
        return self.state_dir / "external.json"

    async def up(self) -> None:
        """Address, link, forwarding, masquerade. Idempotent; run again whenever the bridge was made anew."""
        net, ns = str(self.interface), self.netns
        if not self.offload:
            await run(["ethtool", "-K", self.bridge, "tx", "off"], netns=ns)
        await run(["ip", "address", "replace", net, "dev", self.bridge], netns=ns)
        for name, value in _NEIGHBOURS.items():
            await run(["tee", f"/proc/sys/net/ipv4/neigh/{self.bridge}/{name}"], netns=ns, stdin=f"{value}\n")
        await run(["ip", "link", "set", self.bridge, "up"], netns=ns)
        before = (await run(["cat", _FORWARD], netns=ns)).strip()
        if before == "0":
            await asyncio.to_thread(self._remember, before)
            await run(["tee", _FORWARD], netns=ns, stdin="1\n")
        await run(["nft", "-f", "-"], netns=ns, stdin=self.rules())

    async def down(self) -> None:
        """Undo what `up` did to the host. The bridge itself goes with the switch. Idempotent."""
        ns = self.netns
        # declared first: deleting a table that is not there would be an error
        await run(["nft", "-f", "-"], netns=ns, stdin=f"table ip {self.table} {{}}\ndelete table ip {self.table}\n")
        before = await asyncio.to_thread(self._recall)
        if before is not None:
            await run(["tee", _FORWARD], netns=ns, stdin=f"{before}\n")
            await asyncio.to_thread(self._memory.unlink, missing_ok=True)

    def rules(self) -> str:
        """The nftables script; one transaction, so there is no moment without rules."""
        table, bridge, cidr = self.table, self.bridge, self.interface.network
        return f"""\
table ip {table} {{}}
delete table ip {table}
table ip {table} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {cidr} oifname != "{bridge}" masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    oifname "{bridge}" iifname != "{bridge}" ct state new drop
  }}
}}
"""

    def dns(self, *, run_dir: Path, log_dir: Path, depends_on: tuple[str, ...]) -> DaemonSpec | None:
        """dnsmasq on the bridge's address, forwarding to the host's real resolvers; None if it has none."""
        upstream = resolver_file()
        if upstream is None:
            return None
        pidfile = run_dir / "dnsmasq.pid"
        address = str(self.interface.ip)
        return DaemonSpec(
            name="dnsmasq",
            argv=(
                "dnsmasq",
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-hosts",
                "--bind-interfaces",
                "--except-interface=lo",
                f"--listen-address={address}",
                f"--resolv-file={upstream}",
                # names and addresses of guests are OVN's to answer: what it leaves (AAAA of a guest with IPv4 only, the
                # reverse of a private address) is unknown to the world, which may take seconds to say so
                "--domain-needed",
                "--bogus-priv",
                f"--local=/{DEFAULT_DOMAIN}/",
                "--cache-size=1000",
                f"--pid-file={pidfile}",
                "--log-facility=-",
            ),
            ready=pidfile,
            log=log_dir / "dnsmasq.log",
            depends_on=depends_on,
            netns=self.netns,
        )

    def _remember(self, before: str) -> None:
        """Written before the switch is turned; kept from an earlier run that had no chance to undo it."""
        if not self._memory.exists():
            partial = self._memory.with_suffix(".tmp")
            partial.write_text(json.dumps({"ip_forward": before}))
            partial.rename(self._memory)

    def _recall(self) -> str | None:
        try:
            return str(json.loads(self._memory.read_text())["ip_forward"])
        except FileNotFoundError:
            return None


def resolver_file(files: tuple[Path, ...] = _RESOLVERS) -> Path | None:
    """The first resolv.conf with a name server that is not a stub on loopback (systemd-resolved's 127.0.0.53)."""
    for path in files:
        try:
            lines = path.read_text().splitlines()
        except FileNotFoundError:
            continue
        servers = [line.split()[1] for line in lines if line.startswith("nameserver") and len(line.split()) > 1]
        real = [s for s in servers if not ipaddress.ip_address(s.partition("%")[0]).is_loopback]
        if real and len(real) == len(servers):
            return path
    return None
