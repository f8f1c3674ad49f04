"""Config drives of this node: a folder for a container, an ISO 9660 image for a machine."""

from __future__ import annotations

import asyncio
import grp
import shutil
from pathlib import Path

from trilith.agent import config_drive
from trilith.model.instance import InstanceData


class NodeConfigDrives:
    """state: a folder of its own. qemu_group: who may read the images, "" for root only."""

    def __init__(self, state: Path, *, qemu_group: str = "") -> None:
        self._dir = state / "config-drives"
        self._dir.mkdir(parents=True, exist_ok=True)
        self._dir.chmod(0o711)
        for begun in self._dir.glob(".*"):
            shutil.rmtree(begun)  # half a drive of an agent that died
        self._group = grp.getgrnam(qemu_group).gr_gid if qemu_group else -1

    async def write(self, instance: InstanceData, *, container: bool) -> str:
        """Its path."""
        if container:
            folder = self._dir / instance.uuid
            await config_drive.write_folder(instance, folder)
            return str(folder)
        image = self._dir / f"{instance.uuid}.iso"
        await config_drive.write_iso(instance, image, group=self._group)
        return str(image)

    async def remove(self, server_id: str) -> None:
        await asyncio.to_thread(shutil.rmtree, self._dir / server_id, True)
        await asyncio.to_thread((self._dir / f"{server_id}.iso").unlink, missing_ok=True)
