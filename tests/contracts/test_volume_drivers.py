"""What every pool of volumes must do, run for `dir` on real qcow2 files."""

# ruff: noqa: ASYNC221, ASYNC240 (a stat or a short tool in a test blocks nobody)

from __future__ import annotations

import asyncio
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trilith.drivers.storage import volume_dir
from trilith.drivers.storage.volume_dir import DirVolumes
from trilith.drivers.volume_contract import DiskSource, SourceKind, VolumeDriver, VolumeSource
from trilith.errors import Backend, Conflict, Invalid, Missing

pytestmark = pytest.mark.skipif(shutil.which("qemu-io") is None, reason="needs qemu-io")

MIB = 1 << 20


def new() -> str:
    return str(uuid.uuid4())


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[DirVolumes]:
    yield DirVolumes(tmp_path / "pool")
    # nothing half made stays, whatever a test did
    assert not list((tmp_path / "pool").rglob(".*.new"))


def io(disk: DiskSource, *commands: str, read_only: bool = False) -> str:
    words = [w for c in commands for w in ("-c", c)]
    argv = ["qemu-io", *(["-r"] if read_only else []), "-f", disk.driver, *words, disk.path]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def write(pool: VolumeDriver, volume: str, pattern: int, at: int = 0) -> None:
    disk = await pool.disk(volume)
    await asyncio.to_thread(io, disk, f"write -P {pattern} {at * MIB} 1M")


async def holds(pool: VolumeDriver, volume: str, pattern: int, at: int = 0) -> bool:
    disk = await pool.disk(volume)
    said = await asyncio.to_thread(io, disk, f"read -P {pattern} {at * MIB} 1M", read_only=True)
    return "Pattern verification failed" not in said


@contextmanager
def guest(disk: DiskSource) -> Iterator[None]:
    """A QEMU that has the volume, as a guest's does."""
    process = subprocess.Popen(["qemu-io", "-f", disk.driver, disk.path], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("write -P 9 8M 1M\n")
        process.stdin.flush()
        while "ops" not in process.stdout.readline():
            pass  # its first answer says that it has the file
        yield
    finally:
        process.kill()
        process.communicate()


def layers(pool: DirVolumes) -> int:
    return len(list((pool._folder / "layers").glob("*.qcow2")))


async def test_a_volume_from_its_making_to_its_end(pool: DirVolumes) -> None:
    one = new()
    for _ in range(2):  # again is success
        await pool.create(one, size_gib=2)
    await write(pool, one, 1)
    assert await holds(pool, one, 1)
    assert await holds(pool, one, 0, at=5)
    (facts,) = await pool.volumes()
    assert (facts.volume_id, facts.size_gib, facts.fault) == (one, 2, "")
    room = await pool.room()
    assert room.promised == 2048
    assert 0 < room.free <= room.total
    for _ in range(2):
        await pool.extend(one, size_gib=3)
    assert await holds(pool, one, 1)
    await write(pool, one, 2, at=2900)
    with pytest.raises(Invalid):
        await pool.extend(one, size_gib=2)
    for _ in range(2):
        await pool.delete(one)
    assert (await pool.volumes(), layers(pool)) == ([], 0)
    with pytest.raises(Missing):
        await pool.disk(one)


async def test_snapshots_keep_what_was(pool: DirVolumes) -> None:
    one, first, second = new(), new(), new()
    await pool.create(one, size_gib=1)
    await write(pool, one, 1)
    for _ in range(2):
        await pool.snapshot(one, first)
    await write(pool, one, 2)
    await pool.extend(one, size_gib=2)
    await pool.snapshot(one, second)
    await write(pool, one, 3)
    (facts,) = await pool.volumes()
    assert facts.snapshots == (first, second)
    with pytest.raises(Conflict):
        await pool.delete(one)
    made = {}
    for snapshot, pattern in ((first, 1), (second, 2)):
        made[snapshot] = new()
        source = VolumeSource(kind=SourceKind.SNAPSHOT, volume_id=one, snapshot_id=snapshot)
        await pool.create(made[snapshot], size_gib=2, source=source)
        assert await holds(pool, made[snapshot], pattern)
    await pool.revert(one, second)
    assert await holds(pool, one, 2)
    await pool.delete_snapshot(one, second)
    await pool.revert(one, first)
    assert await holds(pool, one, 1)
    assert (await pool.volumes())[0].size_gib in (1, 2)
    assert {f.volume_id: f.size_gib for f in await pool.volumes()}[one] == 1
    for _ in range(2):
        await pool.delete_snapshot(one, first)
    await pool.delete(one)
    # what was made of them is whole, and the rest is gone
    assert await holds(pool, made[first], 1)
    assert await holds(pool, made[second], 2)
    for volume in made.values():
        await pool.delete(volume)
    assert layers(pool) == 0


async def test_clones_go_their_own_ways(pool: DirVolumes) -> None:
    one, two = new(), new()
    await pool.create(one, size_gib=1)
    await write(pool, one, 1)
    source = VolumeSource(kind=SourceKind.VOLUME, volume_id=one)
    for _ in range(2):
        await pool.create(two, size_gib=2, source=source)
    await write(pool, one, 2)
    await write(pool, two, 3, at=1)
    assert await holds(pool, two, 1)
    assert await holds(pool, one, 0, at=1)
    await pool.delete(one)
    assert await holds(pool, two, 1)
    assert await holds(pool, two, 3, at=1)
    with pytest.raises(Missing):
        await pool.create(new(), size_gib=2, source=source)
    with pytest.raises(Invalid):
        await pool.create(new(), size_gib=1, source=VolumeSource(kind=SourceKind.VOLUME, volume_id=two))
    assert len(await pool.volumes()) == 1


async def test_clones_and_snapshots_copy_nothing(pool: DirVolumes) -> None:
    one = new()
    await pool.create(one, size_gib=10)
    for at in range(0, 64, 8):
        await write(pool, one, 5, at=at)
    used = sum(p.stat().st_blocks for p in pool._folder.rglob("*.qcow2"))
    await pool.snapshot(one, new())
    await pool.create(new(), size_gib=10, source=VolumeSource(kind=SourceKind.VOLUME, volume_id=one))
    more = sum(p.stat().st_blocks for p in pool._folder.rglob("*.qcow2")) - used
    assert more * 512 < 4 * MIB


async def test_chains_do_not_grow_with_snapshots_that_come_and_go(pool: DirVolumes) -> None:
    one = new()
    await pool.create(one, size_gib=1)
    for turn in range(5):
        snapshot = new()
        await pool.snapshot(one, snapshot)
        await write(pool, one, 10 + turn, at=turn)
        await pool.delete_snapshot(one, snapshot)
    assert layers(pool) == 1
    assert [await holds(pool, one, 10 + turn, at=turn) for turn in range(5)] == [True] * 5


async def test_what_is_too_big_to_merge_stays(pool: DirVolumes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_dir, "SMALL", 64 * 1024)
    one, snapshot = new(), new()
    await pool.create(one, size_gib=1)
    await write(pool, one, 1)
    await pool.snapshot(one, snapshot)
    await pool.delete_snapshot(one, snapshot)
    assert layers(pool) == 2
    assert await holds(pool, one, 1)


async def test_from_a_disk(pool: DirVolumes, tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "1500M"], check=True)
    io(DiskSource(driver="qcow2", path=str(image)), "write -P 7 0 1M")
    source = VolumeSource(kind=SourceKind.DISK, path=str(image))
    one = new()
    with pytest.raises(Invalid):
        await pool.create(one, size_gib=1, source=source)
    for _ in range(2):
        await pool.create(one, size_gib=2, source=source)
    image.unlink()
    assert await holds(pool, one, 7)
    assert await holds(pool, one, 0, at=1900)


async def test_what_a_guest_has_is_left_alone(pool: DirVolumes) -> None:
    one, snapshot = new(), new()
    await pool.create(one, size_gib=1)
    await pool.snapshot(one, snapshot)
    with guest(await pool.disk(one)):
        for refused in (
            pool.snapshot(one, new()),
            pool.revert(one, snapshot),
            pool.extend(one, size_gib=2),
            pool.create(new(), size_gib=1, source=VolumeSource(kind=SourceKind.VOLUME, volume_id=one)),
        ):
            with pytest.raises(Conflict, match="in use"):
                await refused
        # what was kept serves meanwhile, and can be let go
        clone = new()
        source = VolumeSource(kind=SourceKind.SNAPSHOT, volume_id=one, snapshot_id=snapshot)
        await pool.create(clone, size_gib=1, source=source)
        await pool.delete_snapshot(one, snapshot)
        with pytest.raises(Conflict, match="in use"):
            await pool.delete(one)
    assert await holds(pool, one, 9, at=8)
    await pool.delete(one)
    assert await holds(pool, clone, 0)


async def test_a_lost_layer_is_told_and_costs_nothing_else(pool: DirVolumes) -> None:
    one, two, snapshot = new(), new(), new()
    for volume in (one, two):
        await pool.create(volume, size_gib=1)
    await write(pool, one, 1)
    base = Path((await pool.disk(one)).path)
    await pool.snapshot(one, snapshot)
    await write(pool, one, 2)
    base.rename(base.with_suffix(".away"))
    facts = {f.volume_id: f.fault for f in await pool.volumes()}
    assert "missing" in facts[one]
    assert facts[two] == ""
    with pytest.raises(Backend, match="missing"):
        await pool.disk(one)
    await pool.delete(two)  # its sweep leaves what is there of the other
    base.with_suffix(".away").rename(base)
    assert await holds(pool, one, 2)


async def test_a_broken_record_is_told_and_nothing_is_swept(pool: DirVolumes) -> None:
    one, two = new(), new()
    for volume in (one, two):
        await pool.create(volume, size_gib=1)
    record = pool._folder / "volumes" / f"{one}.json"
    kept = record.read_bytes()
    record.write_bytes(kept[:10])
    assert {f.volume_id: bool(f.fault) for f in await pool.volumes()} == {one: True, two: False}
    with pytest.raises(Backend, match="cannot be read"):
        await pool.delete(two)
    record.write_bytes(kept)
    assert {f.fault for f in await pool.volumes()} == {""}
    await pool.delete(two)


@pytest.mark.parametrize("wrong", ["", "../x", "a" * 36, "0" * 31, "6f1c0d1e-0000-4000-8000-000000000000/"])
async def test_ids_are_uuids(pool: DirVolumes, wrong: str) -> None:
    with pytest.raises(Invalid):
        await pool.create(wrong, size_gib=1)


async def test_two_nodes_on_one_folder(tmp_path: Path) -> None:
    nodes = [DirVolumes(tmp_path / "nfs", shared=True) for _ in range(2)]
    base = new()
    await nodes[0].create(base, size_gib=1)
    source = VolumeSource(kind=SourceKind.VOLUME, volume_id=base)
    made = [new() for _ in range(6)]
    await asyncio.gather(*(nodes[i % 2].create(v, size_gib=1, source=source) for i, v in enumerate(made)))
    assert {f.volume_id for f in await nodes[0].volumes()} == {base, *made}
    await asyncio.gather(*(nodes[i % 2].delete(v) for i, v in enumerate(made)))
    assert [f.volume_id for f in await nodes[1].volumes()] == [base]


async def test_a_full_pool_says_so(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "trilith-test", str(small)], check=False)
    if done.returncode:
        pytest.skip("needs root to mount a small file system")
    try:
        pool = DirVolumes(small / "pool")
        one = new()
        await pool.create(one, size_gib=1)
        (small / "filler").write_bytes(b"x" * (2 * MIB - 700 * 1024))
        made = await asyncio.gather(*(pool.create(new(), size_gib=1) for _ in range(20)), return_exceptions=True)
        assert {type(m) for m in made if m is not None} == {Backend}
        assert all("is full" in str(m) for m in made if m is not None)
        (small / "filler").unlink()
        assert {f.fault for f in await pool.volumes()} == {""}
        await pool.create(new(), size_gib=1)
    finally:
        subprocess.run(["umount", str(small)], check=True)
