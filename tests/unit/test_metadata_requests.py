"""What guests may send to the metadata service: anything. Each request has an answer or an end, and none a trace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from trilith.agent import metadata_service
from trilith.agent.metadata_service import MetadataService
from trilith.drivers.ovn.local import OvsLocalSwitch
from trilith.errors import Backend
from trilith.model.instance import InstanceData, InstanceNic
from trilith.model.plan import MetadataEndpoint

ENDPOINT = MetadataEndpoint(network_id="n", port_id="p", mac="fa:16:3e:00:00:01", mtu=1442, addresses=())
SERVER = InstanceData(uuid="u", name="web", hostname="web", project_id="p")


@dataclass
class Desk:
    """The service's answers at a loopback port; traces: what nobody caught."""

    port: int
    traces: list[Any] = field(default_factory=list)

    async def ask(self, *parts: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.02)
            async with asyncio.timeout(5):
                return await reader.read()
        finally:
            writer.close()


async def _posted(server_id: str, password: bytes) -> None:
    raise AssertionError


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    service = MetadataService(cast(OvsLocalSwitch, None), posted=_posted)
    service._networks["n"] = metadata_service._Network(ENDPOINT, owners={"127.0.0.1": SERVER})
    server = await asyncio.start_server(lambda r, w: service._connected("n", r, w), "127.0.0.1", 0)
    made = Desk(server.sockets[0].getsockname()[1])
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: made.traces.append(context))
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()
        loop.set_exception_handler(None)
    assert not made.traces


async def test_a_request_in_pieces_is_one_request(desk: Desk) -> None:
    answer = await desk.ask(b"GET /openstack/la", b"test/meta_da", b"ta.json HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"uuid": "u"' in answer


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET http://169.254.169.254 HTTP/1.1", b"200"),
        (b"GET http:// HTTP/1.1", b"400"),
        (b"GET /openstack/content/%C2%B2%C2%B2%C2%B2%C2%B2 HTTP/1.1", b"404"),
        (b"GET /\xff\xfe HTTP/1.1", b"400"),
        (b"GET /openstack/latest/meta_data.json HTTP/1.1\r\n\r\nGET /nowhere HTTP/1.1", b"200"),
        (b"OPTIONS * HTTP/1.1", b"405"),
        (b"CONNECT a:1 HTTP/1.1", b"405"),
    ],
)
async def test_strange_requests_are_answered(desk: Desk, request_line: bytes, status: bytes) -> None:
    answer = await desk.ask(request_line + b"\r\nHost: x\r\n\r\n")
    assert answer[9:12] == status, answer


async def test_a_network_that_does_not_open_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: the first of the two sockets stayed, and with it the address: no later try could have it."""
    import socket

    made: list[socket.socket] = []

    async def namespace(*_args: object, **_more: object) -> str:
        return "ns"

    async def listen(_name: str, host: str, _port: int) -> socket.socket:
        if made:
            raise Backend("no IPv6 here")
        made.append(socket.create_server(("127.0.0.1", 0)))
        return made[0]

    monkeypatch.setattr(metadata_service, "ensure_metadata_namespace", namespace)
    monkeypatch.setattr(metadata_service, "listen_in_namespace", listen)
    service = MetadataService(cast(OvsLocalSwitch, None), posted=_posted)
    nic = InstanceNic(port_id="p", network_id="n", mac="fa:16:3e:00:00:02", link="t", mtu=1442, addresses=())
    with pytest.raises(Backend):
        await service.serve(
            InstanceData(uuid="u", name="w", hostname="w", project_id="p", networks=(nic,)), (ENDPOINT,)
        )
    assert made[0].fileno() == -1
