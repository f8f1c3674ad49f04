"""One entry for every image that can be built here."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path

from trilith.errors import Backend, Invalid, Unsupported
from trilith.images import apt, debian, tiny
from trilith.images.archive import sha256
from trilith.images.process import run
from trilith.images.result import BuiltImage, Progress

NAMES = ("tiny", "debian-12", "ubuntu-24.04")


async def build(
    name: str,
    dest: Path,
    *,
    progress: Progress,
    mirror: str = "",
    mode: str = "",
) -> BuiltImage:
    """Build the image `name` as `dest`/`name`.tar.zst, in place of an older one.

    mirror: URL of a package mirror, instead of the host's own apt sources.
    mode: how packages are set up (mmdebstrap's --mode): root, unshare or "" for root when we are.
    Raises Invalid (no such image), Unsupported (this host lacks a tool or a package source), Backend, Deadline.
    Work goes on in a folder beside the result, removed in every case; cancelled, nothing is left.
    """
    if name not in NAMES:
        raise Invalid(f"There is no image {name!r} to build.", hint=f"Choose of {', '.join(NAMES)}.", field="name")
    if mode not in {"", "root", "unshare"}:
        raise Invalid(f"mode {mode!r} is none of root, unshare.", field="mode")
    if os.uname().machine != "x86_64":
        raise Unsupported(f"Images are built for x86_64 only, not {os.uname().machine}.", capability="image.build")
    if shutil.which("zstd") is None:
        raise Unsupported("zstd is missing.", capability="image.build", hint="Install the package zstd.")
    try:
        os.makedirs(dest, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=dest))
    except OSError as e:
        raise Backend(f"Cannot work in {dest}: {e.strerror}.") from e
    try:
        tar = work / "image.tar"
        if name == "tiny":
            codename = apt.host_codename() if not mirror else "bookworm"
            if codename not in apt.VENDORS:
                codename = "bookworm"
            tree = await tiny.build_tree(work, codename=codename, mirror=mirror, progress=progress)
            progress("archive", 0.75)
            await asyncio.to_thread(tree.write, tar)
            properties, min_disk, min_ram = tiny.PROPERTIES, tiny.MIN_DISK_GIB, tiny.MIN_RAM_MIB
        else:
            recipe = debian.RECIPES[name]
            await debian.build_tar(work, tar, recipe, mirror=mirror, mode=mode, progress=progress)
            properties, min_disk, min_ram = recipe.properties, recipe.min_disk_gib, recipe.min_ram_mib
        progress("compress", 0.85)
        packed = work / f"{name}.tar.zst"
        await run(["zstd", "-q", "-T0", "-6", tar, "-o", packed], timeout=600)
        digest = await asyncio.to_thread(sha256, packed)
        final = dest / packed.name
        await asyncio.to_thread(_publish, packed, final)
    except OSError as e:
        raise Backend(f"Building {name} failed: {e}.", hint="Is the disk full?") from e
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, work, True))
    progress("done", 1.0)
    return BuiltImage(
        name=name,
        path=final,
        disk_format="root-tar",
        sha256=digest,
        properties=dict(properties),
        min_disk_gib=min_disk,
        min_ram_mib=min_ram,
    )


def _publish(made: Path, final: Path) -> None:
    with made.open("rb") as f:
        os.fsync(f.fileno())
    made.rename(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
