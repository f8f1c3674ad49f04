"""Tasks: the jobs of images in Glance's words, and `POST /v2/tasks`, its older way to import."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import sqlalchemy as sa

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.http.times import seconds_z
from trilith.api.image.fields import BASE, SETTABLE, allow_changes, base_changes, check_name, properties
from trilith.api.image.query import limit_of
from trilith.api.image.visibility import visible
from trilith.commands import image_imports, image_sources, images
from trilith.commands.image_imports import IMPORT_KIND, ImportArgs, Secret
from trilith.commands.image_locations import LOCATION_KIND, LocationArgs
from trilith.model.image import LOCAL, Image
from trilith.model.job import FINAL, Job, JobState
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx, new_id

#: seconds for which Glance keeps an ended task by default
_KEPT = 48 * 3600.0
_STATUS = {
    JobState.QUEUED: "pending",
    JobState.RUNNING: "processing",
    JobState.UNDOING: "processing",
    JobState.DONE: "success",
    JobState.FAILED: "failure",
    JobState.CANCELLED: "failure",
}
_KINDS = (IMPORT_KIND, LOCATION_KIND)
_SORT = {"created_at": "created_at", "updated_at": "updated_at", "status": "state", "type": "kind",
         "expires_at": "finished_at"}  # fmt: skip
_TYPES = ("import", "api_image_import", "location_import")
_Text = Annotated[str, msgspec.Meta(max_length=2048)]


class TaskSummary(msgspec.Struct, kw_only=True):
    """As lists have it."""

    id: str
    type: str
    status: str
    owner: str
    created_at: str
    updated_at: str
    expires_at: str | None
    self: str
    schema: str = "/v2/schemas/task"


class Task(TaskSummary, kw_only=True):
    input: dict[str, Any]
    result: dict[str, str] | None
    message: str
    user_id: str
    request_id: str
    image_id: str


class Tasks(msgspec.Struct):
    tasks: list[Task]


class TaskPage(msgspec.Struct, omit_defaults=True):
    tasks: list[TaskSummary]
    first: str
    next: str = ""
    schema: str = "/v2/schemas/tasks"


class TaskInput(msgspec.Struct):
    import_from: _Text
    import_from_format: Annotated[str, msgspec.Meta(max_length=255)] = ""
    image_properties: dict[str, Any] = {}


class NewTask(msgspec.Struct, forbid_unknown_fields=True):
    type: Annotated[str, msgspec.Meta(max_length=30)]
    input: TaskInput


def _of(job: Job) -> tuple[str, dict[str, Any]]:
    """Its type, and what it was asked for. Never a secret: those are sealed."""
    if job.kind == LOCATION_KIND:
        location = msgspec.json.decode(job.args, type=LocationArgs)
        return "location_import", {"image_id": job.resource_id, "loc_url": location.url}
    args = msgspec.json.decode(job.args, type=ImportArgs)
    if args.made_here:
        return "import", {"import_from": args.uri, "image_id": job.resource_id}
    method: dict[str, str] = {"name": args.method}
    if args.uri:
        method["uri"] = args.uri
    if args.remote is not None:
        method |= {"glance_image_id": args.remote.image_id, "glance_region": args.remote.region,
                   "glance_service_interface": args.remote.interface}  # fmt: skip
    asked = {"method": method, "stores": list(args.stores), "all_stores_must_succeed": args.must_succeed}
    return "api_image_import", {"image_id": job.resource_id, "import_req": asked, "backend": list(args.stores)}


def _summary(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "type": _of(job)[0],
        "status": _STATUS[job.state],
        "owner": job.project_id,
        "created_at": seconds_z(job.created_at),
        "updated_at": seconds_z(job.updated_at),
        "expires_at": seconds_z(job.finished_at + _KEPT) if job.state in FINAL else None,
        "self": f"/v2/tasks/{job.id}",
    }


def _whole(job: Job) -> Task:
    return Task(
        **_summary(job),
        input=_of(job)[1],
        result={"image_id": job.resource_id} if job.state is JobState.DONE else None,
        message=job.error.message if job.error else "",
        user_id=job.user_id,
        request_id=job.request_id,
        image_id=job.resource_id,
    )


def _quiet(job: Job) -> bool:
    """The cloud's own reading of a location, which nobody asked for."""
    return job.kind == LOCATION_KIND and msgspec.json.decode(job.args, type=LocationArgs).quiet


async def of_image(call: Call) -> Tasks:
    """200: the imports of an image, oldest first."""
    image = await visible(call, "get_image")
    found = await call.read(lambda r: r.select(Job, kind=_KINDS, resource_id=image.id, limit=1000))
    return Tasks([_whole(j) for j in found if not _quiet(j)])


async def list_tasks(call: Call) -> TaskPage:
    """200. 400 for a filter, sort key or marker that does not exist."""
    found, more = await call.read(lambda r: _page(call, r))
    kept = "&".join(f"{k}={v}" for k, v in call.query if k != "marker")
    first = "/v2/tasks" + (f"?{kept}" if kept else "")
    following = f"/v2/tasks?{kept}{'&' if kept else ''}marker={found[-1].id}" if more else ""
    return TaskPage([TaskSummary(**_summary(j)) for j in found], first, following)


def _page(call: Call, reader: Reader) -> tuple[list[Job], bool]:
    c = REGISTRY[Job].table.c
    where: list[Any] = [c.kind.in_(_KINDS)]
    key, direction = call.one("sort_key", "created_at"), call.one("sort_dir", "desc")
    if key not in _SORT:
        raise errors.Invalid(f"Invalid sort key: {key}", field="sort_key")
    if direction not in ("asc", "desc"):
        raise errors.Invalid(f"Invalid sort direction: {direction}", field="sort_dir")
    if status := call.one("status"):
        states = [state for state, name in _STATUS.items() if name == status]
        if not states:
            raise errors.Invalid(f"Invalid status value: {status}", field="status")
        where.append(c.state.in_(states))
    if type_ := call.one("type"):
        if type_ not in _TYPES:
            raise errors.Invalid(f"Invalid type value: {type_}", field="type")
        where.append(c.kind == (LOCATION_KIND if type_ == "location_import" else IMPORT_KIND))
        if type_ != "location_import":
            made_here = c.args.like('%"made_here":true%')
            where.append(made_here if type_ == "import" else sa.not_(made_here))
    if owner := call.one("owner"):
        where.append(c.project_id == owner)
    column, limit = c[_SORT[key]], limit_of(call)
    if marker := call.one("marker"):
        last = reader.find(Job, marker)
        if last is None or last.kind not in _KINDS:
            raise errors.Invalid(f"Invalid marker: task {marker} could not be found.", field="marker")
        value = getattr(last, _SORT[key])
        behind = (column < value, c.seq < last.seq) if direction == "desc" else (column > value, c.seq > last.seq)
        where.append(sa.or_(behind[0], sa.and_(column == value, behind[1])))
    order = [column.desc(), c.seq.desc()] if direction == "desc" else [column.asc(), c.seq.asc()]
    found = reader.select(Job, *where, order=order, limit=limit + 1)
    return found[:limit], bool(limit) and len(found) > limit


async def show(call: Call) -> Task:
    """200. 404."""
    task_id = call.params["task_id"]
    found = await call.read(lambda r: r.find(Job, task_id))
    if found is None or found.kind not in _KINDS:
        raise errors.Missing(f"No task found with ID {task_id}")
    return _whole(found)


async def create(call: Call) -> Answer:
    """201: an image is made and its data fetched; it goes again if that fails. 400 for another type of task, a URL that
    may not be fetched or a property out of its bounds, 403 for one that may not be set."""
    body: NewTask = call.body
    if body.type != "import":
        raise errors.Invalid(f"Tasks of the type {body.type!r} are not taken; import is.", field="type")
    settings, wanted = call.host.settings, dict(body.input.image_properties)
    image_sources.check_uri(body.input.import_from, settings.image_import_allow)
    for name in wanted:
        if name not in SETTABLE:
            check_name(name)
    changes = base_changes({k: v for k, v in wanted.items() if k in SETTABLE})
    custom = properties({k: v for k, v in wanted.items() if k not in BASE})
    owner = changes.pop("owner", "") or call.actor.project_id
    image = Image(id=new_id(), owner=owner, properties=custom, **changes)
    call.allow("add_image", project_id=owner, owner=owner)
    allow_changes(call, image, changes)
    args = ImportArgs(
        image_id=image.id,
        method="web-download",
        uri=image_sources.shown(body.input.import_from),
        limit=settings.max_image,
        enforce=settings.image_format_check,
        stores=(LOCAL,),
        convert=settings.image_conversion,
        made_here=True,
    )

    def make(tx: Tx) -> Job:
        images.create(tx, image)
        return image_imports.begin(tx, image.id, args, Secret(uri=body.input.import_from))

    job = await call.write(make, "task.create")
    return Answer(_whole(job), headers={"Location": call.url(f"/v2/tasks/{job.id}")})
