"""Importing: `POST /v2/images/{id}/import` starts a job; `…/tasks` shows an image's jobs as Glance's tasks."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.times import seconds_z
from trilith.api.image.images import visible
from trilith.api.image.wire import STORE
from trilith.commands import images
from trilith.commands.images import IMPORT_KIND, ImportArgs
from trilith.model.job import Job, JobState

_Text = Annotated[str, msgspec.Meta(max_length=2048)]


class Method(msgspec.Struct):
    name: _Text
    uri: _Text = ""


class ImportRequest(msgspec.Struct):
    method: Method
    stores: list[_Text] | None = None
    all_stores: bool = False
    all_stores_must_succeed: bool = True


async def start(call: Call) -> None:
    """202. 400 for an unknown method, store or a URL that may not be fetched, 409 for an image in another state."""
    body: ImportRequest = call.body
    image = await visible(call, "modify_image")
    method = body.method
    if method.name not in images.METHODS:
        raise errors.Invalid(f"Unknown import method name '{method.name}'.", field="method")
    if body.stores is not None and body.all_stores:
        raise errors.Invalid("'stores' and 'all_stores' cannot both be given.", field="stores")
    for store in body.stores or ():
        if store != STORE:
            raise errors.Conflict(f"Store {store!r} does not exist.", field="stores")
    settings = call.host.settings
    if method.name == "web-download":
        images.check_uri(method.uri, settings.image_import_allow)
    args = ImportArgs(
        image_id=image.id,
        method=method.name,
        uri=method.uri if method.name == "web-download" else "",
        limit=settings.max_image,
        enforce=settings.image_format_check,
    )
    await call.write(lambda tx: images.begin_import(tx, image.id, args), "image.import")


_STATUS = {
    JobState.QUEUED: "pending",
    JobState.RUNNING: "processing",
    JobState.UNDOING: "processing",
    JobState.DONE: "success",
    JobState.FAILED: "failure",
    JobState.CANCELLED: "failure",
}


class Task(msgspec.Struct):
    id: str
    type: str
    status: str
    owner: str
    user_id: str
    request_id: str
    image_id: str
    input: dict[str, Any]
    result: dict[str, str] | None
    message: str
    created_at: str
    updated_at: str
    expires_at: str | None


class Tasks(msgspec.Struct):
    tasks: list[Task]


def _task(job: Job) -> Task:
    args = msgspec.json.decode(job.args, type=ImportArgs)
    method: dict[str, str] = {"name": args.method}
    if args.uri:
        method["uri"] = args.uri
    return Task(
        id=job.id,
        type="api_image_import",
        status=_STATUS[job.state],
        owner=job.project_id,
        user_id=job.user_id,
        request_id=job.request_id,
        image_id=job.resource_id,
        input={"image_id": job.resource_id, "import_req": {"method": method}, "backend": [STORE]},
        result={"image_id": job.resource_id} if job.state is JobState.DONE else None,
        message=job.error.message if job.error else "",
        created_at=seconds_z(job.created_at),
        updated_at=seconds_z(job.updated_at),
        expires_at=None,
    )


async def tasks(call: Call) -> Tasks:
    """200: the imports of an image, oldest first."""
    image = await visible(call, "get_image")
    found = await call.read(lambda r: r.select(Job, kind=IMPORT_KIND, resource_id=image.id, limit=1000))
    return Tasks([_task(j) for j in found])
