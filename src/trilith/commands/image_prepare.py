"""Images fetched ahead of their first server: a job an image, for the nodes of a host aggregate."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trilith import errors
from trilith.commands import aggregates
from trilith.jobs.submit import submit
from trilith.model.image import Image, ImageState
from trilith.model.job import Job
from trilith.store.tx import Tx

KIND = "image.prepare"
#: seconds for all nodes
DEADLINE = 6 * 3600.0


class PrepareArgs(msgspec.Struct, frozen=True):
    image_id: str
    nodes: tuple[str, ...]
    version: int = 1


def prepare(tx: Tx, number: int, image_ids: Sequence[str]) -> list[Job]:
    """Raises Missing for the aggregate, Invalid for an image that is not there or not active, or without a node."""
    aggregate = aggregates.get(tx, number)
    found = {i.id: i for i in tx.select(Image, id=list(image_ids))}
    for image_id in image_ids:
        image = found.get(image_id)
        if image is None or image.state is not ImageState.ACTIVE:
            raise errors.Invalid(f"Image {image_id} is not there, or not active.", field="cache")
    if not aggregate.hosts:
        raise errors.Invalid(f"Aggregate {number} has no hosts.", hint="Add hosts to it first.")
    return [
        submit(
            tx,
            KIND,
            resource="image",
            resource_id=image_id,
            args=PrepareArgs(image_id=image_id, nodes=aggregate.hosts),
            deadline=DEADLINE,
        )
        for image_id in image_ids
    ]
