"""Simulated storage: artefacts are names, disks are empty files that outlive the process. For tests and scale runs."""

from __future__ import annotations

from pathlib import Path

from trilith import errors
from trilith.drivers.contract import StorageCapabilities
from trilith.drivers.simulated.fabric import Fault, no_fault
from trilith.model.guest import Artefact, BlobSource, ImageForm


class SimulatedStorage:
    """A StorageDriver."""

    def __init__(self, state: Path, *, node: str) -> None:
        self._dir = state / "simulated" / node / "disks"
        self._dir.mkdir(parents=True, exist_ok=True)
        self._artefacts: dict[tuple[str, ImageForm], Artefact] = {}
        self.fault: Fault = no_fault

    @property
    def capabilities(self) -> StorageCapabilities:
        return StorageCapabilities(name="simulated")

    async def realize(self, blob: BlobSource, form: ImageForm) -> Artefact:
        self.fault("realize")
        made = Artefact(sha256=blob.sha256, form=form, path=f"/simulated/{blob.sha256}/{form}")
        return self._artefacts.setdefault((blob.sha256, form), made)

    async def artefacts(self) -> list[Artefact]:
        return list(self._artefacts.values())

    async def drop(self, sha256: str) -> None:
        for key in [k for k in self._artefacts if k[0] == sha256]:
            del self._artefacts[key]

    async def create_disk(self, disk_id: str, *, size_gib: int, backing: Artefact) -> str:
        self.fault("create_disk")
        path = self._dir / disk_id
        path.write_text(f"{size_gib}\n")
        return str(path)

    async def resize_disk(self, disk_id: str, *, size_gib: int) -> None:
        self.fault("resize_disk")
        if not (self._dir / disk_id).exists():
            raise errors.Missing(f"There is no disk {disk_id}.")
        (self._dir / disk_id).write_text(f"{size_gib}\n")

    async def delete_disk(self, disk_id: str) -> None:
        self.fault("delete_disk")
        (self._dir / disk_id).unlink(missing_ok=True)
        (self._dir / f"{disk_id}.kept").unlink(missing_ok=True)

    async def keep_disk(self, disk_id: str) -> None:
        self.fault("keep_disk")
        kept = self._dir / f"{disk_id}.kept"
        if not kept.exists():
            kept.write_text((self._dir / disk_id).read_text())

    async def restore_disk(self, disk_id: str) -> None:
        self.fault("restore_disk")
        kept = self._dir / f"{disk_id}.kept"
        if kept.exists():
            kept.replace(self._dir / disk_id)

    async def forget_disk(self, disk_id: str) -> None:
        self.fault("forget_disk")
        (self._dir / f"{disk_id}.kept").unlink(missing_ok=True)

    async def disks(self) -> list[str]:
        return [p.name for p in self._dir.iterdir() if p.suffix != ".kept"]

    async def free_mib(self) -> int:
        return 4096 * 1024
