"""This terminal joined to a stream of the cloud: binary frames both ways over a websocket, the keyboard raw.

Text frames are control: this side tells the size of its window as {"columns": N, "rows": N}.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import ssl
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from trilith import errors
from trilith.cli.native import Native

#: Ctrl-] as telnet and virsh have it
DETACH = b"\x1d"


def attach(native: Native, path: str, *, detach: bool, sized: bool) -> None:
    """Until the other end closes, stdin ends, or Ctrl-] (with `detach`). Raises errors of ours.

    sized: tell the other end this window's size, now and at each change.
    """
    size = shutil.get_terminal_size()
    query = "?" + urlencode({"columns": size.columns, "rows": size.lines}) if sized else ""
    url = native.websocket(path) + query
    with raw_terminal():
        asyncio.run(_attach(url, native, detach=detach, sized=sized))


async def _attach(url: str, native: Native, *, detach: bool, sized: bool) -> None:
    from websockets import exceptions as wire
    from websockets.asyncio.client import connect

    try:
        async with connect(
            url,
            additional_headers={"X-Auth-Token": native.token()},
            ssl=_tls(native) if url.startswith("wss:") else None,
            max_size=2**20,
            proxy=None,
        ) as socket:
            await _pump(socket, detach=detach, sized=sized)
    except wire.InvalidStatus as err:
        raise _refused(err.response.status_code, bytes(err.response.body or b"")) from err
    except (wire.InvalidHandshake, wire.InvalidMessage) as err:
        raise errors.Backend(f"The console's stream did not open: {err}") from err
    except wire.ConnectionClosedError as err:
        # 1008 and 4xxx carry the cloud's own words
        said = err.rcvd.reason if err.rcvd is not None else ""
        raise errors.Backend(said or "The connection broke.", hint="The server goes on; connect again.") from err
    except OSError as err:
        raise errors.Backend(f"The console's stream did not open: {err}", hint="Is the cloud up?") from err


async def _pump(socket: Any, *, detach: bool, sized: bool) -> None:
    loop = asyncio.get_running_loop()
    keys: asyncio.Queue[bytes | None] = asyncio.Queue(256)
    stdin = sys.stdin.fileno()

    def typed() -> None:
        if keys.full():
            return  # what is not read stays in the terminal's own buffer
        try:
            data = os.read(stdin, 4096)
        except BlockingIOError:
            return
        if detach and DETACH in data:
            data, end = data.partition(DETACH)[0], True
        else:
            end = not data
        if data:
            keys.put_nowait(data)
        if end:
            loop.remove_reader(stdin)
            keys.put_nowait(None)

    async def up() -> None:
        while (data := await keys.get()) is not None:
            await socket.send(data)

    async def down() -> None:
        async for frame in socket:
            if isinstance(frame, bytes):
                await asyncio.to_thread(_write, frame)

    resized = asyncio.Event()

    async def sizes() -> None:
        while True:
            await resized.wait()
            resized.clear()
            size = shutil.get_terminal_size()
            await socket.send(json.dumps({"columns": size.columns, "rows": size.lines}))

    tasks = [asyncio.create_task(up()), asyncio.create_task(down())]
    if sized:
        loop.add_signal_handler(signal.SIGWINCH, resized.set)
        tasks.append(asyncio.create_task(sizes()))
    reader: asyncio.Task[None] | None = None
    try:
        try:
            loop.add_reader(stdin, typed)
        except (PermissionError, OSError):
            # a plain file cannot be watched: it is always ready
            reader = asyncio.create_task(_feed(stdin, keys))
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0] in done and not sys.stdin.isatty() and tasks[0].exception() is None:
            # a pipe's end is no wish to leave: what it asked for is still to come
            await asyncio.wait(tasks[1:], return_when=asyncio.FIRST_COMPLETED, timeout=10)
        for task in done:
            task.result()
    finally:
        with contextlib.suppress(ValueError, OSError):
            loop.remove_reader(stdin)
        if sized:
            loop.remove_signal_handler(signal.SIGWINCH)
        rest = [*tasks, *([reader] if reader is not None else [])]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


async def _feed(stdin: int, keys: asyncio.Queue[bytes | None]) -> None:
    while data := await asyncio.to_thread(os.read, stdin, 4096):
        await keys.put(data)
    await keys.put(None)


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _tls(native: Native) -> ssl.SSLContext:
    verify = native.ca_file
    if verify is False:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    return ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)


def _refused(status: int, body: bytes) -> errors.TrilithError:
    from trilith.cli.client import from_status

    if status in (403, 404, 405) and not body.strip():
        # a stream that is refused before it opens is 403 whatever the reason (ASGI): no such stream, or no right
        return errors.Unsupported(
            "This cloud has no such stream for this server, or not for you.",
            capability="console",
            hint="See what it said so far: trilith console NAME --log",
        )
    try:
        said = json.loads(body)
        return errors.from_wire(str(said["error"]), str(said["message"]), str(said.get("hint", "")))
    except (ValueError, KeyError, TypeError):
        return from_status(status, body.decode(errors="replace")[:300])


@contextmanager
def raw_terminal() -> Iterator[None]:
    """Keys go through one by one, Ctrl-C too. The terminal is as before afterwards, whatever happens."""
    if not sys.stdin.isatty():
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSADRAIN)  # what was typed ahead is kept
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        sys.stderr.write("\r\n")
