"""Members of a shared image: the projects that may see it, and whether they want to."""

from __future__ import annotations

from trilith import errors
from trilith.model.image import Image, ImageMember
from trilith.store.tx import Reader, Tx, new_id

STATUSES = ("pending", "accepted", "rejected")
#: Glance's default of image_member_quota
QUOTA = 128


class TooManyMembers(errors.TooLarge):
    """The image has as many members as it may have (HTTP 413)."""


def add(tx: Tx, image_id: str, member_id: str) -> ImageMember:
    """Raises Forbidden for an image that is not shared, Conflict for a member that is there, TooManyMembers."""
    image = tx.get(Image, image_id)
    if image.visibility != "shared":
        raise errors.Forbidden("Only shared images have members.")
    if find(tx, image_id, member_id) is not None:
        raise errors.Conflict(f"Member {member_id} is duplicated for image {image_id}.", field="member")
    if tx.count(ImageMember, image_id=image_id) >= QUOTA:
        raise TooManyMembers(f"The limit of {QUOTA} members of an image has been exceeded.")
    return tx.add(ImageMember(id=new_id(), image_id=image_id, member_id=member_id))


def set_status(tx: Tx, image_id: str, member_id: str, status: str) -> ImageMember:
    """Raises Missing for who is no member, Invalid for an unknown status."""
    if status not in STATUSES:
        raise errors.Invalid(f"Status must be one of {', '.join(STATUSES)}.", field="status")
    return tx.change(get(tx, image_id, member_id), status=status)


def remove(tx: Tx, image_id: str, member_id: str) -> None:
    """Raises Missing for who is no member."""
    tx.remove(get(tx, image_id, member_id))


def find(reader: Reader, image_id: str, member_id: str) -> ImageMember | None:
    return reader.first(ImageMember, image_id=image_id, member_id=member_id)


def get(reader: Reader, image_id: str, member_id: str) -> ImageMember:
    found = find(reader, image_id, member_id)
    if found is None:
        raise errors.Missing(f"{member_id} not found in the member list of the image {image_id}.")
    return found
