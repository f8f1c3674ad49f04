"""A machine's screen, where the driver says it is: a real QEMU's, and the simulated one's through an agent."""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from tests.contracts.test_links import NODE, Rig, rig
from tests.golden.libvirt.rig import Rig as Host
from tests.golden.libvirt.rig import rig as libvirt_rig
from trilith import errors
from trilith.agent import calls, wire
from trilith.agent.calls import screen_of
from trilith.drivers.contract import GraphicalConsole
from trilith.drivers.lxc.driver import LxcDriver
from trilith.model.guest import Artefact, ConsoleEndpoint, GuestSpec, ImageForm, Pillar

module_loop = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Viewer:
    channel: wire.Channel
    seen: bytearray = field(default_factory=bytearray)

    async def exactly(self, count: int) -> bytes:
        async with asyncio.timeout(10):
            while len(self.seen) < count and (data := await self.channel.receive()):
                self.seen += data
        assert len(self.seen) >= count
        found = bytes(self.seen[:count])
        del self.seen[:count]
        return found

    async def shake(self, version: bytes) -> bytes:
        """In each version that the protocol has (RFC 6143, 7.1; appendix A); the desktop's name."""
        assert await self.exactly(12) == b"RFB 003.008\n"
        await self.channel.send(version)
        if version == b"RFB 003.003\n":
            assert await self.exactly(4) == struct.pack(">I", 1)
        else:
            assert await self.exactly(2) == b"\x01\x01"
            await self.channel.send(b"\x01")
            if version == b"RFB 003.008\n":
                assert await self.exactly(4) == bytes(4)
        await self.channel.send(b"\x01")
        (length,) = struct.unpack(">20xI", await self.exactly(24))
        return await self.exactly(length)


async def view(bench: Rig, server: str) -> Viewer:
    return Viewer(await bench.links.open(NODE, "guest.screen", calls.TerminalArgs(server)))


# ---- the simulated one, through the agent


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path, pillar=Pillar.KVM) as made:
        yield made


@pytest.mark.parametrize("version", [b"RFB 003.003\n", b"RFB 003.007\n", b"RFB 003.008\n"])
async def test_a_simulated_screen_speaks_rfb(bench: Rig, version: bytes) -> None:
    server = await bench.guest(Pillar.KVM)
    viewer = await view(bench, server)
    channel = viewer.channel
    assert await viewer.shake(version) == b"[simulated] web1"
    await channel.send(struct.pack(">B3xBBBBHHHBBB3x", 0, 8, 8, 0, 1, 7, 7, 3, 0, 3, 6))  # pixels of a byte
    await channel.send(struct.pack(">BxHii", 2, 2, 0, -223))  # encodings
    await channel.send(struct.pack(">BBxxI", 4, 1, 0xFF0D) + struct.pack(">BBHH", 5, 0, 1, 1))  # a key, the pointer
    await channel.send(struct.pack(">B3xI", 6, 3) + b"cut")
    await channel.send(struct.pack(">BBHHHH", 3, 0, 0, 0, 160, 100))
    assert await viewer.exactly(16 + 160 * 100) == struct.pack(">BxHHHHHi", 0, 1, 0, 0, 160, 100, 0) + bytes(16000)
    await bench.compute.power_off(server)
    assert await channel.receive() == b""


async def test_what_is_no_rfb_is_hung_up_on(bench: Rig) -> None:
    server = await bench.guest(Pillar.KVM)
    for words in (b"GET / HTTP/1.1\r\n", b"RFB 003.008\n\x02", b"RFB 003.008\n\x01\x01\xff"):
        channel = await bench.links.open(NODE, "guest.screen", calls.TerminalArgs(server))
        await channel.send(words)
        async with asyncio.timeout(10):
            while await channel.receive():
                pass


async def test_a_slow_viewer_slows_its_screen_and_no_other(bench: Rig) -> None:
    """What is asked for and not read waits in the screen, not in the agent or the controller."""
    server = await bench.guest(Pillar.KVM)
    slow = await view(bench, server)
    await slow.shake(b"RFB 003.008\n")
    await slow.channel.send(struct.pack(">BBHHHH", 3, 0, 0, 0, 160, 100) * 100)  # 6.4 MB of answers
    other = await view(bench, server)
    assert await other.shake(b"RFB 003.008\n") == b"[simulated] web1"
    assert len(slow.channel._buffer) <= wire.WINDOW
    await slow.exactly(100 * (16 + 160 * 100 * 4))


async def test_where_there_is_no_screen(tmp_path: Path) -> None:
    async with rig(tmp_path) as bench:
        server = await bench.guest()
        with pytest.raises(errors.Unsupported, match="screen"):
            await bench.links.open(NODE, "guest.screen", calls.TerminalArgs(server))
    assert not issubclass(LxcDriver, GraphicalConsole), "a container has none"


async def test_a_stopped_machine_shows_nothing(bench: Rig) -> None:
    server = await bench.guest(Pillar.KVM)
    await bench.compute.stop(server, timeout=0)
    with pytest.raises(errors.Conflict, match="not running"):
        await bench.links.open(NODE, "guest.screen", calls.TerminalArgs(server))


# ---- QEMU's


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host() -> AsyncIterator[Host]:
    async with libvirt_rig() as made:
        yield made


@pytest.mark.root
@pytest.mark.libvirt
@module_loop
async def test_a_machines_screen_is_a_socket_that_only_the_agent_opens(host: Host) -> None:
    driver, spec = host.driver, machine(host)
    try:
        await driver.create(spec)
        with pytest.raises(errors.Conflict):
            await driver.screen(spec.server_id)
        await driver.start(spec)
        found = await screen_of(driver, spec.server_id)
        assert found == ConsoleEndpoint(
            kind="unix", address=f"{host.root}/state/vnc/{spec.server_id}/s", protocol="vnc"
        )
        assert os.stat(os.path.dirname(found.address)).st_mode & 0o077 == 0
        reader, writer = await asyncio.open_unix_connection(found.address)
        async with asyncio.timeout(20):
            assert await reader.readexactly(12) == b"RFB 003.008\n"
            writer.write(b"RFB 003.008\n")
            assert await reader.readexactly(2) == b"\x01\x01"  # no password: the socket's directory is the lock
            writer.write(b"\x01")
            assert await reader.readexactly(4) == bytes(4)
            writer.write(b"\x01")
            assert len(await reader.readexactly(24)) == 24
            await driver.stop(spec.server_id, timeout=0)
            while await reader.read(4096):
                pass
        writer.close()
        with pytest.raises(errors.Conflict):
            await driver.screen(spec.server_id)
    finally:
        await driver.delete(spec.server_id)
    with pytest.raises(errors.Missing):
        await driver.screen(spec.server_id)


@pytest.mark.root
@pytest.mark.libvirt
@module_loop
async def test_machines_without_a_screen(host: Host) -> None:
    for spec in (host.bare(), machine(host, hw_video_model="none")):
        try:
            await host.driver.create(spec)
            await host.driver.start(spec)
            with pytest.raises(errors.Unsupported, match="no screen"):
                await host.driver.screen(spec.server_id)
        finally:
            await host.driver.delete(spec.server_id)


def machine(host: Host, **properties: str) -> GuestSpec:
    """With firmware and an empty disk: its screen is there before anything boots."""
    disk = host.root / f"screen{len(properties)}.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "1M"], check=True)
    image = Artefact(sha256="2" * 64, form=ImageForm.DISK, path=str(disk))
    return host.spec(image, memory_mib=64, root_disk=str(disk), properties=properties)
