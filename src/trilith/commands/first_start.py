"""What a new cloud has beside its identities: the external network, and on a simulated one the images of the tests."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from trilith.commands import images, networks
from trilith.model.identity import Project
from trilith.model.image import BlobFacts, Image
from trilith.store.tx import Tx

#: names of the images that a simulated cloud has from the start
SIMULATED_IMAGES = ("tiny", "tiny-alt")
_DONE = "cloud.seeded"


@dataclass(frozen=True)
class Seed:
    """One blob that lies in the cloud's store already."""

    name: str
    facts: BlobFacts


def is_seeded(value: str | None) -> bool:
    return value == "yes"


def setting() -> str:
    return _DONE


def seed(tx: Tx, *, external_cidr: str, mtu: int, simulated: tuple[Seed, ...]) -> None:
    """Once a cloud: what an operator deletes later stays deleted."""
    if is_seeded(tx.setting(_DONE)):
        return
    tx.set_setting(_DONE, "yes")
    networks.ensure_external(tx, cidr=external_cidr, mtu=mtu)
    project = tx.first(Project, name="admin")
    for one in simulated:
        if tx.first(Image, name=one.name) is not None:
            continue
        image = images.begin_snapshot(
            tx,
            name=one.name,
            owner=project.id if project else "",
            disk_format="root-tar",
            visibility="public",
            # a machine, which can do all that Nova knows, unless the flavor's trilith:pillar asks for a container
            properties={"trilith_simulated": "yes", "img_hv_type": "kvm"},
        )
        images.finish_snapshot(tx, image.id, one.facts)


def write_simulated_image(name: str, path: Path) -> None:
    """A root file system with one file that says what it is. Blocking."""
    text = f"{name}: an image of a simulated cloud; it boots nowhere else\n".encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("etc/simulated")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
