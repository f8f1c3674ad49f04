"""Sources that send a byte now and then: who imports from them keeps nobody else from his work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.api.compute_calls import member
from tests.api.conftest import ApiCloud
from tests.api.test_image_images import make

#: more than the engine runs at once, and more than a pool of threads has
_MANY = 40


@pytest.fixture
async def drip() -> AsyncIterator[str]:
    """A web server whose answer never ends."""
    tasks: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.2)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/image"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_slow_imports_stop_neither_servers_nor_threads(cloud: ApiCloud, drip: str) -> None:
    """Regression: six of them took all threads of the process, thirty-two all places of the job engine."""
    object.__setattr__(cloud.cloud.settings, "image_import_allow", ("127.0.0.1/32",))
    alice, bob = await cloud.member(), await member(cloud, "bob", "beta")
    body = {"method": {"name": "web-download", "uri": drip}}
    ids = [(await make(cloud, alice))["id"] for _ in range(_MANY)]
    for image_id in ids:
        made = await cloud.call("POST", f"/image/v2/images/{image_id}/import", alice, json=body)
        assert made.status_code == 202, made.text
    async with asyncio.timeout(10):
        await asyncio.to_thread(int)
        await bob.boot("quick")
    for image_id in ids:
        assert (await cloud.call("DELETE", f"/image/v2/images/{image_id}", alice)).status_code == 204
