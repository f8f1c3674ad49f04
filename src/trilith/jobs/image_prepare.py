"""image.prepare: nodes turn an image into what their guests start from, before the first server asks for it."""

from __future__ import annotations

from typing import Any

from trilith import errors
from trilith.agent.calls import ImageArgs
from trilith.commands.image_prepare import DEADLINE, KIND, PrepareArgs
from trilith.jobs import server_plan
from trilith.jobs.kind import Context, Kind, Step
from trilith.jobs.server_steps import call
from trilith.model.guest import Artefact, BlobSource, ImageForm, Pillar
from trilith.model.image import Image
from trilith.model.job import Job, JobError
from trilith.model.node import Node
from trilith.placement.choose import forms_allow
from trilith.store.tx import Reader, Tx


def _wanted(reader: Reader, context: Context[PrepareArgs]) -> list[tuple[str, BlobSource, ImageForm]]:
    """(node, blob, form) for what each node can start. An image that was deleted meanwhile is for none."""
    image = reader.find(Image, context.args.image_id)
    if image is None:
        return []
    blob = server_plan.blob(context.services, image.sha256, image.disk_format, image.properties)
    kernel = server_plan.kernel(context.services, image.properties)
    able = forms_allow(image.disk_format, image.properties)
    found: dict[tuple[str, str, ImageForm], tuple[str, BlobSource, ImageForm]] = {}
    for node in reader.select(Node, name=list(context.args.nodes)):
        for pillar in node.facts.pillars if node.facts else ():
            if pillar not in able:
                continue
            form = _form(pillar, image)
            found[node.name, blob.sha256, form] = (node.name, blob, form)
            if kernel is not None and form is ImageForm.DISK:
                found[node.name, kernel.sha256, form] = (node.name, kernel, form)
    return list(found.values())


def _form(pillar: Pillar, image: Image) -> ImageForm:
    if pillar is Pillar.LXC:
        return ImageForm.ROOTFS
    return ImageForm.BARE if image.properties.get("trilith_boot") == "bare" else ImageForm.DISK


async def _prepare(context: Context[PrepareArgs]) -> None:
    wanted = await context.store.read(lambda r: _wanted(r, context))
    failed: list[errors.TrilithError] = []
    for node, blob, form in wanted:
        try:
            await call(context, node, "image.realize", ImageArgs(blob, form), Artefact, timeout=DEADLINE)
            context.note(f"{node} has {form}")
        except errors.TrilithError as err:
            # one node that cannot is no reason to leave the others without
            context.note(f"{node}: {err.message}")
            failed.append(err)
    if failed:
        raise failed[0]


def _finish(tx: Tx, job: Job, _args: Any) -> None:
    """Nothing but the job says that it was done."""


def _fail(tx: Tx, job: Job, _args: Any, error: JobError) -> None:
    """Its notes say which nodes lack it; the first server there fetches it."""


PREPARE = Kind(
    name=KIND,
    args=PrepareArgs,
    steps=(Step("realize", _prepare, timeout=DEADLINE),),
    finish=_finish,
    fail=_fail,
    deadline=DEADLINE,
    slow=True,
    summary="have the nodes of an aggregate fetch an image before its first server",
)
