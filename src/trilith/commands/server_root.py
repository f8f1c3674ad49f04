"""What a server's root disk starts from: taken, held, and given up. And the images that are made of it."""

from __future__ import annotations

from trilith import errors
from trilith.commands import blobs, image_limits, images
from trilith.model.guest import Pillar
from trilith.model.image import Image
from trilith.model.record import Actor
from trilith.model.server import Rescue, RootImage, Server
from trilith.store.tx import Tx

#: image property that names another image's blob whose kernel boots this one
KERNEL = "trilith_kernel"
#: property of a root that is a copy of another: what a creation writes into a root is in it already
COPIED = "trilith_root_copied"


def root_of(server: Server) -> RootImage:
    return RootImage(
        sha256=server.image_sha256, disk_format=server.image_format, properties=dict(server.image_properties)
    )


def needs(root: RootImage | None) -> set[str]:
    """The blobs that a root cannot do without."""
    if root is None:
        return set()
    return {sha256 for sha256 in (root.sha256, root.properties.get(KERNEL, "")) if sha256}


def hold(tx: Tx, server: Server, root: RootImage) -> None:
    """Raises Missing when a blob's last holder has let go of it."""
    for sha256 in needs(root):
        blobs.hold(tx, sha256, "server", server.id)


def take(tx: Tx, server: Server, root: RootImage) -> Server:
    """From now on the root starts from this. What it started from is held on until `let_go`."""
    hold(tx, server, root)
    return tx.change(server, image_sha256=root.sha256, image_format=root.disk_format, image_properties=root.properties)


def let_go(tx: Tx, server: Server, root: RootImage | None) -> None:
    """Give up the blobs of a root of before, but for those that the present one, or a rescue, needs too."""
    kept = needs(root_of(server)) | needs(server.rescue.image if isinstance(server.rescue, Rescue) else None)
    for sha256 in needs(root) - kept:
        blobs.release(tx, server.id, sha256=sha256)


def begin_image(tx: Tx, actor: Actor, server: Server, *, name: str, owner: str, properties: dict[str, str]) -> Image:
    """The record of an image of the server's root, `saving`. properties: beside those of the server's image.

    Raises QuotaExceeded over the owner's limits of images (Nova's own answer to Glance's 413).
    """
    try:
        image_limits.check(tx, owner, image_count_total=1, image_size_total=0, image_count_uploading=1)
    except errors.TooLarge as err:
        raise errors.QuotaExceeded(err.message, hint=err.hint) from err
    source = tx.find(Image, server.image_id)
    own = {k: v for k, v in server.image_properties.items() if not k.startswith(("trilith_build", COPIED))}
    return images.begin_snapshot(
        tx,
        name=name,
        owner=owner,
        disk_format="root-tar" if server.pillar is Pillar.LXC else "qcow2",
        properties={
            **own,
            "image_type": "snapshot",
            "instance_uuid": server.id,
            "base_image_ref": server.image_id,
            "user_id": actor.user_id,
            **properties,
        },
        min_disk=server.flavor.disk or (source.min_disk if source else 0),
        min_ram=source.min_ram if source else 0,
    )


def drop_shelved_image(tx: Tx, server: Server) -> None:
    """The image of a shelved server, when it is not needed any more. One that its owner deleted, or protects, stays
    as it is."""
    image = tx.find(Image, server.shelved_image_id) if server.shelved_image_id else None
    if image is not None and not image.protected:
        images.delete(tx, image.id)
