"""What the pool `dir` keeps of a volume, as a file that is replaced as a whole."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from trilith.drivers.storage.artefacts import sync_folder
from trilith.errors import Backend, Invalid, Missing

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}")


class VolumeRecord(msgspec.Struct, frozen=True):
    """top: the layer that is written; snapshots: id → the layer that holds it, oldest first. sizes: GiB of each
    snapshot. version: of this form."""

    size_gib: int
    top: str
    snapshots: dict[str, str] = {}
    sizes: dict[str, int] = {}
    version: int = 1


def check_id(value: str) -> str:
    """Raises Invalid for what is no UUID, and so might name another file."""
    if not _ID.fullmatch(value):
        raise Invalid(f"{value[:80]!r} is no volume's or snapshot's id.")
    return value


class Records:
    """One file a volume below `folder`. Blocking calls, for threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o750)
        for leftover in self._folder.glob(".*.new"):
            leftover.unlink(missing_ok=True)

    def _path(self, volume_id: str) -> Path:
        return self._folder / f"{check_id(volume_id)}.json"

    def find(self, volume_id: str) -> VolumeRecord | None:
        """Raises Backend for a file that cannot be read as a record."""
        try:
            return msgspec.json.decode(self._path(volume_id).read_bytes(), type=VolumeRecord)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as e:
            raise Backend(
                f"The record of volume {volume_id} cannot be read: {e}.",
                hint=f"Its data are untouched. Restore {self._path(volume_id)} from a backup of this host.",
            ) from e

    def get(self, volume_id: str) -> VolumeRecord:
        """Raises Missing."""
        found = self.find(volume_id)
        if found is None:
            raise Missing(f"There is no volume {volume_id} in this pool.")
        return found

    def put(self, volume_id: str, record: VolumeRecord) -> None:
        path = self._path(volume_id)
        new = path.with_name(f".{path.name}.new")
        with new.open("wb") as f:
            f.write(msgspec.json.encode(record))
            f.flush()
            os.fsync(f.fileno())
        new.rename(path)
        sync_folder(self._folder)

    def remove(self, volume_id: str) -> None:
        self._path(volume_id).unlink(missing_ok=True)
        sync_folder(self._folder)

    def ids(self) -> list[str]:
        return sorted(p.stem for p in self._folder.glob("[!.]*.json"))
