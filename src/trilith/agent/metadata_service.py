"""The metadata service: 169.254.169.254 and fe80::a9fe:a9fe on every network that has servers of this node.

Who asks is told by the network whose namespace the connection came in and by its source address, which OVN checks
against spoofing. Nothing a client sends (X-Forwarded-For and the like) is believed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

import httptools
import structlog

from trilith.agent import instance_metadata
from trilith.drivers.ovn.local import OvsLocalSwitch
from trilith.drivers.ovn.metadata_ns import (
    ensure_metadata_namespace,
    list_metadata_namespaces,
    listen_in_namespace,
    remove_metadata_namespace,
)
from trilith.errors import Backend, Conflict, Invalid, TrilithError
from trilith.model.instance import InstanceData
from trilith.model.plan import MetadataEndpoint

log = structlog.get_logger("metadata")

_PORT = 80
#: seconds for one request; connections at once and bytes of a request, so that a guest cannot hold the agent
_TIMEOUT = 10.0
_CONNECTIONS = 64
_MAX_REQUEST = 16 * 1024


@dataclass
class _Network:
    endpoint: MetadataEndpoint
    servers: list[asyncio.Server] = field(default_factory=list)
    #: source address → the server that owns it on this network
    owners: dict[str, InstanceData] = field(default_factory=dict)
    connections: int = 0


class MetadataService:
    """One a node. linger: seconds that a network without servers of this node stays open, since making its namespace
    costs the next server several hundred milliseconds. posted: keeps the password that a server posts, with its id."""

    def __init__(
        self,
        switch: OvsLocalSwitch,
        *,
        posted: Callable[[str, bytes], Awaitable[None]],
        netns: str = "",
        linger: float = 0.0,
    ) -> None:
        self._switch = switch
        self._netns = netns
        self._linger = linger
        self._posted = posted
        self._closing: dict[str, asyncio.Task[None]] = {}  # network → its end, unless a server comes before
        self._networks: dict[str, _Network] = {}
        self._lock = asyncio.Lock()

    async def serve(self, instance: InstanceData, endpoints: tuple[MetadataEndpoint, ...]) -> None:
        """Answer for this server on its networks, from now on. Raises Backend."""
        async with self._lock:
            for endpoint in endpoints:
                self._keep(endpoint.network_id)
                network = self._networks.get(endpoint.network_id)
                if network is None or network.endpoint != endpoint:
                    network = await self._open(endpoint, network)
                self._drop(network, instance.uuid)
                for nic in instance.networks:
                    if nic.network_id == endpoint.network_id:
                        network.owners |= {a.address: instance for a in nic.addresses}
                        network.owners[_link_local(nic.mac)] = instance

    async def forget(self, server_id: str) -> None:
        """No more answers for this server; a network without servers of this node is closed."""
        async with self._lock:
            for network_id, network in list(self._networks.items()):
                self._drop(network, server_id)
                if not network.owners and self._linger and network_id not in self._closing:
                    task = asyncio.create_task(self._close_later(network_id), name=f"metadata-close-{network_id}")
                    self._closing[network_id] = task
                elif not network.owners and not self._linger:
                    await self._end(network_id)

    async def _close_later(self, network_id: str) -> None:
        await asyncio.sleep(self._linger)
        async with self._lock:
            if self._closing.pop(network_id, None) is not asyncio.current_task():
                return  # a server came while we waited for the lock
            try:
                await self._end(network_id)
            except TrilithError as err:  # the next start's sweep removes it
                log.warning("a metadata namespace could not be removed", network=network_id, error=str(err))

    async def _end(self, network_id: str) -> None:
        await self._close(self._networks.pop(network_id))
        await remove_metadata_namespace(self._switch, network_id, netns=self._netns)

    def _keep(self, network_id: str) -> None:
        task = self._closing.pop(network_id, None)
        if task is not None:
            task.cancel()

    def forget_all(self) -> None:
        for network_id in list(self._closing):
            self._keep(network_id)
        self._networks.clear()

    async def sweep(self) -> None:
        """Remove the namespaces of networks that nobody here needs (left by a crash)."""
        for network_id in await list_metadata_namespaces(self._switch):
            if network_id not in self._networks:
                await remove_metadata_namespace(self._switch, network_id, netns=self._netns)

    async def close(self) -> None:
        """Stop answering. The namespaces stay, for the next start."""
        closing, self._closing = list(self._closing.values()), {}
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
        for network in self._networks.values():
            await self._close(network)
        self._networks.clear()

    async def _open(self, endpoint: MetadataEndpoint, old: _Network | None) -> _Network:
        name = await ensure_metadata_namespace(
            self._switch,
            endpoint.network_id,
            endpoint.port_id,
            endpoint.mac,
            endpoint.addresses,
            endpoint.mtu,
            netns=self._netns,
        )
        network = _Network(endpoint)
        if old is not None:
            network.owners, network.servers = old.owners, old.servers
        if not network.servers:
            try:
                for host in ("0.0.0.0", "::"):  # inside the network's own namespace
                    sock = await listen_in_namespace(name, host, _PORT)
                    network.servers.append(
                        await asyncio.start_server(
                            lambda r, w, network_id=endpoint.network_id: self._connected(network_id, r, w),  # type: ignore[misc]
                            sock=sock,
                            limit=_MAX_REQUEST,
                        )
                    )
            except BaseException:
                await self._close(network)  # nobody knows of it, and it would have the address for ever
                raise
        self._networks[endpoint.network_id] = network
        return network

    async def _close(self, network: _Network) -> None:
        for server in network.servers:
            server.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(server.wait_closed(), 2.0)
        network.servers = []

    @staticmethod
    def _drop(network: _Network, server_id: str) -> None:
        for address in [a for a, i in network.owners.items() if i.uuid == server_id]:
            del network.owners[address]

    async def _connected(self, network_id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        network = self._networks.get(network_id)
        try:
            if network is None or network.connections >= _CONNECTIONS:
                return
            network.connections += 1
            try:
                async with asyncio.timeout(_TIMEOUT):
                    await self._answer(network, reader, writer)
            finally:
                network.connections -= 1
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # a client that went away, or said nothing sensible in time
        finally:
            writer.close()

    async def _answer(self, network: _Network, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = _Request()
        parser = httptools.HttpRequestParser(request)
        size = 0
        while not request.complete:
            data = await reader.read(4096)
            size += len(data)
            if not data or size > _MAX_REQUEST:
                return
            try:
                parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                request.complete = True  # the offer of another protocol is not taken up
            except httptools.HttpParserError:
                return _write(writer, 400, b"400 Bad Request", "text/plain")
        instance = network.owners.get(_source(writer))
        method = parser.get_method().decode()
        path = _path(bytes(request.url), method)
        if path is None:
            _write(writer, 400, b"400 Bad Request", "text/plain")
        elif method not in ("GET", "HEAD") and not (method == "POST" and instance_metadata.takes_password(path)):
            _write(writer, 405, b"405 Method Not Allowed", "text/plain")
        elif instance is None:
            _write(writer, 404, b"404 Not Found: no server of this network has this address", "text/plain")
        elif method == "POST":
            await self._post(writer, instance, bytes(request.body))
        else:
            found = instance_metadata.resolve(instance, path)
            if found is None:
                _write(writer, 404, b"404 Not Found", "text/plain")
            else:
                body = found if isinstance(found, bytes) else found.render()
                _write(writer, 200, body, instance_metadata.media_type(path), head=method == "HEAD")
        await writer.drain()

    async def _post(self, writer: asyncio.StreamWriter, instance: InstanceData, password: bytes) -> None:
        """As Nova: once, and again only after the user has cleared it."""
        try:
            if instance.password:
                raise Conflict("There is a password.")
            await self._posted(instance.uuid, password)
        except Conflict:
            _write(writer, 409, b"409 Conflict: there is a password; the API clears it", "text/plain")
        except Invalid as error:
            _write(writer, 400, f"400 Bad Request: {error.message}".encode(), "text/plain")
        except TrilithError as error:
            log.warning("a posted password was not kept", server=instance.uuid, error=str(error))
            _write(writer, 503, b"503 Service Unavailable: try again", "text/plain")
        else:
            _write(writer, 200, b"", "text/plain")


class _Request:
    def __init__(self) -> None:
        self.url = bytearray()  # comes in as many pieces as the request does
        self.body = bytearray()  # bounded with the whole request
        self.complete = False

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self.body += data

    def on_url(self, url: bytes) -> None:
        if not self.complete:  # what a client sends after its request is not looked at
            self.url += url

    def on_message_complete(self) -> None:
        self.complete = True


def _path(url: bytes, method: str) -> str | None:
    """Of an absolute URL, too; None for what is no URL."""
    if method == "CONNECT":
        return "/"  # its URL is a host, and it is refused by its name
    try:
        return unquote((httptools.parse_url(url).path or b"/").decode())
    except (httptools.HttpParserError, ValueError):
        return None


_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    503: "Service Unavailable",
}


def _write(writer: asyncio.StreamWriter, status: int, body: bytes, media_type: str, *, head: bool = False) -> None:
    lines = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {media_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(lines.encode() + (b"" if head else body))


def _source(writer: asyncio.StreamWriter) -> str:
    peer = writer.get_extra_info("peername")
    try:
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    except (TypeError, ValueError) as err:
        raise Backend(f"A metadata connection has no source address: {peer}.") from err
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def _link_local(mac: str) -> str:
    """The EUI-64 address that a guest asks from when it has nothing else (RFC 4291, appendix A)."""
    digits = bytes.fromhex(mac.replace(":", ""))
    suffix = bytes([digits[0] ^ 2, *digits[1:3], 0xFF, 0xFE, *digits[3:]])
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + suffix))
