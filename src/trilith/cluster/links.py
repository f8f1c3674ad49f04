"""The controller's end of the agents' streams: who is connected, calls to nodes, events from them."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

from trilith import errors
from trilith.agent import wire
from trilith.model.guest import GuestEvent, GuestFacts, HostFacts

T = TypeVar("T")
log = structlog.get_logger("links")

#: seconds in which a peer says who it is
_HELLO_SECONDS = 30.0
#: of one node that are worked off at once
_POSTS = 32
#: seconds between looks at a database that is away
_RETRY = 1.0

Joined = Callable[[wire.Hello], Awaitable[None]]
Left = Callable[[str], Awaitable[None]]
Reported = Callable[[str, list[GuestFacts], HostFacts | None], Awaitable[None]]
Happened = Callable[[str, GuestEvent], Awaitable[None]]
Posted = Callable[[str, str, bytes], Awaitable[None]]


class Link:
    """One agent's stream."""

    def __init__(self, hello: wire.Hello, writer: asyncio.StreamWriter) -> None:
        self.node = hello.node
        self.hello = hello
        self.writer = writer
        self.outbox = wire.Outbox(writer)
        self.waiting: dict[int, tuple[asyncio.Future[msgspec.Raw], Callable[[int, str], None] | None]] = {}
        self.opening: dict[int, asyncio.Future[None]] = {}
        self.channels: dict[int, wire.Channel] = {}
        self.posts: set[asyncio.Task[None]] = set()

    def send(self, message: wire.Message) -> None:
        """Never waits. Raises TooLarge."""
        self.outbox.put(message)

    def fail_all(self) -> None:
        for future, _ in self.waiting.values():
            if not future.done():
                future.set_exception(errors.Backend(f"Node {self.node} went away during the call."))
        self.waiting.clear()
        for channel in list(self.channels.values()):
            channel.end(errors.Backend(f"Node {self.node} went away."))

    def channel_ended(self, id: int) -> None:
        channel = self.channels.pop(id)
        opening = self.opening.pop(id, None)
        if opening is not None and not opening.done():
            opening.set_exception(channel.failure or errors.Conflict(channel.reason or "The stream ended at once."))


class Links:
    """joined, left: await the store. reported, happened: only take note, as they hold up the node's other messages.
    posted: keeps what a server of the node posted, by the node's name and the server's id; raises what the guest is
    told."""

    def __init__(
        self, *, cloud_id: str, joined: Joined, left: Left, reported: Reported, happened: Happened, posted: Posted
    ) -> None:
        self.cloud_id = cloud_id
        self._joined, self._left, self._reported, self._happened = joined, left, reported, happened
        self._posted = posted
        self._links: dict[str, Link] = {}
        self._server: asyncio.Server | None = None
        self._ids = itertools.count(1)
        self._arrived = asyncio.Event()
        self._joining: set[str] = set()
        self._presences: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def listen(self, path: Path) -> None:
        """Serve agents on a unix socket that only this user may open."""
        await asyncio.to_thread(path.unlink, missing_ok=True)
        old = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, path)
        finally:
            os.umask(old)

    def connected(self) -> list[str]:
        return list(self._links)

    def facts(self, node: str) -> HostFacts | None:
        link = self._links.get(node)
        return link.hello.facts if link else None

    async def wait_for(self, node: str, *, timeout: float) -> None:
        """Return when the node is connected. Raises Deadline."""
        try:
            async with asyncio.timeout(timeout):
                while node not in self._links:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise errors.Deadline(
                f"Node {node} is not connected.", hint="Look at `trilith doctor` on it and at its log."
            ) from None

    async def call(
        self,
        node: str,
        name: str,
        args: Any,
        result: type[T],
        *,
        timeout: float,
        resource: str = "",
        epoch: int = 0,
        progress: Callable[[int, str], None] | None = None,
        wait: float = 0.0,
    ) -> T:
        """Run a node call. Raises what the node reported, Backend when the node is away, Deadline after `timeout` s.

        wait: seconds to wait for a node that is not connected (a restart of its agent).
        """
        if node not in self._links and wait:
            await self.wait_for(node, timeout=wait)
        link = self._link(node)
        id = next(self._ids)
        future: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        link.waiting[id] = (future, progress)
        raw = msgspec.Raw(msgspec.msgpack.encode(args))
        try:
            link.send(wire.Request(id=id, call=name, args=raw, resource=resource, epoch=epoch, timeout=timeout))
            async with asyncio.timeout(timeout):
                value = await future
        except TimeoutError:
            link.send(wire.Cancel(id))
            raise errors.Deadline(f"{name} on node {node} did not end within {timeout:.0f} s.") from None
        except asyncio.CancelledError:
            link.send(wire.Cancel(id))
            raise
        finally:
            link.waiting.pop(id, None)
        return msgspec.msgpack.decode(value, type=result)

    async def open(self, node: str, name: str, args: Any, *, timeout: float = 40.0) -> wire.Channel:
        """A channel to a guest, from the node's table of them. The caller closes it.

        Raises what the node reported, Backend when the node is away, Deadline after `timeout` s.
        """
        link = self._link(node)
        id = next(self._ids)
        message = wire.Open(id=id, call=name, args=msgspec.Raw(msgspec.msgpack.encode(args)))
        channel = wire.Channel(id, link.outbox, credit=0, ended=link.channel_ended)
        opening: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        link.send(message)
        link.channels[id], link.opening[id] = channel, opening
        try:
            async with asyncio.timeout(timeout):
                await opening
        except TimeoutError:
            raise errors.Deadline(f"{name} on node {node} did not open within {timeout:.0f} s.") from None
        finally:
            link.opening.pop(id, None)
            if not opening.done() or opening.cancelled() or opening.exception() is not None:
                channel.close()
        return channel

    def _link(self, node: str) -> Link:
        link = self._links.get(node)
        if link is None:
            raise errors.Backend(f"Node {node} is not connected.", hint="Look at `openstack compute service list`.")
        return link

    async def close(self) -> None:
        self._closing = True
        if self._server is not None:
            self._server.close()
        for link in list(self._links.values()):
            link.writer.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        node = ""
        try:
            hello = await self._hello(reader)
            if hello is None:
                return
            node = hello.node
            self._joining.add(node)
            try:
                async with self._presence(node):
                    await self._joined(hello)
                link = Link(hello, writer)
                self._links[node] = link
            finally:
                self._joining.discard(node)
            self._arrived.set()
            await self._exchange(link, reader)
        except (errors.TrilithError, ConnectionError) as err:
            log.error("an agent's stream was closed", node=node, error=str(err))
        except asyncio.CancelledError:
            if not self._closing:
                raise
        except Exception:  # a bug of ours ends this stream, with its trace in the log
            log.exception("bug while serving an agent", node=node)
        finally:
            link_gone = self._links.pop(node, None)
            if link_gone is not None:
                link_gone.fail_all()
            writer.close()
            if link_gone is not None:
                await self._tell_left(node)
            self._tasks.discard(task)

    def _presence(self, node: str) -> asyncio.Lock:
        """That a node left and that it came are written in this order: the other way round it would count as away."""
        return self._presences.setdefault(node, asyncio.Lock())

    async def _tell_left(self, node: str) -> None:
        """Until the database knows, or the node is back, or this process ends: its next start sets it right."""
        while not self._closing and node not in self._links and node not in self._joining:
            try:
                async with self._presence(node):
                    await self._left(node)
                return
            except errors.DatabaseAway as err:
                log.warning("that a node left cannot be written", node=node, error=str(err))
                await asyncio.sleep(_RETRY)

    async def _hello(self, reader: asyncio.StreamReader) -> wire.Hello | None:
        """The first message; None for a peer that is refused."""
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                hello = await wire.receive(reader)
        except TimeoutError:
            hello = None
        if not isinstance(hello, wire.Hello) or hello.cloud_id != self.cloud_id:
            log.warning("a peer that is no agent of this cloud was refused")
            return None
        if hello.node in self._links or hello.node in self._joining:
            log.warning("a second agent of the same node was refused", node=hello.node)
            return None
        return hello

    async def _exchange(self, link: Link, reader: asyncio.StreamReader) -> None:
        """Until the agent ends the stream. Raises what broke it."""

        async def read() -> None:
            while (message := await wire.receive(reader)) is not None:
                await self._take(link, message)

        tasks = [
            asyncio.create_task(read(), name=f"link-read-{link.node}"),
            asyncio.create_task(link.outbox.run(), name=f"link-send-{link.node}"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            tasks += link.posts
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _post(self, link: Link, post: wire.Post) -> None:
        try:
            await self._posted(link.node, post.server_id, post.password)
            link.send(wire.Posted(post.id))
        except errors.TrilithError as err:
            link.send(wire.Posted(post.id, err.code, err.message, err.hint))
        except Exception:
            log.exception("bug while keeping what a server posted", node=link.node, server=post.server_id)
            link.send(wire.Posted(post.id, "bug", "A bug of the controller; its log has it."))

    async def _take(self, link: Link, message: wire.Message) -> None:
        match message:
            case wire.Result(id=id, value=value):
                if (waiter := link.waiting.get(id)) and not waiter[0].done():
                    waiter[0].set_result(value)
            case wire.Failure(id=id, code=code, message=text, hint=hint):
                if (waiter := link.waiting.get(id)) and not waiter[0].done():
                    waiter[0].set_exception(errors.from_wire(code, text, hint))
            case wire.Progress(id=id, percent=percent, note=note):
                if (waiter := link.waiting.get(id)) and waiter[1] is not None:
                    waiter[1](percent, note)
            case wire.Opened(id=id, credit=credit):
                if (opening := link.opening.get(id)) and not opening.done():
                    link.channels[id].start(credit)
                    opening.set_result(None)
            case wire.Chunk(id=id) | wire.Credit(id=id) | wire.Close(id=id):
                if id in link.channels:  # else it was closed here, and the agent did not know yet
                    link.channels[id].take(message)
            case wire.Event(event=event):
                await self._happened(link.node, event)
            case wire.Post(id=id) if len(link.posts) >= _POSTS:
                link.send(wire.Posted(id, "backend", "Too many posts at once."))
            case wire.Post():
                task = asyncio.create_task(self._post(link, message), name=f"link-post-{link.node}")
                link.posts.add(task)
                task.add_done_callback(link.posts.discard)
            case wire.Report(guests=guests, facts=facts):
                await self._reported(link.node, guests, facts)
            case _:
                raise errors.Backend(f"Node {link.node} sent {type(message).__name__}, which agents do not send.")
