"""The images: built once for a state of the builder's sources, kept in build/images, uploaded through the image API."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import trilith.images
from trilith.images import BuiltImage, build

ROOT = Path(__file__).parents[1] / "build" / "images"


def source_hash() -> str:
    """Of every file that the builder is made of: other sources, other images."""
    folder = Path(trilith.images.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def built(name: str, root: Path = ROOT) -> tuple[BuiltImage, bool]:
    """The image, and whether it had to be built now. Raises what trilith.images.build raises."""
    folder = root / source_hash()
    note = folder / f"{name}.json"
    if note.exists():
        known = json.loads(note.read_text())
        kept = folder / Path(known["path"]).name  # beside the note, wherever the folder is by now
        if kept.exists():
            return BuiltImage(**(known | {"path": kept})), False
    for old in root.iterdir() if root.is_dir() else ():
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    image = asyncio.run(build(name, folder, progress=lambda _what, _part: None))
    fresh = note.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(image), default=str))
    fresh.replace(note)
    return image, True


def upload(cloud: Any, image: BuiltImage) -> Any:
    """Through the image API, and active. Raises RuntimeError."""
    made = cloud.image.create_image(
        image.name,
        disk_format=image.disk_format,
        container_format="bare",
        visibility="public",
        min_disk=image.min_disk_gib,
        min_ram=image.min_ram_mib,
        allow_duplicates=True,
        **image.properties,
    )
    with image.path.open("rb") as file:
        answer = cloud.image.put(
            f"/images/{made.id}/file", data=file, headers={"Content-Type": "application/octet-stream"}
        )
    if answer.status_code >= 400:
        raise RuntimeError(f"upload of {image.name}: {answer.status_code} {answer.text[:500]}")
    found = cloud.image.get_image(made.id)
    if found.status != "active":
        raise RuntimeError(f"image {image.name} is {found.status}")
    return found
