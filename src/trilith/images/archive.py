"""A root file system as a list of entries, and as a tar of the same bytes each time it is written from the same list.

Entries carry their own modes and owners, so that a build needs neither root nor set-uid files on the host.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import stat
import tarfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

#: every time stamp in a built archive (2024-01-01 UTC): the same input gives the same hash
EPOCH = 1_704_067_200


@dataclass(slots=True)
class Entry:
    mode: int
    uid: int = 0
    gid: int = 0
    content: bytes | Path = b""
    link: str = ""
    folder: bool = False


@dataclass(slots=True)
class Tree:
    """Path (without a leading slash) → entry."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def folder(self, path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """A directory, with those above it."""
        for parent in reversed(PurePosixPath(path).parents):
            if str(parent) != "." and str(parent) not in self.entries:
                self.entries[str(parent)] = Entry(0o755, folder=True)
        self.entries[path] = Entry(mode, uid, gid, folder=True)

    def _above(self, path: str) -> None:
        above = str(PurePosixPath(path).parent)
        if above != "." and above not in self.entries:
            self.folder(above)

    def file(self, path: str, content: bytes | str | Path, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        self._above(path)
        data = content.encode() if isinstance(content, str) else content
        self.entries[path] = Entry(mode, uid, gid, data)

    def link(self, path: str, target: str) -> None:
        self._above(path)
        self.entries[path] = Entry(0o777, link=target)

    def write(self, dest: Path) -> None:
        """An uncompressed PAX tar; blocks (run it in a thread)."""
        with tarfile.open(dest, "w", format=tarfile.PAX_FORMAT) as tar:
            for path, entry in sorted(self.entries.items()):
                info = tarfile.TarInfo(f"./{path}")
                info.mode, info.uid, info.gid, info.mtime = entry.mode, entry.uid, entry.gid, EPOCH
                if entry.folder:
                    info.type = tarfile.DIRTYPE
                    tar.addfile(info)
                elif entry.link:
                    info.type, info.linkname = tarfile.SYMTYPE, entry.link
                    tar.addfile(info)
                else:
                    data = entry.content if isinstance(entry.content, bytes) else entry.content.read_bytes()
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))


def cpio(tree: Tree) -> bytes:
    """The tree in the kernel's initramfs form (newc), gzip-compressed."""
    out = io.BytesIO()

    def put(number: int, name: str, mode: int, data: bytes) -> None:
        head = f"070701{number:08X}{mode:08X}{0:08X}{0:08X}{1:08X}{EPOCH:08X}{len(data):08X}"
        head += f"{0:08X}{0:08X}{0:08X}{0:08X}{len(name) + 1:08X}{0:08X}"
        out.write(head.encode() + name.encode() + b"\0")
        out.write(b"\0" * (-out.tell() % 4))
        out.write(data)
        out.write(b"\0" * (-out.tell() % 4))

    number = 0
    for number, (path, entry) in enumerate(sorted(tree.entries.items()), 1):
        if entry.folder:
            put(number, path, stat.S_IFDIR | entry.mode, b"")
        elif entry.link:
            put(number, path, stat.S_IFLNK | entry.mode, entry.link.encode())
        else:
            data = entry.content if isinstance(entry.content, bytes) else entry.content.read_bytes()
            put(number, path, stat.S_IFREG | entry.mode, data)
    put(number + 1, "TRAILER!!!", 0, b"")
    return gzip.compress(out.getvalue(), 6, mtime=0)


def sha256(path: Path) -> str:
    """Blocks; run it in a thread."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
