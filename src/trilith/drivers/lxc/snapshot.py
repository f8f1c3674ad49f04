"""A container's root as a compressed tar with ids from 0: `root-tar`, as images are uploaded."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from trilith.drivers.lxc import mounts, state, tool
from trilith.drivers.lxc.pool import Pool
from trilith.errors import Backend, Conflict

_SECONDS = 3600.0
_LEFT_OUT = ("proc", "sys", "dev", "run", "config-drive")


async def write_snapshot(pool: Pool, paths: state.Paths, guest: state.Guest, dest: str) -> None:
    """Write the new file `dest`. With btrfs the layer is copied at one instant and the guest goes on; without it
    the guest goes on too, and files that change meanwhile are as tar found them. Raises Conflict if dest exists.

    tar never leaves the mounted root: it is the only mount in its namespace below that directory, and links are
    stored as links.
    """
    target = Path(dest)
    if await asyncio.to_thread(target.exists):
        raise Conflict(f"{dest} exists.", hint="Snapshots are written to new files only.")
    partial = target.with_name(f"{target.name}.partial")
    frozen = f"{guest.server_id}.frozen"
    mounted = paths.home(guest.server_id) / "frozen"
    await asyncio.to_thread(mounted.mkdir, mode=0o700, exist_ok=True)
    layer = await pool.freeze(guest.server_id, frozen) if pool.limits else pool.layer(guest.server_id)
    try:
        argv = _tar(str(partial), str(mounted))
        ended = await mounts.run_on_frozen(
            guest.image, f"{layer}/up", str(mounted), argv, tool.clean_env(), timeout=_SECONDS
        )
        # 1: a file changed while it was read, which is what a layer without an instant copy allows
        if ended.exit_code != 0 and not (ended.exit_code == 1 and not pool.limits):
            raise Backend(f"tar failed: {ended.stderr.strip()[-1000:]}", hint="Check the free space for snapshots.")
        await asyncio.to_thread(os.replace, partial, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread(partial.unlink)
        if pool.limits:
            await pool.remove(frozen)
        await asyncio.to_thread(mounted.rmdir)


def _tar(partial: str, mounted: str) -> list[str]:
    argv = [tool.find("tar", "tar"), "--create", f"--file={partial}", f"--directory={mounted}"]
    argv += ["--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls", "--sparse", "--one-file-system"]
    argv += ["--use-compress-program=zstd -1 -T0", "--warning=no-file-ignored", "--no-wildcards-match-slash"]
    argv += [f"--exclude=./{name}/*" for name in _LEFT_OUT]
    tool.find("zstd", "zstd")
    return [*argv, "."]
