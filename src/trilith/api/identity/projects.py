"""/v3/projects and their tags. A domain shows here too, as the project that it is in Keystone."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, Meta, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.identity import domains, listing
from trilith.api.identity.listing import Filters
from trilith.api.identity.views import domain_as_project, project_view
from trilith.api.identity.wire import ShortName, Tag, Text, parse, parse_open, set_fields
from trilith.commands.identity_projects import (
    MOST_TAGS,
    add_tag,
    create_project,
    delete_project,
    remove_tag,
    set_tags,
    update_project,
)
from trilith.commands.identity_rules import hex_id, merged_options
from trilith.commands.roles import MAX_DEPTH, descendants, given_to, parents
from trilith.model.identity import DEFAULT_DOMAIN, Domain, Project
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

_FILTERS = Filters(texts=("name", "domain_id", "parent_id"), flags=("enabled",))
_TAG_FILTERS = ("tags", "tags-any", "not-tags", "not-tags-any")
Tags = Annotated[list[Tag], Meta(max_length=MOST_TAGS)]


class ProjectUpdate(Struct):
    name: ShortName | UnsetType = UNSET
    domain_id: str | UnsetType | None = UNSET
    parent_id: str | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    is_domain: bool | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    options: domains.Options | UnsetType = UNSET


class ProjectCreate(ProjectUpdate, kw_only=True):
    name: ShortName


class ProjectBody(Struct):
    project: dict[str, Any]


class TagsBody(Struct):
    tags: Tags


class OneTag(Struct):
    value: Tag


def unique(tags: list[str]) -> tuple[str, ...]:
    """Raises Invalid: Keystone refuses doubles."""
    if len(set(tags)) != len(tags):
        raise errors.Invalid("Tags must be unique.", field="tags")
    return tuple(tags)


async def _load(call: Call, policy: str) -> Project | Domain:
    """Raises Forbidden before Missing, so that nobody learns what exists."""
    id = call.params["project_id"]

    def look(reader: Reader) -> Project | Domain | None:
        return reader.find(Project, id) or reader.find(Domain, id)

    found = await call.read(look)
    domain_id = found.domain_id if isinstance(found, Project) else ""
    call.allow(f"identity:{policy}", **{"target.project.id": id, "target.project.domain_id": domain_id})
    if found is None:
        raise errors.Missing(f"Could not find project: {id}.")
    return found


async def _load_project(call: Call, policy: str) -> Project:
    found = await _load(call, policy)
    if isinstance(found, Domain):
        raise errors.Missing(f"Could not find project: {found.id}.")
    return found


async def create(call: Call) -> dict[str, Any]:
    """201. 400 for a bad attribute, 403, 404 for an unknown parent or domain, 409 for a name taken."""
    given, extra = parse_open(call.body.project, ProjectCreate)
    fields = set_fields(given, "options", "is_domain", "domain_id", "parent_id", "tags")
    if given.tags is not UNSET:
        fields["tags"] = unique(given.tags)
    if given.options is not UNSET:
        fields["options"] = merged_options({}, {"immutable": given.options.immutable})
    domain_id = given.domain_id if isinstance(given.domain_id, str) else ""
    parent_id = given.parent_id if isinstance(given.parent_id, str) else ""
    if given.is_domain is True:
        if parent_id or domain_id:
            raise errors.Invalid("A project that acts as a domain has no parent and no domain.", field="is_domain")
        call.allow("identity:create_domain")
        made = await domains.make(call, Domain(id=hex_id(), extra=extra, **fields))
        return {"project": domain_as_project(call, made)}
    if not domain_id and not parent_id:
        domain_id = call.actor.domain_id or call.actor.project_domain_id or DEFAULT_DOMAIN
    home = domain_id or await _domain_of(call, parent_id)
    call.allow("identity:create_project", **{"target.project.domain_id": home})
    project = Project(id=hex_id(), domain_id=domain_id, parent_id=parent_id, extra=extra, **fields)
    # the model strict_two_level knows domains and the projects right below them
    depth = 1 if call.host.settings.limit_model == "strict_two_level" else MAX_DEPTH
    done = await call.write(lambda tx: create_project(tx, project, depth=depth), "project.create")
    return {"project": project_view(call, done)}


async def _domain_of(call: Call, parent_id: str) -> str:
    parent = await call.read(lambda r: r.find(Project, parent_id))
    return parent.domain_id if parent else parent_id


async def list_projects(call: Call) -> dict[str, Any]:
    """200, a page; domains where is_domain=true asks for them. 403."""
    domain_id = call.one("domain_id") or call.actor.domain_id
    call.allow("identity:list_projects", **{"target.domain_id": domain_id})
    if call.flag("is_domain"):
        clauses = Filters(texts=("name",), flags=("enabled",)).clauses(call, Domain)
        if not (call.actor.is_admin or call.actor.system):
            clauses.append(REGISTRY[Domain].table.c.id == call.actor.domain_id)
        found = await call.read(lambda r: listing.page(call, r, Domain, "/v3/projects", *clauses))
        return listing.answer("projects", found, lambda d: domain_as_project(call, d))
    clauses = _FILTERS.clauses(call, Project) + _by_tags(call)
    if domain_id:
        clauses.append(REGISTRY[Project].table.c.domain_id == domain_id)
    found = await call.read(lambda r: listing.page(call, r, Project, "/v3/projects", *clauses))
    return listing.answer("projects", found, lambda p: project_view(call, p))


def _by_tags(call: Call) -> list[listing.Clause]:
    """tags: all of these; tags-any: one of them; not-tags, not-tags-any: the rest. Commas between."""
    column = sa.cast(REGISTRY[Project].table.c.tags, sa.Text)
    found: list[listing.Clause] = []
    for name in _TAG_FILTERS:
        if not call.one(name):
            continue
        # kept as JSON text: a tag holds no comma and, quoted, is found whole
        each = [_has(column, tag) for tag in call.one(name).split(",")]
        joined = sa.or_(*each) if name.endswith("any") else sa.and_(*each)
        found.append(sa.not_(joined) if name.startswith("not") else joined)
    return found


def _has(column: sa.ColumnElement[str], tag: str) -> listing.Clause:
    return listing.holds(column, msgspec.json.encode(tag).decode())


async def show(call: Call) -> dict[str, Any]:
    """200, with the tree above or below where asked for. 400 for both forms of a tree at once, 403, 404."""
    found = await _load(call, "get_project")
    if isinstance(found, Domain):
        return {"project": domain_as_project(call, found)}
    asked = {name for name, value in call.query if value.lower() not in ("0", "false")}
    for kind in ("parents", "subtree"):
        if {f"{kind}_as_list", f"{kind}_as_ids"} <= asked:
            raise errors.Invalid(f"Use either {kind}_as_list or {kind}_as_ids.", field=f"{kind}_as_list")
    view = project_view(call, found)
    if "parents_as_list" in asked or "parents_as_ids" in asked:
        above = await call.read(lambda r: parents(r, found))
        if "parents_as_ids" in asked:
            view["parents"] = _chain([*(p.id for p in above), found.domain_id])
        else:
            view["parents"] = [{"project": project_view(call, p)} for p in await _visible(call, above)]
    if "subtree_as_list" in asked or "subtree_as_ids" in asked:
        below = await call.read(lambda r: descendants(r, found.id))
        if "subtree_as_ids" in asked:
            view["subtree"] = _tree(found.id, below)
        else:
            view["subtree"] = [{"project": project_view(call, p)} for p in await _visible(call, below)]
    return {"project": view}


async def _visible(call: Call, tree: list[Project]) -> list[Project]:
    """Keystone lists only those on which the caller has a role of their own; an administrator sees all."""
    if call.actor.is_admin or call.actor.system:
        return tree
    given = await call.read(lambda r: given_to(r, call.actor.user_id))
    mine = {a.target_id for a in given}
    return [p for p in tree if p.id in mine]


def _chain(ids: list[str]) -> dict[str, Any]:
    made: dict[str, Any] | None = None
    for id in reversed(ids):
        made = {id: made}
    return made or {}


def _tree(root: str, below: list[Project]) -> dict[str, Any] | None:
    children = [p.id for p in below if p.parent_id == root]
    return {id: _tree(id, below) for id in children} or None


async def update(call: Call) -> dict[str, Any]:
    """200. 400 for a bad attribute, 403, 404, 409 for a name taken."""
    found = await _load(call, "update_project")
    given, extra = parse_open(call.body.project, ProjectUpdate)
    if given.is_domain is not UNSET and given.is_domain != isinstance(found, Domain):
        raise errors.Invalid("is_domain cannot be changed.", field="is_domain")
    fields = set_fields(given, "options", "is_domain", "tags")
    if given.tags is not UNSET:
        fields["tags"] = unique(given.tags)
    if given.options is not UNSET:
        fields["options"] = {"immutable": given.options.immutable}
    if extra:
        fields["extra"] = extra
    if isinstance(found, Domain):
        for name in ("domain_id", "parent_id"):
            if fields.pop(name, ""):
                raise errors.Invalid(f"{name} of a domain cannot be set.", field=name)
        return {"project": domain_as_project(call, await domains.change(call, found.id, fields))}
    cascade = listing.present(call, "cascade")
    done = await call.write(lambda tx: update_project(tx, found.id, dict(fields), cascade=cascade), "project.update")
    return {"project": project_view(call, done)}


async def delete(call: Call) -> None:
    """204. 403 also while there are projects below, 404."""
    found = await _load(call, "delete_project")
    if isinstance(found, Domain):
        await domains.erase(call, found.id)
        return
    cascade = listing.present(call, "cascade")
    await call.write(lambda tx: delete_project(tx, found.id, cascade=cascade), "project.delete")


async def list_tags(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    project = await _load_project(call, "list_project_tags")
    return listing.plain(call, "tags", f"/v3/projects/{project.id}/tags", list(project.tags))


async def replace_tags(call: Call) -> dict[str, Any]:
    """200. 400, 403, 404."""
    project = await _load_project(call, "update_project_tags")
    tags = unique(call.body.tags)
    done = await call.write(lambda tx: set_tags(tx, project.id, tags), "project.tags")
    return listing.plain(call, "tags", f"/v3/projects/{project.id}/tags", list(done.tags))


async def delete_tags(call: Call) -> None:
    """204. 403, 404."""
    project = await _load_project(call, "delete_project_tags")
    await call.write(lambda tx: set_tags(tx, project.id, ()), "project.tags")


async def check_tag(call: Call) -> None:
    """204. 403, 404 also for a tag that the project does not have."""
    project = await _load_project(call, "get_project_tag")
    if call.params["value"] not in project.tags:
        raise errors.Missing(f"Could not find project tag: {call.params['value']}.")


async def create_tag(call: Call) -> Answer:
    """201 with Location. 400, 403, 404."""
    project = await _load_project(call, "create_project_tag")
    tag = parse({"value": call.params["value"]}, OneTag).value
    await call.write(lambda tx: add_tag(tx, project.id, tag), "project.tags")
    return Answer(None, headers={"Location": call.url(f"/v3/projects/{project.id}/tags/{tag}")})


async def delete_tag(call: Call) -> None:
    """204. 403, 404."""
    project = await _load_project(call, "delete_project_tag")
    tag = call.params["value"]
    await call.write(lambda tx: remove_tag(tx, project.id, tag), "project.tags")
