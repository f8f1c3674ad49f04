"""The agent: runs on every node, executes what the controller asks over one stream, reports facts and events.

It holds no database. Without a controller it goes on: guests run, daemons are supervised, metadata is answered, and
the stream is opened again as soon as somebody listens.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import structlog

from trilith import errors
from trilith.agent import calls, wire
from trilith.agent.channels import Channels
from trilith.agent.guests import Guests
from trilith.agent.posts import Posts
from trilith.agent.volumes import Volumes
from trilith.drivers.contract import ComputeDriver
from trilith.model.guest import HostFacts

log = structlog.get_logger("agent")

#: seconds between attempts to reach a controller that is away
_RETRY = 0.2
_RETRY_MOST = 5.0
#: claims that are remembered, the last ones: what jobs end within is a small part of them
_CLAIMS = 10_000


class Agent:
    """guests: this node's; node: its name; report_seconds: between full reports of facts. posts: what the guests post
    to the metadata service. bandwidth: kbit/s that its servers may be promised together, by resource class."""

    def __init__(
        self,
        guests: Guests,
        *,
        node: str,
        cloud_id: str,
        report_seconds: float = 30.0,
        simulated: bool = False,
        posts: Posts | None = None,
        bandwidth: Mapping[str, int] | None = None,
        volumes: Volumes | None = None,
    ) -> None:
        self.guests = guests
        self.volumes = volumes or Volumes({})
        self.node = node
        self.cloud_id = cloud_id
        self._simulated = simulated
        self._posts = posts or Posts()
        self._bandwidth = dict(bandwidth or {})
        self._report_seconds = report_seconds
        self._epochs: OrderedDict[str, int] = OrderedDict()
        self._facts: HostFacts | None = None
        self._requests: dict[int, asyncio.Task[None]] = {}

    async def prepare(self) -> HostFacts:
        """Adopt what an earlier run left, and find out what this host can do."""
        await self.guests.load()
        self._facts = await self._probe()
        await self.guests.redefine()
        return self._facts

    async def run(self, socket: Path) -> None:
        """Serve the controller behind the unix socket until cancelled."""
        pause = _RETRY
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(socket)
            except OSError:
                await asyncio.sleep(pause)  # nobody listens, and nothing announces when somebody does
                pause = min(_RETRY_MOST, pause * 2)
                continue
            began = asyncio.get_running_loop().time()
            try:
                await self._session(reader, writer)
            except (OSError, errors.TrilithError) as err:
                log.warning("the stream to the controller broke", node=self.node, error=str(err))
            finally:
                writer.close()
            # a session that broke at once is no reason to hurry
            lasted = asyncio.get_running_loop().time() - began
            pause = _RETRY if lasted > _RETRY_MOST else min(_RETRY_MOST, pause * 2)
            await asyncio.sleep(pause)

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the controller ends the stream. Raises what broke it. What runs for it ends with it."""
        facts = self._facts or await self.prepare()
        out = wire.Outbox(writer)
        out.put(wire.Hello(node=self.node, cloud_id=self.cloud_id, facts=facts, simulated=self._simulated))
        out.put(wire.Report(guests=await self.guests.facts()))
        channels = Channels(self.guests, out)
        read = asyncio.create_task(self._read(reader, out, channels), name="agent-read")
        tasks = {
            read,
            asyncio.create_task(out.run(), name="agent-send"),
            asyncio.create_task(self._report(out), name="agent-report"),
            *(asyncio.create_task(self._events(d, out), name="agent-events") for d in self.guests.computes.values()),
        }
        running = set(tasks)
        self._posts.begin(out)
        try:
            while not read.done():
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            ending = [*tasks, *self._requests.values()]
            for task in ending:
                task.cancel()
            self._posts.end()
            await channels.close()
            await asyncio.gather(*ending, return_exceptions=True)
            self._requests.clear()

    async def _read(self, reader: asyncio.StreamReader, out: wire.Outbox, channels: Channels) -> None:
        while (message := await wire.receive(reader)) is not None:
            match message:
                case wire.Request():
                    task = asyncio.create_task(self._answer(message, out), name=f"agent-{message.call}")
                    self._requests[message.id] = task
                    task.add_done_callback(lambda _t, id=message.id: self._requests.pop(id, None))  # type: ignore[misc]
                case wire.Cancel(id=id):
                    if id in self._requests:
                        self._requests[id].cancel()
                case wire.Posted():
                    self._posts.take(message)
                case wire.Open() | wire.Chunk() | wire.Credit() | wire.Resize() | wire.Close():
                    channels.take(message)
                case _:
                    raise errors.Backend(
                        f"The controller sent {type(message).__name__}, which controllers do not send."
                    )

    async def _answer(self, request: wire.Request, out: wire.Outbox) -> None:
        def progress(percent: int, note: str) -> None:
            out.put(wire.Progress(request.id, percent, note))

        try:
            self._check_epoch(request)
            async with asyncio.timeout(request.timeout) as deadline:
                value = await calls.run(self, request.call, request.args, progress)
            out.put(wire.Result(request.id, value))
        except errors.TrilithError as err:
            out.put(wire.Failure(request.id, err.code, err.message, err.hint))
        except Exception as err:
            if isinstance(err, TimeoutError) and deadline.expired():
                text = f"{request.call} did not end within {request.timeout:.0f} s."
                out.put(wire.Failure(request.id, "deadline", text))
                return
            if isinstance(err, OSError) and (known := errors.of_disk(err)) is not None:
                out.put(wire.Failure(request.id, known.code, known.message, known.hint))
                return
            log.exception("bug in a node call", call=request.call)
            out.put(wire.Failure(request.id, "bug", f"{type(err).__name__}: {err}"))

    def _check_epoch(self, request: wire.Request) -> None:
        """A controller that lost its claim must not act any more. Raises Conflict."""
        if not request.resource or not request.epoch:
            return
        seen = self._epochs.get(request.resource, 0)
        if request.epoch < seen:
            raise errors.Conflict(f"Claim {request.epoch} of {request.resource} is older than {seen}.")
        self._epochs[request.resource] = request.epoch
        self._epochs.move_to_end(request.resource)
        while len(self._epochs) > _CLAIMS:
            self._epochs.popitem(last=False)

    async def _report(self, out: wire.Outbox) -> None:
        while True:
            await asyncio.sleep(self._report_seconds)
            try:
                out.put(wire.Report(guests=await self.guests.facts()))
            except errors.TrilithError as err:
                log.warning("facts could not be read", node=self.node, error=str(err))

    async def _events(self, driver: ComputeDriver, out: wire.Outbox) -> None:
        async for event in driver.events():
            out.put(wire.Event(event))

    async def _probe(self) -> HostFacts:
        """The facts of all drivers as one. Raises Backend when no driver works here."""
        found: list[HostFacts] = []
        problems: list[str] = []
        for pillar, driver in list(self.guests.computes.items()):
            try:
                found.append(await driver.probe())
            except errors.TrilithError as err:
                problems.append(f"{pillar}: {err}")
                del self.guests.computes[pillar]
        if not found:
            raise errors.Backend(f"No pillar works on this host: {'; '.join(problems)}", hint="Run `trilith doctor`.")
        first = found[0]
        free = await self.guests.storage.free_mib()
        inventories = {
            name: max(f.inventories.get(name, 0) for f in found) for name in ("VCPU", "MEMORY_MB", "DISK_GB")
        }
        inventories["DISK_GB"] = inventories["DISK_GB"] or free // 1024
        inventories |= self._bandwidth
        return HostFacts(
            hostname=self.node,
            pillars=tuple(p for f in found for p in f.pillars),
            inventories=inventories,
            traits=tuple(dict.fromkeys(t for f in found for t in f.traits)),
            hypervisor_type=first.hypervisor_type,
            hypervisor_version=first.hypervisor_version,
            cpu_info=first.cpu_info,
            warnings=tuple(dict.fromkeys([*(w for f in found for w in f.warnings), *problems])),
            capabilities={
                str(pillar): tuple(name for name, able in asdict(driver.capabilities).items() if able is True)
                for pillar, driver in self.guests.computes.items()
            },
            pools=await self.volumes.facts(),
        )
