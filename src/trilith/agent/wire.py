"""The one path between controller and node: typed messages, msgpack in length-prefixed frames, over a stream.

On one machine the stream is a unix socket, on many it is mutual TLS; the code is the same. Every message carries the
version of its layout, so that a node may be a release behind.
"""

from __future__ import annotations

import asyncio
import struct

import msgspec

from trilith import errors
from trilith.model.guest import GuestEvent, GuestFacts, HostFacts

VERSION = 1
#: bytes; a frame over this is a broken or hostile peer
MAX_FRAME = 32 * 1024 * 1024
_LENGTH = struct.Struct(">I")


class Hello(msgspec.Struct, tag=True, frozen=True):
    """First message of an agent. drivers: compute capabilities by pillar, as the driver states them."""

    node: str
    cloud_id: str
    facts: HostFacts
    version: int = VERSION
    simulated: bool = False


class Request(msgspec.Struct, tag=True, frozen=True):
    """A node call. epoch is the job's claim: the agent refuses one that is older than it has seen for the resource."""

    id: int
    call: str
    args: msgspec.Raw
    resource: str = ""
    epoch: int = 0
    timeout: float = 60.0
    version: int = VERSION


class Cancel(msgspec.Struct, tag=True, frozen=True):
    id: int


class Result(msgspec.Struct, tag=True, frozen=True):
    id: int
    value: msgspec.Raw


class Failure(msgspec.Struct, tag=True, frozen=True):
    id: int
    code: str
    message: str
    hint: str = ""


class Progress(msgspec.Struct, tag=True, frozen=True):
    id: int
    percent: int
    note: str = ""


class Event(msgspec.Struct, tag=True, frozen=True):
    event: GuestEvent


class Report(msgspec.Struct, tag=True, frozen=True):
    """All guests on the node: at start, after events, every 30 s."""

    guests: list[GuestFacts]
    facts: HostFacts | None = None


Message = Hello | Request | Cancel | Result | Failure | Progress | Event | Report

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME:
        raise errors.TooLarge(f"A message of {len(body)} bytes is over the bound of {MAX_FRAME}.")
    return _LENGTH.pack(len(body)) + body


async def receive(reader: asyncio.StreamReader) -> Message | None:
    """The next message; None at the end of the stream. Raises Backend for what is no message of ours."""
    try:
        head = await reader.readexactly(4)
        (length,) = _LENGTH.unpack(head)
        if length > MAX_FRAME:
            raise errors.Backend(f"A peer announced a frame of {length} bytes.")
        return _decoder.decode(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except msgspec.MsgspecError as err:
        raise errors.Backend(f"A peer sent what is no message: {err}.") from err
