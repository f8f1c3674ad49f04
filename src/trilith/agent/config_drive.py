"""The config drive: the metadata as files. A folder for a container, an ISO 9660 labelled config-2 for a machine."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from trilith.agent.instance_metadata import (
    EC2_VERSIONS,
    LATEST,
    OPENSTACK_VERSIONS,
    Tree,
    ec2_tree,
    openstack_files,
)
from trilith.errors import Backend, Deadline
from trilith.model.instance import InstanceData

LABEL = "config-2"
#: the first that is there is used. Measured on one machine: genisoimage 7 ms, xorriso 110 ms
MAKERS = (("genisoimage",), ("mkisofs",), ("xorriso", "-as", "mkisofs"))
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def _plain(tree: Tree) -> object:
    if isinstance(tree, dict):
        return {name: _plain(below) for name, below in tree.items() if name != "_name"}
    return tree.decode(errors="replace") if isinstance(tree, bytes) else tree


def files(data: InstanceData) -> dict[str, bytes]:
    """Path → content of the whole drive, with admin_pass. EC2's older versions are left out, as Nova's default is."""
    found: dict[str, bytes] = {}
    for version in (*OPENSTACK_VERSIONS, LATEST):
        dated = OPENSTACK_VERSIONS[-1] if version == LATEST else version
        for name, content in openstack_files(data, dated, config_drive=True).items():
            found[f"openstack/{version}/{name}"] = content
    for number, file in enumerate(data.files):
        found[f"openstack/content/{number:04d}"] = file.content
    tree = ec2_tree(data, EC2_VERSIONS[-1])
    for version in (EC2_VERSIONS[-1], LATEST):
        found[f"ec2/{version}/meta-data.json"] = json.dumps(_plain(tree["meta-data"])).encode()
        if data.user_data is not None:
            found[f"ec2/{version}/user-data"] = data.user_data
    return found


def _write(content: dict[str, bytes], folder: Path, owner: int) -> None:
    """Only `owner` can read: the drive holds a password."""
    folder.chmod(0o700)
    for path, body in content.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(handle, "wb") as f:
            f.write(body)
    for above, _, names in os.walk(folder):
        for name in names:
            os.chown(os.path.join(above, name), owner, owner)
        os.chmod(above, 0o500)
        os.chown(above, owner, owner)


def _exchange(one: Path, other: Path) -> None:
    """Swap two folders in one step (renameat2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(other))


def _discard(folder: Path) -> None:
    if os.geteuid() != 0:
        for above, _, _ in os.walk(folder):
            os.chmod(above, 0o700)
    if folder.exists():
        shutil.rmtree(folder)


def _place(content: dict[str, bytes], dest: Path, owner: int) -> None:
    dest.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{dest.name}-", dir=dest.parent))
    try:
        _write(content, made, owner)
        if dest.exists():
            _exchange(made, dest)
        else:
            made.rename(dest)
    finally:
        if made.exists():
            _discard(made)


async def _to_its_end(work: Callable[[], None]) -> None:
    """In a thread. One who cancels waits for it: a file that comes after the clean-up would stay, with a password."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def write_folder(data: InstanceData, dest: Path, *, owner: int = 0) -> None:
    """Make or replace the drive of a container, whole or not at all.

    owner: the host's id of the container's root, who alone can read it. Raises Backend.
    """
    content = files(data)
    try:
        await _to_its_end(partial(_place, content, dest, owner))
    except OSError as e:
        raise Backend(f"The config drive {dest} cannot be written: {e.strerror}.", hint="Is the disk full?") from e


async def write_iso(data: InstanceData, dest: Path, *, group: int = -1, timeout: float = 30) -> None:
    """Make or replace the drive of a machine: an ISO 9660 image, readable by QEMU's `group`, whole or not at all.

    Raises Backend (no tool to make one, or its words), Deadline.
    """
    maker = next((words for words in MAKERS if shutil.which(words[0])), None)
    if maker is None:
        raise Backend("Nothing here makes ISO 9660 images.", hint="Install the package genisoimage or xorriso.")
    content = files(data)
    work = dest.parent / f".{dest.name}-{secrets.token_hex(4)}"
    tree, image = work / "tree", work / "image"

    def lay_out() -> None:
        work.mkdir(0o700, parents=True)
        tree.mkdir()
        _write(content, tree, os.geteuid())

    try:
        await _to_its_end(lay_out)
        await _make(
            [*maker, "-quiet", "-o", str(image), "-V", LABEL, "-J", "-r", "-ldots", "-allow-lowercase",
             "-allow-multidot", "-l", "-publisher", "Trilith", str(tree)],
            timeout,
        )  # fmt: skip
        await _to_its_end(partial(_publish, image, dest, group))
    except OSError as e:
        raise Backend(f"The config drive {dest} cannot be written: {e.strerror}.", hint="Is the disk full?") from e
    finally:
        await _to_its_end(partial(_discard, work))


def _publish(image: Path, dest: Path, group: int) -> None:
    if group >= 0:
        os.chown(image, -1, group)
    image.chmod(0o640)
    with image.open("rb") as f:
        os.fsync(f.fileno())
    image.rename(dest)


async def _make(argv: list[str], timeout: float) -> None:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(timeout):
            _, err = await process.communicate()
    except TimeoutError as e:
        raise Deadline(f"{argv[0]} did not end within {timeout:.0f} s.") from e
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        raise Backend(f"{argv[0]} failed with {process.returncode}: {err.decode(errors='replace').strip()[-400:]}")
