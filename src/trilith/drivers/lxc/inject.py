"""Files of a server's personality, written into the layer of a container that has never run.

The layer lies over the image's directory: a folder or a symbolic link of the image must be followed as the guest will
follow it, and never out of the root, whatever the image says.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Sequence
from pathlib import Path

from trilith.errors import Invalid
from trilith.model.instance import InjectedFile

_MAX_LINKS = 40
#: as cloud-init writes them on machines
_MODE = 0o660


def write(files: Sequence[InjectedFile], image: Path, upper: Path) -> None:
    """Owned by the container's root. A file of the image at the same place is covered. Raises Invalid for a path that
    is a folder, or goes through a file."""
    for file in files:
        words = resolve(file.path, (upper, image))
        if not words:
            raise Invalid(f"Personality path {file.path!r} names no file.", field="personality")
        folder = upper
        for number, word in enumerate(words[:-1], 1):
            folder = folder / word
            _folder(folder, image.joinpath(*words[:number]))
        target = folder / words[-1]
        below = image.joinpath(*words)
        if target.is_dir() or below.is_dir():
            raise Invalid(f"Personality path {file.path!r} is a folder.", field="personality")
        target.unlink(missing_ok=True)
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _MODE)
        with os.fdopen(handle, "wb") as out:
            out.write(file.content)
            os.fchmod(out.fileno(), _MODE)


def resolve(path: str, layers: Sequence[Path]) -> list[str]:
    """The path's parts inside of the root, with the symbolic links of the topmost layer that has them followed.

    The last part is not followed: what is there is covered. Raises Invalid.
    """
    pending = [w for w in path.split("/") if w not in ("", ".")][::-1]
    done: list[str] = []
    links = 0
    while pending:
        word = pending.pop()
        if word == "..":
            done = done[:-1]
            continue
        target = _link([*done, word], layers) if pending else ""
        if not target:
            done.append(word)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise Invalid(f"Personality path {path!r}: too many symbolic links.", field="personality")
        if posixpath.isabs(target):
            done = []
        pending += [w for w in target.split("/") if w not in ("", ".")][::-1]
    return done


def _link(words: list[str], layers: Sequence[Path]) -> str:
    """Where the symbolic link leads; "" for what is none. No part of `words` but the last can be a link."""
    for layer in layers:
        try:
            mode = os.lstat(layer.joinpath(*words)).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        return os.readlink(layer.joinpath(*words)) if stat.S_ISLNK(mode) else ""
    return ""


def _folder(folder: Path, below: Path) -> None:
    """The layer's folder, with the owner and mode of the image's where that has it: those of the layer are seen."""
    if folder.is_dir():
        return
    try:
        like = os.lstat(below)
    except FileNotFoundError:
        folder.mkdir(mode=0o755)
        return
    if not stat.S_ISDIR(like.st_mode):
        raise Invalid(f"Personality: {below.name} is no folder.", field="personality")
    folder.mkdir(mode=0o700)
    os.chown(folder, like.st_uid, like.st_gid)
    folder.chmod(stat.S_IMODE(like.st_mode))
