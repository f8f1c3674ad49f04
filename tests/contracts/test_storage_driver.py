"""What every storage driver must do, run for `dir`; with images made to break out, blow up or lie."""

# ruff: noqa: ASYNC240 (a stat in a test blocks nobody)

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from trilith.drivers.contract import BlobSource, StorageDriver
from trilith.drivers.storage import DirStorage, Limits
from trilith.drivers.storage import forms as forms_module
from trilith.drivers.storage.confined import Bounds, confined
from trilith.errors import Backend, Conflict, Invalid, Missing, Unsupported
from trilith.model.guest import Artefact, ImageForm

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img"),
]

Build = Callable[[tarfile.TarFile], None]


def blob(path: Path, disk_format: str, **properties: str) -> BlobSource:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return BlobSource(sha256=digest, path=str(path), disk_format=disk_format, properties=properties)


def add(tar: tarfile.TarFile, name: str, content: bytes = b"", **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    tar.addfile(info, io.BytesIO(content))


def root_tar(path: Path, build: Build, mode: str = "w:gz") -> BlobSource:
    with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
        build(tar)
    return blob(path, "root-tar")


def plain(tar: tarfile.TarFile) -> None:
    """A little of everything that a root file system has."""
    add(tar, ".", type=tarfile.DIRTYPE, mode=0o755)
    add(tar, "./etc", type=tarfile.DIRTYPE, mode=0o755)
    add(tar, "./etc/shadow", b"root:*", mode=0o640, gid=42)
    add(tar, "./usr/bin/sudo", b"#!", mode=0o4755, pax_headers={"SCHILY.xattr.user.note": "kept"})
    add(tar, "./usr/bin/other", type=tarfile.LNKTYPE, linkname="./usr/bin/sudo")
    add(tar, "./home/me", type=tarfile.DIRTYPE, mode=0o700, uid=1000, gid=1000)
    add(tar, "./home/me/far", b"x", uid=65534, gid=65535)
    add(tar, "./bin", type=tarfile.SYMTYPE, linkname="/usr/bin")
    add(tar, "./dev/sda", type=tarfile.BLKTYPE, devmajor=8, devminor=0, mode=0o666)
    add(tar, "./boot/vmlinuz", b"a kernel", mode=0o644)
    add(tar, "./boot/initrd", b"an initrd", mode=0o644)


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[StorageDriver]:
    made = DirStorage(tmp_path / "state")
    yield made
    await made.close()


@pytest.fixture
def tree(tmp_path: Path) -> BlobSource:
    return root_tar(tmp_path / "root.tar.gz", plain)


def make_disk(path: Path, size: str = "64M", disk_format: str = "qcow2") -> BlobSource:
    subprocess.run(["qemu-img", "create", "-q", "-f", disk_format, path, size], check=True)
    return blob(path, disk_format)


def nothing_left(tmp_path: Path) -> bool:
    state = tmp_path / "state"
    return not list((state / "making").iterdir()) and not [p for p in (state / "disks").iterdir() if p.name[0] == "."]


# --- root file systems ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
async def test_a_tar_becomes_a_root_with_its_own_owners(driver: StorageDriver, tmp_path: Path, mode: str) -> None:
    made = await driver.realize(root_tar(tmp_path / "x", plain, mode), ImageForm.ROOTFS)
    root = Path(made.path)
    owners = {str(p.relative_to(root)): (p.lstat().st_uid, p.lstat().st_gid) for p in root.rglob("*")}
    assert owners["etc/shadow"] == (0, 42)
    assert owners["home/me"] == (1000, 1000)
    assert owners["home/me/far"] == (65534, 65535)
    sudo = root / "usr/bin/sudo"
    assert stat.S_IMODE(sudo.stat().st_mode) == 0o4755
    assert os.getxattr(sudo, "user.note") == b"kept"
    assert (root / "usr/bin/other").stat().st_ino == sudo.stat().st_ino
    assert os.readlink(root / "bin") == "/usr/bin"
    assert not (root / "dev/sda").exists()
    assert made.form is ImageForm.ROOTFS
    # set-uid files of a guest are out of reach for this host's users
    assert stat.S_IMODE(root.parent.stat().st_mode) == 0o700
    assert nothing_left(tmp_path)


async def test_squashfs_too(driver: StorageDriver, tree: BlobSource, tmp_path: Path) -> None:
    if shutil.which("mksquashfs") is None:
        pytest.skip("needs mksquashfs")
    first = await driver.realize(tree, ImageForm.ROOTFS)
    image = tmp_path / "x.squashfs"
    command = ["mksquashfs", first.path, image, "-quiet", "-no-progress", "-p", "dev/null c 666 0 0 1 3"]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    made = await driver.realize(blob(image, "squashfs"), ImageForm.ROOTFS)
    root = Path(made.path)
    assert (root / "home/me/far").stat().st_uid == 65534
    assert stat.S_IMODE((root / "usr/bin/sudo").stat().st_mode) == 0o4755
    assert not (root / "dev/null").exists()


def climbing(tar: tarfile.TarFile) -> None:
    add(tar, "../../../canary/x", b"out")


def absolute(tar: tarfile.TarFile) -> None:
    add(tar, "/canary/x", b"out")


def by_link(tar: tarfile.TarFile) -> None:
    add(tar, "out", type=tarfile.SYMTYPE, linkname="../../../../canary")
    add(tar, "out/x", b"out")


def hard_link(tar: tarfile.TarFile) -> None:
    add(tar, "x", type=tarfile.LNKTYPE, linkname="../../../../canary/secret")


def link_then_hard_link(tar: tarfile.TarFile) -> None:
    add(tar, "a", type=tarfile.SYMTYPE, linkname="/etc/shadow")
    add(tar, "b", type=tarfile.LNKTYPE, linkname="a")


def bomb(tar: tarfile.TarFile) -> None:
    add(tar, "zeros", bytes(40 << 20))


def sparse_claim(tar: tarfile.TarFile) -> None:
    """A header that claims a terabyte and has a few bytes."""
    info = tarfile.TarInfo("huge")
    info.size = 1 << 40
    tar.fileobj.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))  # type: ignore[union-attr]


def many(tar: tarfile.TarFile) -> None:
    for number in range(2000):
        add(tar, f"f{number}")


def foreign_owner(tar: tarfile.TarFile) -> None:
    add(tar, "x", b"", uid=100_000)


def empty(tar: tarfile.TarFile) -> None:
    """Nothing at all."""


@pytest.mark.parametrize("build", [climbing, absolute, by_link, hard_link, link_then_hard_link, bomb, sparse_claim,
                                   many, foreign_owner, empty])  # fmt: skip
async def test_malicious_archives(tmp_path: Path, build: Build) -> None:
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "secret").write_text("secret")
    limits = Limits(max_files=1000, ratio=10, ratio_from_bytes=8 << 20)
    driver = DirStorage(tmp_path / "state", limits=limits)
    with pytest.raises(Invalid, match="archive"):
        await driver.realize(root_tar(tmp_path / "x", build), ImageForm.ROOTFS)
    assert os.listdir(canary) == ["secret"]
    assert (canary / "secret").stat().st_nlink == 1
    assert await driver.artefacts() == []
    assert nothing_left(tmp_path)
    # and the next one works
    await driver.realize(root_tar(tmp_path / "good", plain), ImageForm.ROOTFS)
    await driver.close()


@pytest.mark.parametrize("damage", ["truncated", "garbage", "not-a-tar", "trailing-bomb"])
async def test_broken_archives(driver: StorageDriver, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x"
    root_tar(path, bomb)
    if damage == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    elif damage == "garbage":
        path.write_bytes(os.urandom(100_000))
    elif damage == "not-a-tar":
        path.write_bytes(gzip.compress(b"hello" * 1000))
    else:
        path.write_bytes(gzip.compress(bytes(600 << 20), 1))
    with pytest.raises(Invalid):
        await driver.realize(blob(path, "root-tar"), ImageForm.ROOTFS)
    assert nothing_left(tmp_path)


# --- disks ------------------------------------------------------------------------------------------------------------


async def test_a_tar_becomes_a_disk_with_its_kernel_beside(
    driver: StorageDriver, tree: BlobSource, tmp_path: Path
) -> None:
    made = await driver.realize(tree, ImageForm.DISK)
    assert Path(made.kernel).read_bytes() == b"a kernel"
    assert Path(made.initrd).read_bytes() == b"an initrd"
    assert "root=/dev/vda" in made.cmdline
    raw = tmp_path / "raw"
    convert = ["qemu-img", "convert", "-O", "raw", made.path, raw]
    await asyncio.to_thread(subprocess.run, convert, check=True)
    assert raw.stat().st_size == made.size_mib << 20
    checked = await asyncio.to_thread(subprocess.run, ["e2fsck", "-fn", raw], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout
    listed = await asyncio.to_thread(subprocess.run, ["debugfs", "-R", "stat /home/me/far", raw], capture_output=True,
                                     check=True)  # fmt: skip
    assert b"User: 65534   Group: 65535" in listed.stdout


async def test_a_tar_without_a_kernel_serves_containers_only(driver: StorageDriver, tmp_path: Path) -> None:
    source = root_tar(tmp_path / "x", lambda tar: add(tar, "etc/hostname", b"x"))
    await driver.realize(source, ImageForm.ROOTFS)
    with pytest.raises(Unsupported, match="no kernel") as refused:
        await driver.realize(source, ImageForm.DISK)
    assert refused.value.capability == "image.disk"
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("disk_format", ["qcow2", "raw", "vmdk", "vdi", "vhdx"])
async def test_disk_images_become_standalone(driver: StorageDriver, tmp_path: Path, disk_format: str) -> None:
    made = await driver.realize(make_disk(tmp_path / "x", disk_format=disk_format), ImageForm.DISK)
    assert made.size_mib == 64
    assert made.kernel == made.cmdline == ""
    (tmp_path / "x").unlink()
    assert Path(await driver.create_disk("d", size_gib=1, backing=made)).exists()


async def test_a_disk_with_a_backing_file_is_refused(driver: StorageDriver, tmp_path: Path) -> None:
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/shadow", "-u", tmp_path / "x", "64M"]
    await asyncio.to_thread(subprocess.run, command, check=True)
    with pytest.raises(Invalid, match="backing"):
        await driver.realize(blob(tmp_path / "x", "qcow2"), ImageForm.DISK)
    assert await driver.artefacts() == []
    assert nothing_left(tmp_path)


async def test_a_snapshot_boots_with_the_kernel_of_its_image(
    driver: StorageDriver, tree: BlobSource, tmp_path: Path
) -> None:
    make_disk(tmp_path / "x")
    snapshot = blob(tmp_path / "x", "qcow2", trilith_kernel=tree.sha256)
    with pytest.raises(Missing, match="not on this node"):
        await driver.realize(snapshot, ImageForm.DISK)
    base = await driver.realize(tree, ImageForm.DISK)
    made = await driver.realize(snapshot, ImageForm.DISK)
    assert made.cmdline == base.cmdline
    await driver.drop(tree.sha256)
    assert Path(made.kernel).read_bytes() == b"a kernel"


async def test_bare_guests(driver: StorageDriver, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(65536))
    source = blob(tmp_path / "x", "raw", trilith_boot="bare")
    made = await driver.realize(source, ImageForm.BARE)
    assert Path(made.path).read_bytes() == bytes(65536)
    with pytest.raises(Unsupported):
        await driver.realize(source, ImageForm.DISK)


@pytest.mark.parametrize(("disk_format", "form"), [("qcow2", ImageForm.ROOTFS), ("root-tar", ImageForm.BARE),
                                                   ("aki", ImageForm.ROOTFS)])  # fmt: skip
async def test_forms_that_cannot_be(driver: StorageDriver, tmp_path: Path, disk_format: str, form: ImageForm) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(Unsupported):
        await driver.realize(blob(tmp_path / "x", disk_format), form)


async def test_a_damaged_blob_is_noticed(driver: StorageDriver, tree: BlobSource) -> None:
    with open(tree.path, "ab") as f:  # noqa: ASYNC230
        f.write(b"!")
    with pytest.raises(Backend, match="damaged"):
        await driver.realize(tree, ImageForm.ROOTFS)
    os.unlink(tree.path)
    with pytest.raises(Missing):
        await driver.realize(tree, ImageForm.ROOTFS)


# --- artefacts --------------------------------------------------------------------------------------------------------


async def test_realizing_at_once_happens_once(
    driver: StorageDriver, tree: BlobSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []
    real = forms_module.rootfs

    async def counted(source: BlobSource, made: Path, limits: Limits) -> Artefact:
        runs.append(source.sha256)
        return await real(source, made, limits)

    monkeypatch.setattr(forms_module, "rootfs", counted)
    found = await asyncio.gather(*(driver.realize(tree, ImageForm.ROOTFS) for _ in range(5)))
    assert len(runs) == 1
    assert len(set(map(repr, found))) == 1
    await driver.realize(tree, ImageForm.ROOTFS)
    assert len(runs) == 1


async def test_one_who_gives_up_does_not_stop_the_others(driver: StorageDriver, tree: BlobSource) -> None:
    impatient = asyncio.create_task(driver.realize(tree, ImageForm.ROOTFS))
    patient = asyncio.create_task(driver.realize(tree, ImageForm.ROOTFS))
    await asyncio.sleep(0)
    impatient.cancel()
    assert Path((await patient).path).is_dir()
    assert impatient.cancelled() or impatient.done()


async def test_when_all_give_up_nothing_is_left(
    driver: StorageDriver, tree: BlobSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = asyncio.Event()

    async def endless(source: BlobSource, made: Path, limits: Limits) -> Artefact:
        (made / "half").write_text("done")
        entered.set()
        await asyncio.sleep(3600)
        raise AssertionError

    monkeypatch.setattr(forms_module, "rootfs", endless)
    task = asyncio.create_task(driver.realize(tree, ImageForm.ROOTFS))
    await entered.wait()
    with pytest.raises(Conflict):
        await driver.drop(tree.sha256)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert nothing_left(tmp_path)
    assert await driver.artefacts() == []
    await driver.drop(tree.sha256)


async def test_artefacts_are_found_again_and_dropped(driver: StorageDriver, tree: BlobSource, tmp_path: Path) -> None:
    made = [await driver.realize(tree, ImageForm.ROOTFS), await driver.realize(tree, ImageForm.DISK)]
    again = DirStorage(tmp_path / "state")
    assert sorted(await again.artefacts(), key=repr) == sorted(made, key=repr)
    await again.drop(tree.sha256)
    await again.drop(tree.sha256)
    assert await again.artefacts() == []
    assert os.listdir(tmp_path / "state" / "artefacts") == []
    assert nothing_left(tmp_path)


KILLED = """
import asyncio, sys
from pathlib import Path
from trilith.drivers.contract import BlobSource
from trilith.drivers.storage import DirStorage, forms
from trilith.model.guest import ImageForm
async def stuck(source, made, limits):
    (made / "root").mkdir()
    print("half", flush=True)
    await asyncio.sleep(3600)
forms.rootfs = stuck
blob = BlobSource(sha256=sys.argv[2], path=sys.argv[3], disk_format="root-tar", properties={})
asyncio.run(DirStorage(Path(sys.argv[1])).realize(blob, ImageForm.ROOTFS))
"""


async def test_what_a_killed_process_left_is_swept(tree: BlobSource, tmp_path: Path) -> None:
    state = tmp_path / "state"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(state), tree.sha256, tree.path, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"half\n"
    # a living process's work is not touched
    other = DirStorage(state)
    assert await other.artefacts() == []
    assert len(os.listdir(state / "making")) == 1
    process.send_signal(signal.SIGKILL)
    await process.wait()
    after = DirStorage(state)
    assert await after.artefacts() == []
    assert os.listdir(state / "making") == []
    await after.realize(tree, ImageForm.ROOTFS)


async def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    await asyncio.to_thread(subprocess.run, ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", state], check=True)
    try:
        driver = DirStorage(state, limits=Limits(reserve_bytes=-(1 << 30)))
        noise = os.urandom(12 << 20)
        source = root_tar(tmp_path / "x", lambda tar: add(tar, "noise", noise), "w")
        with pytest.raises(Backend, match="is full"):
            await driver.realize(source, ImageForm.ROOTFS)
        careful = DirStorage(state)
        with pytest.raises(Backend, match="is full"):
            await careful.realize(source, ImageForm.ROOTFS)
        assert nothing_left(tmp_path)
        small = root_tar(tmp_path / "y", lambda tar: add(tar, "small", b"x"))
        await driver.realize(small, ImageForm.ROOTFS)
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", state], check=True)


# --- root disks -------------------------------------------------------------------------------------------------------


async def test_root_disks(driver: StorageDriver, tmp_path: Path) -> None:
    image = await driver.realize(make_disk(tmp_path / "x", "1536M"), ImageForm.DISK)
    with pytest.raises(Invalid, match=r"1\.5 GiB and the flavor's only 1 GiB") as refused:
        await driver.create_disk("d1", size_gib=1, backing=image)
    assert refused.value.field == "flavor"
    assert await driver.disks() == []
    path = await driver.create_disk("d1", size_gib=2, backing=image)
    assert await driver.create_disk("d1", size_gib=2, backing=image) == path
    await driver.create_disk("d2", size_gib=0, backing=image)
    assert await driver.disks() == ["d1", "d2"]
    info = await asyncio.to_thread(subprocess.run, ["qemu-img", "info", path], capture_output=True, check=True)
    assert f"backing file: {image.path}".encode() in info.stdout
    assert b"backing file format: qcow2" in info.stdout
    assert b"virtual size: 2 GiB" in info.stdout
    await driver.resize_disk("d1", size_gib=3)
    await driver.resize_disk("d1", size_gib=3)
    with pytest.raises(Invalid, match="cannot shrink"):
        await driver.resize_disk("d1", size_gib=2)
    await driver.delete_disk("d1")
    await driver.delete_disk("d1")
    assert await driver.disks() == ["d2"]
    with pytest.raises(Missing):
        await driver.resize_disk("d1", size_gib=9)
    assert await driver.free_mib() > 0


async def test_a_disk_is_kept_and_restored(driver: StorageDriver, tmp_path: Path) -> None:
    image = await driver.realize(make_disk(tmp_path / "x"), ImageForm.DISK)
    path = await driver.create_disk("d", size_gib=1, backing=image)

    async def io(command: str) -> bytes:
        argv = ["qemu-io", "-f", "qcow2", "-c", command, path]
        return (await asyncio.to_thread(subprocess.run, argv, check=True, capture_output=True)).stdout

    await io("write -P 1 0 64k")
    await driver.keep_disk("d")
    await driver.resize_disk("d", size_gib=2)
    await io("write -P 2 0 64k")
    await driver.keep_disk("d")
    await driver.restore_disk("d")
    assert b"Pattern verification failed" not in await io("read -P 1 0 64k")
    assert await driver.disks() == ["d"]
    await driver.restore_disk("d")
    with pytest.raises(Invalid):
        await driver.resize_disk("d", size_gib=0)
    await driver.keep_disk("d")
    await driver.forget_disk("d")
    await io("write -P 3 0 64k")
    await driver.restore_disk("d")
    assert b"Pattern verification failed" not in await io("read -P 3 0 64k")
    await driver.keep_disk("d")
    await driver.delete_disk("d")
    assert os.listdir(tmp_path / "state" / "disks") == []
    with pytest.raises(Missing):
        await driver.keep_disk("d")


async def test_a_disk_in_use_is_not_kept(driver: StorageDriver, tmp_path: Path) -> None:
    image = await driver.realize(make_disk(tmp_path / "x"), ImageForm.DISK)
    path = await driver.create_disk("d", size_gib=1, backing=image)
    holder = await asyncio.create_subprocess_exec(
        "qemu-io", "-f", "qcow2", path, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write(b"length\n")
    await asyncio.wait_for(holder.stdout.readline(), 30)
    try:
        with pytest.raises(Conflict, match="in use"):
            await driver.keep_disk("d")
    finally:
        holder.kill()
        await holder.wait()
    await driver.keep_disk("d")


@pytest.mark.parametrize("disk_id", ["x.kept", "../x", "", "a/b", ".hidden", "x" * 65, "a b"])
async def test_disk_ids_are_names(driver: StorageDriver, disk_id: str) -> None:
    with pytest.raises(Invalid):
        await driver.delete_disk(disk_id)


async def test_disks_start_from_a_disk_of_this_node(driver: StorageDriver, tree: BlobSource) -> None:
    root = await driver.realize(tree, ImageForm.ROOTFS)
    with pytest.raises(Unsupported):
        await driver.create_disk("d", size_gib=1, backing=root)
    stranger = Artefact(sha256="0" * 64, form=ImageForm.DISK, path="/etc/shadow")
    with pytest.raises(Missing):
        await driver.create_disk("d", size_gib=1, backing=stranger)


# --- the confinement --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv",
    [
        ["cat", "/etc/passwd"],
        ["ls", "/root"],
        ["touch", "/in/blob"],
        ["touch", "/usr/evil"],
        ["mknod", "/out/sda", "b", "8", "0"],
        ["chroot", "/out"],
        ["kill", "-0", str(os.getppid())],
        ["mount", "-t", "tmpfs", "x", "/out"],
    ],
)
async def test_the_jail_holds(tmp_path: Path, argv: list[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "blob").write_bytes(b"x")
    outcome = await confined(inputs={"blob": tmp_path / "blob"}, output=out, bounds=Bounds(), argv=argv)
    assert outcome.code != 0, outcome
    assert sorted(os.listdir(tmp_path)) == ["blob", "out"]


async def test_the_jail_bounds_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    outcome = await confined(
        inputs={},
        output=out,
        bounds=Bounds(file_bytes=1 << 20),
        argv=["dd", "if=/dev/zero", "of=/out/x", "bs=1M", "count=3", "status=none"],
    )
    assert outcome.code != 0
    assert (out / "x").stat().st_size <= 1 << 20
