"""A root file system out of a tar that nobody has vouched for. Runs inside the jail; standard library only.

The tree starts empty and only this code writes to it, so what exists is known from what was written: a path below a
symbolic link, a name that climbs, a hard link to anything but a file unpacked before are refused, not repaired.
Device nodes are passed over: containers get theirs from the runtime, machines from the kernel.
"""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from dataclasses import dataclass, field
from typing import IO, Any

CHUNK = 1 << 20
#: magic number → how its tool writes the plain tar to standard output
FILTERS: tuple[tuple[bytes, tuple[str, ...]], ...] = (
    (b"\x28\xb5\x2f\xfd", ("/usr/bin/zstd", "-dcq", "--no-progress", "-M256MB")),
    (b"\x1f\x8b", ("/usr/bin/gzip", "-dc")),
    (b"\xfd7zXZ\x00", ("/usr/bin/xz", "-dc", "-M256MiB")),
    (b"BZh", ("/usr/bin/bzip2", "-dc")),
)
XATTR = "SCHILY.xattr."
#: extended attributes that mean something below another kernel; others (trusted.*, overlay's own) stay out
XATTRS_KEPT = ("user.", "security.capability")


class Refused(Exception):
    """The archive breaks a rule."""


@dataclass(slots=True)
class Policy:
    """What may be written where. Pure: it looks at headers, and never at the disk."""

    max_bytes: int
    max_files: int
    files: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    count: int = 0
    bytes: int = 0

    def name(self, raw: str) -> str:
        """The path below the root, "" for the root itself."""
        if "\0" in raw or len(raw) > 4096:
            raise Refused("a name is longer than 4096 bytes or holds a NUL")
        if raw.startswith("/"):
            raise Refused(f"{raw!r} is an absolute path")
        parts = [part for part in raw.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise Refused(f"{raw!r} climbs out of the archive")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if above in self.links:
                raise Refused(f"{raw!r} is below the symbolic link {above!r}")
            if above in self.files:
                raise Refused(f"{raw!r} is below the file {above!r}")
        return "/".join(parts)

    def admit(self, member: tarfile.TarInfo) -> str | None:
        """The path to write, or None for what is passed over. Raises Refused."""
        self.count += 1
        if self.count > self.max_files:
            raise Refused(f"it holds more than {self.max_files} files")
        path = self.name(member.name)
        if member.ischr() or member.isblk():
            return None
        if not (0 <= member.uid < 65536 and 0 <= member.gid < 65536):
            raise Refused(f"{member.name!r} belongs to {member.uid}:{member.gid}, outside of 0 to 65535")
        if path == "" and not member.isdir():
            raise Refused("the root is not a folder")
        if member.isdir():
            if path in self.links or path in self.files:
                raise Refused(f"{member.name!r} replaces what is not a folder")
            self.folders.add(path)
            return path
        if path in self.folders:
            raise Refused(f"{member.name!r} replaces a folder")
        if member.islnk():
            target = self.name(member.linkname)
            if target not in self.files:
                raise Refused(f"{member.name!r} is a hard link to {member.linkname!r}, no file unpacked before")
            self.files.add(path)
            self.links.discard(path)
        elif member.issym():
            self.links.add(path)
            self.files.discard(path)
        elif member.isreg() or member.isfifo():
            self.bytes += member.size if member.isreg() else 0
            if self.bytes > self.max_bytes:
                raise Refused(f"it unpacks to more than {self.max_bytes >> 20} MiB")
            self.files.add(path)
            self.links.discard(path)
        else:
            raise Refused(f"{member.name!r} is of the unknown kind {member.type!r}")
        return path


def _attributes(target: str, member: tarfile.TarInfo) -> None:
    for key, value in member.pax_headers.items():
        if key.startswith(XATTR) and key[len(XATTR) :].startswith(XATTRS_KEPT):
            os.setxattr(target, key[len(XATTR) :], value.encode("utf-8", "surrogateescape"), follow_symlinks=False)


def _place(root: str, path: str, member: tarfile.TarInfo, archive: tarfile.TarFile, policy: Policy) -> None:
    target = os.path.join(root, path) if path else root
    above = os.path.dirname(path)
    if above and above not in policy.folders:
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
        while above and above not in policy.folders:
            policy.folders.add(above)
            above = os.path.dirname(above)
    if not member.isdir() and os.path.lexists(target):
        os.unlink(target)
    if member.isdir():
        os.makedirs(target, 0o700, exist_ok=True)
    elif member.islnk():
        os.link(os.path.join(root, policy.name(member.linkname)), target, follow_symlinks=False)
        return
    elif member.issym():
        os.symlink(member.linkname, target)
        os.chown(target, member.uid, member.gid, follow_symlinks=False)
        return
    elif member.isfifo():
        os.mkfifo(target, 0o600)
    else:
        source = archive.extractfile(member)
        if source is None:
            raise Refused(f"{member.name!r} has no content")
        with open(target, "xb", buffering=0) as f:
            while chunk := source.read(CHUNK):
                f.write(chunk)
            # a sparse file's last hole
            if f.tell() < member.size:
                f.truncate(member.size)
    os.chown(target, member.uid, member.gid, follow_symlinks=False)
    # after chown, which clears the set-uid bits
    os.chmod(target, stat.S_IMODE(member.mode))
    if not member.isdir() or path:
        os.utime(target, (member.mtime, member.mtime))
    _attributes(target, member)


def _open(path: str) -> tuple[IO[bytes], subprocess.Popen[bytes] | None]:
    with open(path, "rb") as f:
        head = f.read(8)
    for magic, argv in FILTERS:
        if head.startswith(magic):
            if not os.path.exists(argv[0]):
                raise OSError(f"{argv[0]} is not installed on this node")
            process = subprocess.Popen(
                [*argv, path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            assert process.stdout is not None
            return process.stdout, process
    return open(path, "rb"), None


class Bounded(io.RawIOBase):
    """The decompressed stream, ended by Refused when it grows past all that its headers may ask for."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream, self._left, self._limit = stream, limit, limit

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise Refused(f"it decompresses to more than {self._limit >> 20} MiB")
        return data


def unpack(source: str, root: str, policy: Policy) -> None:
    """Raises Refused, tarfile.TarError, OSError."""
    os.mkdir(root, 0o755)
    stream, process = _open(source)
    # headers: 512 bytes a member, and as much again for long names and attributes
    bounded = Bounded(stream, policy.max_bytes + policy.max_files * 2048 + (1 << 20))
    times: list[tuple[str, float]] = []
    with tarfile.open(fileobj=bounded, mode="r|", bufsize=CHUNK, errorlevel=2) as archive:
        for member in archive:
            path = policy.admit(member)
            if path is None:
                continue
            _place(root, path, member, archive, policy)
            if member.isdir():
                times.append((os.path.join(root, path) if path else root, member.mtime))
            # tarfile remembers every member: of a million files that is memory for nothing
            archive.members = []  # type: ignore[attr-defined]
    for target, when in reversed(times):
        os.utime(target, (when, when), follow_symlinks=False)
    while bounded.read(CHUNK):
        pass
    if process is not None and process.wait() != 0:
        raise Refused("its compressed stream is damaged")
    if policy.count == 0:
        raise Refused("it is empty")


def main(order: dict[str, Any]) -> int:
    """order: max_bytes, max_files. Exit 0 with a summary, 2 with the reason why the archive is refused, 3 else."""
    os.umask(0)
    policy = Policy(max_bytes=order["max_bytes"], max_files=order["max_files"])
    try:
        unpack("/in/blob", "/out/root", policy)
    except (Refused, tarfile.TarError, UnicodeError, OverflowError, ValueError, EOFError) as e:
        sys.stdout.write(json.dumps({"invalid": str(e) or type(e).__name__}) + "\n")
        return 2
    except MemoryError:
        sys.stdout.write(json.dumps({"invalid": "reading it takes more memory than is allowed"}) + "\n")
        return 2
    except OSError as e:
        sys.stdout.write(json.dumps({"failed": str(e)}) + "\n")
        return 3
    sys.stdout.write(json.dumps({"files": policy.count, "bytes": policy.bytes}) + "\n")
    return 0
