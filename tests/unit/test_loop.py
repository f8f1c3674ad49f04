"""The event loop's pipes and processes."""

from __future__ import annotations

import asyncio
import io
import os

from trilith import loop


class Pipe(io.FileIO):
    """Notes whether its descriptor is its own, still, when it is closed."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "r")
        self.number = descriptor
        self.late = False

    def close(self) -> None:
        if not self.closed:
            try:
                os.fstat(self.number)
            except OSError:
                self.late = True
        super().close()


def test_a_pipe_is_not_closed_a_second_time() -> None:
    """uvloop closed the file of a pipe after libuv had closed its descriptor. One that another thread had opened in
    between was closed below it; the file that it opened next was closed in its place; and so on."""
    ours, theirs = os.pipe()
    pipe = Pipe(ours)

    async def run() -> None:
        ended = asyncio.Event()

        class Protocol(asyncio.Protocol):
            def connection_lost(self, exc: Exception | None) -> None:
                ended.set()

        await asyncio.get_running_loop().connect_read_pipe(Protocol, pipe)
        os.close(theirs)
        await ended.wait()

    with asyncio.Runner(loop_factory=loop.new) as runner:
        runner.run(run())
    assert pipe.closed
    assert not pipe.late


def test_the_pipes_of_ended_processes_are_closed() -> None:
    async def run() -> int:
        before = 0
        for number in range(6):
            process = await asyncio.create_subprocess_exec(
                "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            assert await process.communicate(b"words") == (b"words", b"")
            await asyncio.sleep(0.05)  # libuv closes in its next rounds
            if number == 0:
                before = len(os.listdir("/proc/self/fd"))
        return len(os.listdir("/proc/self/fd")) - before

    with asyncio.Runner(loop_factory=loop.new) as runner:
        assert runner.run(run()) == 0
