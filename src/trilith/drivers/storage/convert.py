"""An uploaded disk image in another format, for the image service: inspected first, converted in the jail."""

from __future__ import annotations

import asyncio
import os
import uuid
from pathlib import Path

from trilith.drivers.storage.confined import Bounds, confined, fault
from trilith.drivers.storage.forms import Limits
from trilith.drivers.storage.inspect import inspect_disk
from trilith.errors import Invalid, Unsupported

MIB = 1 << 20
#: disk_format of the image API → qemu-img's, for what may be asked for
_WANTED = {"raw": "raw", "qcow2": "qcow2"}


async def convert_image(source: Path, target: Path, disk_format: str, wanted: str) -> None:
    """Write `target` whole, or not at all; its folder is made.

    disk_format, wanted: the image API's names. Raises Invalid for content that is not what it is said to be or unsafe,
    Unsupported for a format that is not converted to, Backend for a full disk or a host without confinement.
    """
    if wanted not in _WANTED:
        raise Unsupported(f"Images are not converted to {wanted}.", capability="image.conversion")
    facts = await asyncio.to_thread(inspect_disk, source, disk_format, max_virtual_gib=Limits().max_virtual_gib)
    made = target.parent
    await asyncio.to_thread(made.mkdir, parents=True, exist_ok=True)
    name = f"{uuid.uuid4().hex}.part"
    try:
        outcome = await confined(
            inputs={"blob": source},
            output=made,
            bounds=Bounds(memory_bytes=4 << 30, cpu_seconds=1800, file_bytes=facts.virtual_bytes * 9 // 8 + 64 * MIB),
            argv=["qemu-img", "convert", "-q", "-f", facts.format, "-O", _WANTED[wanted], "/in/blob", f"/out/{name}"],
        )
        if outcome.code:
            error = fault("qemu-img", outcome, made.parent)
            if "full" in error.message or outcome.code >= 124:
                raise error
            raise Invalid(f"The image cannot be converted: {outcome.words}")
        await asyncio.to_thread(os.replace, made / name, target)
    finally:
        await asyncio.to_thread((made / name).unlink, missing_ok=True)
