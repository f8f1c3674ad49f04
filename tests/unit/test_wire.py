"""Frames, the outbox of a stream, and the windows of its channels."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import msgspec
import pytest

from trilith import errors
from trilith.agent import wire
from trilith.agent.channels import CHANNELS


class Wires:
    """Two channels face to face, with a queue between."""

    def __init__(self) -> None:
        self.sent: list[wire.Message] = []
        self.ended: list[int] = []
        self.left, self.right = self._end(), self._end()

    def _end(self) -> wire.Channel:
        return wire.Channel(7, self, credit=wire.WINDOW, ended=self.ended.append)  # type: ignore[arg-type]

    def put(self, message: wire.Message) -> None:
        self.sent.append(message)

    def deliver(self, to: wire.Channel) -> int:
        """Everything sent so far; bytes of chunks among it."""
        taken, self.sent = self.sent, []
        for message in taken:
            assert isinstance(message, wire.Chunk | wire.Credit | wire.Resize | wire.Close)
            to.take(message)
        return sum(len(m.data) for m in taken if isinstance(m, wire.Chunk))


async def pair() -> tuple[asyncio.StreamReader, asyncio.StreamWriter, socket.socket]:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    return reader, writer, theirs


async def test_a_message_arrives_as_it_was_sent() -> None:
    reader = asyncio.StreamReader()
    message = wire.Open(3, "guest.shell", msgspec.Raw(msgspec.msgpack.encode({"server_id": "s"})))
    reader.feed_data(wire.encode(message) + wire.encode(wire.Chunk(3, b"\xff\x00")))
    assert await wire.receive(reader) == message
    assert await wire.receive(reader) == wire.Chunk(3, b"\xff\x00")
    reader.feed_eof()
    assert await wire.receive(reader) is None


@pytest.mark.parametrize("raw", [struct.pack(">I", wire.MAX_FRAME + 1), struct.pack(">I", 3) + b"\x81\xa1\xff"])
async def test_what_is_no_message_is_refused(raw: bytes) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(raw)
    with pytest.raises(errors.Backend):
        await wire.receive(reader)


def test_a_message_over_the_bound_is_not_sent() -> None:
    with pytest.raises(errors.TooLarge):
        wire.encode(wire.Chunk(1, bytes(wire.MAX_FRAME)))


async def test_a_peer_that_stalls_ends_the_outbox() -> None:
    _, writer, theirs = await pair()
    outbox = wire.Outbox(writer, stall=0.2)
    outbox.put(wire.Chunk(1, bytes(8 << 20)))
    with pytest.raises(errors.Backend, match="read nothing"):
        await outbox.run()
    assert writer.transport.is_closing()
    outbox.put(wire.Chunk(1, b"dropped"))
    theirs.close()


async def test_a_backlog_ends_the_outbox() -> None:
    _, writer, theirs = await pair()
    outbox = wire.Outbox(writer, backlog=4 << 20)
    running = asyncio.create_task(outbox.run())
    for _ in range(5):
        outbox.put(wire.Chunk(1, bytes(1 << 20)))
        await asyncio.sleep(0)
    with pytest.raises(errors.Backend, match="too slowly"):
        await running
    theirs.close()


async def test_a_sender_waits_for_the_reader() -> None:
    wires = Wires()
    sending = asyncio.create_task(wires.left.send(bytes(4 * wire.WINDOW)))
    await asyncio.sleep(0)
    assert wires.deliver(wires.right) == wire.WINDOW
    await asyncio.sleep(0)
    assert not wires.sent, "nothing goes out without credit"
    received = 0
    while not sending.done() or received < 4 * wire.WINDOW:
        received += len(await wires.right.receive())
        wires.deliver(wires.left)
        await asyncio.sleep(0)
        wires.deliver(wires.right)
    assert received == 4 * wire.WINDOW


async def test_a_peer_that_sends_without_credit_is_refused() -> None:
    wires = Wires()
    wires.right.take(wire.Chunk(7, bytes(wire.WINDOW)))
    with pytest.raises(errors.Backend, match="credit"):
        wires.right.take(wire.Chunk(7, b"x"))
    with pytest.raises(errors.Backend, match="credit"):
        wires.right.take(wire.Credit(7, wire.WINDOW + 1))


async def test_the_end_comes_after_the_last_bytes() -> None:
    wires = Wires()
    await wires.left.send(b"last words")
    wires.left.close(errors.Conflict("It stopped.", hint="Start it."))
    wires.deliver(wires.right)
    assert wires.right.closed
    assert await wires.right.receive() == b"last words"
    with pytest.raises(errors.Conflict, match="stopped"):
        await wires.right.receive()
    with pytest.raises(errors.Conflict):
        await wires.right.send(b"x")
    assert wires.ended == [7, 7], "each end once"
    wires.right.close()
    assert not wires.sent


async def test_an_orderly_end_and_a_sender_that_waits() -> None:
    wires = Wires()
    sending = asyncio.create_task(wires.left.send(bytes(2 * wire.WINDOW)))
    await asyncio.sleep(0)
    wires.sent.clear()
    wires.right.close(reason="The shell has ended.")
    wires.deliver(wires.left)
    with pytest.raises(errors.Conflict):
        await sending
    assert [part async for part in wires.left] == []
    assert wires.left.reason == "The shell has ended."


async def test_a_new_size_arrives() -> None:
    wires, sizes = Wires(), []
    wires.right.resized = lambda rows, cols: sizes.append((rows, cols))
    wires.left.resize(50, 120)
    wires.deliver(wires.right)
    assert sizes == [(50, 120)]


def test_every_channel_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "jobs.md").read_text()
    assert not [name for name, kind in CHANNELS.items() if f"| `{name}` | {kind.summary} |" not in text]
