"""Where servers' writable layers live: btrfs, because its qgroups bound a directory tree on every kernel that has it.

A btrfs that already holds the state directory is used as it is; elsewhere one sparse file of ours is loop-mounted.
A layer is a subvolume with a limit of its own, so making, bounding, copying and removing one costs milliseconds.
(ext4 and xfs project quotas were tried: they need kernel options that not every kernel has. docs/decisions/0003.)
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from trilith.drivers.lxc import btrfs, state, tool
from trilith.errors import Backend, TrilithError, Unsupported

_GIB = 1 << 30
_MOUNTED = "nosuid,nodev,noexec,noatime,discard=async,user_subvol_rm_allowed"


def _mount_point(path: Path) -> bool:
    return os.path.ismount(path)


def _is_btrfs(path: Path) -> bool:
    """Whether a path lies on btrfs, by the mount table (statfs(2)'s magic is not in the standard library)."""
    device = os.stat(path).st_dev
    best, kind = "", ""
    real = os.path.realpath(path)
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4]
        if (real == point or real.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind == "btrfs" and device != 0


class Pool:
    """limits: whether a layer's size is enforced. Without it `create` refuses a size."""

    def __init__(self, root: Path, *, gib: int) -> None:
        self._image = root / "pool.img"
        self.path = root / "pool"
        self._gib = gib
        self._stale = root / "pool.stale"
        self._sweeping = asyncio.Lock()
        self.limits = False
        self.why_not = "the pool is not open"
        self._looped = False

    async def open(self) -> None:
        """Make and mount what is missing; grow a smaller pool file. Where btrfs is missing, go on without limits."""
        await asyncio.to_thread(self.path.mkdir, mode=0o700, parents=True, exist_ok=True)
        if await asyncio.to_thread(_mount_point, self.path):
            self._looped = await asyncio.to_thread(self._image.exists)
            await self._cache_once()
            await self._grow()
        elif not await asyncio.to_thread(_is_btrfs, self.path):
            try:
                await self._mount_file()
            except TrilithError as exc:
                self.limits, self.why_not = False, str(exc)
                return
        await tool.call([tool.find("btrfs", "btrfs-progs"), "quota", "enable", str(self.path)])
        self.limits, self.why_not = True, ""
        await self._destroy_groups()

    async def _mount_file(self) -> None:
        if "\tbtrfs\n" not in await asyncio.to_thread(Path("/proc/filesystems").read_text, "ascii"):
            modprobe = await tool.capture([tool.find("modprobe", "kmod"), "btrfs"], timeout=20)
            if modprobe.exit_code != 0:
                raise Backend("The kernel has no btrfs.", hint="Load the module btrfs, or use a kernel that has it.")
        if not await asyncio.to_thread(self._image.exists):
            fresh = self._image.with_suffix(".new")  # a file that mkfs did not finish is never taken for a pool
            await asyncio.to_thread(_sparse, fresh, self._gib * _GIB)
            mkfs = tool.find("mkfs.btrfs", "btrfs-progs")
            await tool.call([mkfs, "-q", "-f", "-m", "single", "-L", "trilith", str(fresh)])
            await asyncio.to_thread(os.replace, fresh, self._image)
        mount = tool.find("mount", "mount")
        await tool.call([mount, "-t", "btrfs", "-o", f"loop,{_MOUNTED}", str(self._image), str(self.path)])
        self._looped = True
        await asyncio.to_thread(os.chmod, self.path, 0o700)  # layers hold set-user-id files of guests, ids from 0
        await self._cache_once()
        await self._grow()

    async def _cache_once(self) -> None:
        """Direct I/O below the loop device. Else the file's pages are kept beside those of what lies in it, and
        cgroup v2 counts them as the writing container's: one of 64 MiB wrote 4 MB/s in place of 33. A file system
        that has no direct I/O (tmpfs) goes without."""
        for device in await self._devices() if self._looped else []:
            await tool.capture([tool.find("losetup", "mount"), "--direct-io=on", device], timeout=20)

    async def _devices(self) -> list[str]:
        found = await tool.call([tool.find("losetup", "mount"), "--noheadings", "-O", "NAME", "-j", str(self._image)])
        return found.decode().split()

    async def _grow(self) -> None:
        if not self._looped or (await asyncio.to_thread(self._image.stat)).st_size >= self._gib * _GIB:
            return
        await asyncio.to_thread(os.truncate, self._image, self._gib * _GIB)
        for device in await self._devices():
            await tool.call([tool.find("losetup", "mount"), "-c", device])
        await tool.call([tool.find("btrfs", "btrfs-progs"), "filesystem", "resize", "max", str(self.path)])

    async def unmount(self) -> None:
        """Let go of the mount and its loop device (which clears itself). Only when no guest runs."""
        if self._looped and await asyncio.to_thread(_mount_point, self.path):
            await tool.call([tool.find("umount", "mount"), str(self.path)])
        self.limits, self.why_not = False, "the pool is not open"

    def layer(self, server_id: str) -> Path:
        return self.path / server_id

    async def has(self, server_id: str) -> bool:
        return await asyncio.to_thread((self.layer(server_id) / "work").is_dir)

    async def create(self, server_id: str, *, limit_mib: int) -> None:
        """Make or find the layer, and set its limit in MiB (0: none). Raises Unsupported where no limit works."""
        if limit_mib and not self.limits:
            raise Unsupported(
                f"No disk limit can be enforced on this node: {self.why_not}", capability="disk_limit", field="disk_gib"
            )
        await asyncio.to_thread(self._create, self.layer(server_id), limit_mib)

    def _create(self, path: Path, limit_mib: int) -> None:
        if not self.limits:
            path.mkdir(mode=0o700, exist_ok=True)
        elif not path.exists():
            btrfs.create_subvolume(path)
        for name in ("up", "work"):
            (path / name).mkdir(mode=0o755, exist_ok=True)
        if limit_mib:
            btrfs.limit_subvolume(path, limit_mib)

    async def limit(self, server_id: str, limit_mib: int) -> None:
        if not self.limits:
            raise Unsupported(
                f"No disk limit can be enforced on this node: {self.why_not}", capability="disk_limit", field="disk_gib"
            )
        await asyncio.to_thread(btrfs.limit_subvolume, self.layer(server_id), limit_mib)

    async def freeze(self, server_id: str, name: str) -> Path:
        """A read-only copy of the layer at this instant, under another name; for `remove`. Copies no data."""
        if not self.limits:
            raise Unsupported("A layer without btrfs has no instant copy.", capability="snapshot")
        target = self.path / name
        await self.remove(name)
        program = tool.find("btrfs", "btrfs-progs")
        await tool.call([program, "-q", "subvolume", "snapshot", "-r", str(self.layer(server_id)), str(target)])
        return target

    async def remove(self, name: str) -> None:
        """Remove a layer, its limit and all in it. Absent is success."""
        path = self.path / name
        if not await asyncio.to_thread(path.exists):
            return
        if not self.limits:
            await tool.call([tool.find("rm", "coreutils"), "-rf", "--one-file-system", str(path)], timeout=600)
            return
        program = tool.find("btrfs", "btrfs-progs")
        group = (await tool.call([program, "inspect-internal", "rootid", str(path)])).decode().strip()
        # a guest whose root is a btrfs could have made subvolumes below; deepest first
        listed = await tool.call([program, "subvolume", "list", "-o", str(path)])
        below = [line.split(" path ", 1)[1] for line in listed.decode().splitlines() if " path " in line]
        for inner in sorted(below, key=len, reverse=True):
            tail = inner.split(f"{name}/", 1)
            if len(tail) == 2:
                await tool.call([program, "-q", "subvolume", "delete", str(path / tail[1])])
        await tool.call([program, "-q", "subvolume", "delete", str(path)])
        await self._destroy_groups(group)

    async def _destroy_groups(self, *more: str) -> None:
        """Remove the qgroups of removed layers. btrfs refuses (busy) until it has cleared the subvolume away, which it
        does on its own time: what is refused is written down and tried again at the next removal and `open`."""
        async with self._sweeping:
            todo = [*await asyncio.to_thread(_lines, self._stale), *more]
            await asyncio.to_thread(state.write, self._stale, "\n".join(todo).encode())
            program, left = tool.find("btrfs", "btrfs-progs"), list[str]()
            for group in dict.fromkeys(todo):
                done = await tool.capture([program, "qgroup", "destroy", f"0/{group}", str(self.path)], timeout=30)
                words = done.stderr.decode(errors="replace")
                if done.exit_code == 0 or "No such" in words:
                    continue  # newer kernels drop a group with its subvolume
                left.append(group)
                if "busy" not in words:
                    raise Backend(f"btrfs qgroup destroy failed: {words.strip()}")
                break  # they are cleared away in order: the later ones are busy, too
            later = todo[todo.index(left[0]) :] if left else []
            await asyncio.to_thread(state.write, self._stale, "\n".join(later).encode())

    async def names(self) -> list[str]:
        return await asyncio.to_thread(lambda: sorted(os.listdir(self.path)) if self.path.is_dir() else [])

    def capacity_gib(self) -> int:
        """GiB that layers can hold in all: the pool, and no more than what its file can still grow to."""
        stat = os.statvfs(self.path)
        total = stat.f_blocks * stat.f_frsize
        if self._looped:
            below = os.statvfs(self._image)
            total = min(total, self._image.stat().st_blocks * 512 + below.f_bavail * below.f_frsize)
        return total // _GIB


def _sparse(path: Path, size: int) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").split() if path.exists() else []
