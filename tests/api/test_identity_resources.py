"""Users, groups, projects, domains, roles and the catalogue: what the API lets be done to them, and what not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import ApiCloud

V3 = "/identity/v3"


class Api:
    """The identity API in one caller's name; says what came back when it is not what was expected."""

    def __init__(self, cloud: ApiCloud, headers: dict[str, str]) -> None:
        self.cloud, self.headers = cloud, headers

    async def do(self, method: str, path: str, status: int, json: Any = None) -> Any:
        answer = await self.cloud.call(method, V3 + path, self.headers, json=json)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        if status in (204, 300) or not answer.content:
            assert answer.content == b""
            return None
        return answer.json()

    async def make(self, noun: str, plural: str = "", **fields: Any) -> dict[str, Any]:
        made = await self.do("POST", f"/{plural or noun + 's'}", 201, {noun: fields})
        return made[noun]  # type: ignore[no-any-return]

    async def get(self, path: str) -> Any:
        return await self.do("GET", path, 200)


@pytest.fixture
async def admin(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.token())


@pytest.fixture
async def member(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.member())


async def test_a_user_keeps_known_and_further_attributes(admin: Api) -> None:
    user = await admin.make("user", name="eve", password="pw", email="e@x", description="d", project_id="p", shoe=42)
    assert len(user["id"]) == 32
    assert "password" not in user
    assert (user["email"], user["project_id"], user["shoe"]) == ("e@x", "p", 42)
    assert user["domain_id"] == "default"
    assert user["options"] == {}
    assert (await admin.get(f"/users/{user['id']}"))["user"] == user
    changed = await admin.do(
        "PATCH", f"/users/{user['id']}", 200, {"user": {"name": "eva", "project_id": "q", "enabled": False}}
    )
    assert changed["user"] == user | {"name": "eva", "project_id": "q", "enabled": False}
    await admin.do("DELETE", f"/users/{user['id']}", 204)
    await admin.do("GET", f"/users/{user['id']}", 404)
    await admin.do("DELETE", f"/users/{user['id']}", 404)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 400),
        ({"name": ""}, 400),
        ({"name": "a" * 256}, 400),
        ({"name": 7}, 400),
        ({"name": "x", "enabled": "False"}, 400),
        ({"name": "x", "options": {"nosuch": True}}, 400),
        ({"name": "x", "domain_id": "nosuch"}, 404),
        ({"name": "admin"}, 409),
    ],
)
async def test_users_that_cannot_be(admin: Api, fields: dict[str, Any], status: int) -> None:
    await admin.do("POST", "/users", status, {"user": fields})


async def test_lists_are_filtered_and_paged(admin: Api) -> None:
    for name in ("aa1", "aa2", "b"):
        await admin.make("user", name=name, enabled=name != "b")

    async def names(query: str) -> list[str]:
        return [u["name"] for u in (await admin.get(f"/users?{query}"))["users"]]

    assert await names("name=aa1") == ["aa1"]
    assert await names("name__startswith=aa") == ["aa1", "aa2"]
    assert await names("name__icontains=A2") == ["aa2"]
    assert await names("name__contains=A2") == []
    assert await names("enabled=false") == ["b"]
    assert await names("domain_id=nosuch") == []
    first = await admin.get("/users?limit=2")
    assert [u["name"] for u in first["users"]] == ["admin", "aa1"]
    assert first["links"]["self"] == "http://testserver/identity/v3/users?limit=2"
    second = await admin.get(first["links"]["next"].removeprefix("http://testserver" + V3))
    assert [u["name"] for u in second["users"]] == ["aa2", "b"]
    assert second["links"]["next"] is None
    await admin.do("GET", "/users?marker=nosuch", 400)


async def test_a_member_sees_itself_and_changes_nothing(admin: Api, member: Api) -> None:
    me = (await admin.get("/users?name=alice"))["users"][0]
    other = await admin.make("user", name="bob")
    assert (await member.get(f"/users/{me['id']}"))["user"]["name"] == "alice"
    assert [p["name"] for p in (await member.get(f"/users/{me['id']}/projects"))["projects"]] == ["alpha"]
    await member.do("GET", f"/users/{other['id']}", 403)
    await member.do("GET", "/users/nosuch", 403)  # who exists is not told
    await member.do("PATCH", f"/users/{me['id']}", 403, {"user": {"enabled": False}})
    for path in ("/users", "/projects", "/groups", "/domains", "/roles", "/services", "/endpoints", "/policies"):
        await member.do("GET", path, 403)
    for noun in ("user", "project", "group", "domain", "role"):
        await member.do("POST", f"/{noun}s", 403, {noun: {"name": "mine"}})
    await member.do("POST", "/services", 403, {"service": {"type": "x"}})
    project = (await admin.get("/projects?name=alpha"))["projects"][0]
    assert (await member.get(f"/projects/{project['id']}"))["project"]["name"] == "alpha"
    await member.do("DELETE", f"/projects/{project['id']}", 403)
    assert (await member.get("/domains/default"))["domain"]["name"] == "Default"


async def test_a_domains_manager_works_inside_of_it_only(cloud: ApiCloud, admin: Api) -> None:
    domain = await admin.make("domain", name="d1")
    user = await admin.make("user", name="boss", password="pw", domain_id=domain["id"])
    roles = {r["name"]: r["id"] for r in (await admin.get("/roles"))["roles"]}
    await admin.do("PUT", f"/domains/{domain['id']}/users/{user['id']}/roles/{roles['manager']}", 204)
    made = await cloud.client.post(
        f"{V3}/auth/tokens",
        json={
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": {"id": user["id"], "password": "pw"}}},
                "scope": {"domain": {"id": domain["id"]}},
            }
        },
    )
    assert made.status_code == 201, made.text
    boss = Api(cloud, {"X-Auth-Token": made.headers["x-subject-token"]})
    mine = await boss.make("user", name="worker")
    assert mine["domain_id"] == domain["id"]
    project = await boss.make("project", name="work")
    assert {u["name"] for u in (await boss.get("/users"))["users"]} == {"boss", "worker"}
    await boss.do("PUT", f"/projects/{project['id']}/users/{mine['id']}/roles/{roles['member']}", 204)
    await boss.do("PUT", f"/projects/{project['id']}/users/{mine['id']}/roles/{roles['admin']}", 403)
    await boss.do("POST", "/users", 403, {"user": {"name": "spy", "domain_id": "default"}})
    admin_id = (await admin.get("/users?name=admin"))["users"][0]["id"]
    await boss.do("GET", f"/users/{admin_id}", 403)
    await boss.do("PUT", f"/projects/{project['id']}/users/{admin_id}/roles/{roles['member']}", 403)
    assert all(
        a["scope"].get("domain", {}).get("id") == domain["id"] or a["scope"].get("project", {}).get("id")
        for a in (await boss.get("/role_assignments"))["role_assignments"]
    )


async def test_project_trees(admin: Api) -> None:
    top = await admin.make("project", name="top", tags=["x", "y"])
    assert (top["domain_id"], top["parent_id"], top["is_domain"]) == ("default", "default", False)
    mid = await admin.make("project", name="mid", parent_id=top["id"])
    leaf = await admin.make("project", name="leaf", parent_id=mid["id"])
    shown = (await admin.get(f"/projects/{leaf['id']}?parents_as_list"))["project"]
    assert [p["project"]["id"] for p in shown["parents"]] == [mid["id"], top["id"]]
    shown = (await admin.get(f"/projects/{leaf['id']}?parents_as_ids"))["project"]
    assert shown["parents"] == {mid["id"]: {top["id"]: {"default": None}}}
    shown = (await admin.get(f"/projects/{top['id']}?subtree_as_ids"))["project"]
    assert shown["subtree"] == {mid["id"]: {leaf["id"]: None}}
    shown = (await admin.get(f"/projects/{top['id']}?subtree_as_list"))["project"]
    assert [p["project"]["id"] for p in shown["subtree"]] == [mid["id"], leaf["id"]]
    await admin.do("GET", f"/projects/{top['id']}?subtree_as_list&subtree_as_ids", 400)
    await admin.do("DELETE", f"/projects/{mid['id']}", 403)
    await admin.do("PATCH", f"/projects/{top['id']}", 403, {"project": {"enabled": False}})
    await admin.do("PATCH", f"/projects/{top['id']}?cascade", 200, {"project": {"enabled": False}})
    assert (await admin.get(f"/projects/{leaf['id']}"))["project"]["enabled"] is False
    await admin.do("PATCH", f"/projects/{leaf['id']}", 403, {"project": {"enabled": True}})
    await admin.do("POST", "/projects", 403, {"project": {"name": "late", "parent_id": leaf["id"]}})
    await admin.do("PATCH", f"/projects/{leaf['id']}", 403, {"project": {"parent_id": top["id"]}})
    await admin.do("PATCH", f"/projects/{leaf['id']}", 400, {"project": {"is_domain": True}})
    assert {p["name"] for p in (await admin.get(f"/projects?parent_id={top['id']}"))["projects"]} == {"mid"}
    await admin.do("DELETE", f"/projects/{top['id']}?cascade", 204)
    await admin.do("GET", f"/projects/{leaf['id']}", 404)


async def test_trees_are_bounded(admin: Api) -> None:
    parent = "default"
    for depth in range(5):
        parent = (await admin.make("project", name=f"p{depth}", parent_id=parent))["id"]
    await admin.do("POST", "/projects", 403, {"project": {"name": "deep", "parent_id": parent}})


async def test_project_tags(admin: Api) -> None:
    project = await admin.make("project", name="tagged", tags=["a", "b"])
    path = f"/projects/{project['id']}/tags"
    await admin.do("PUT", f"{path}/c", 201)
    await admin.do("GET", f"{path}/c", 204)
    await admin.do("HEAD", f"{path}/nosuch", 404)
    assert (await admin.get(path))["tags"] == ["a", "b", "c"]
    for query, found in (
        ("tags=a,b", True),
        ("tags=a,z", False),
        ("tags-any=a,z", True),
        ("not-tags=a,b", False),
        ("not-tags-any=z", True),
    ):
        names = [p["name"] for p in (await admin.get(f"/projects?{query}"))["projects"]]
        assert ("tagged" in names) is found, query
    await admin.do("DELETE", f"{path}/c", 204)
    await admin.do("DELETE", f"{path}/c", 404)
    assert (await admin.do("PUT", path, 200, {"tags": ["z"]}))["tags"] == ["z"]
    await admin.do("PUT", path, 400, {"tags": ["z", "z"]})
    await admin.do("DELETE", path, 204)
    assert (await admin.get(path))["tags"] == []


@pytest.mark.parametrize("name", ["", "a" * 65, "   "])
async def test_bad_names(admin: Api, name: str) -> None:
    for noun in ("project", "domain", "group"):
        await admin.do("POST", f"/{noun}s", 400, {noun: {"name": name}})


async def test_a_domain_goes_with_all_that_is_in_it_once_disabled(admin: Api) -> None:
    domain = await admin.make("domain", name="temp")
    await admin.do("POST", "/domains", 409, {"domain": {"name": "temp"}})
    user = await admin.make("user", name="u", domain_id=domain["id"])
    project = await admin.make("project", name="p", domain_id=domain["id"])
    group = await admin.make("group", name="g", domain_id=domain["id"])
    role = await admin.make("role", name="r", domain_id=domain["id"])
    await admin.do("PUT", f"/projects/{project['id']}/users/{user['id']}/roles/{role['id']}", 204)
    await admin.do("DELETE", f"/domains/{domain['id']}", 403)
    await admin.do("PATCH", f"/domains/{domain['id']}", 200, {"domain": {"enabled": False}})
    await admin.do("DELETE", f"/domains/{domain['id']}", 204)
    for path in (f"users/{user['id']}", f"projects/{project['id']}", f"groups/{group['id']}", f"roles/{role['id']}"):
        await admin.do("GET", f"/{path}", 404)
    assert all(a.get("user", {}).get("id") != user["id"] for a in await _assignments(admin))


async def test_a_domain_is_a_project_too(admin: Api) -> None:
    made = await admin.make("project", name="acting", is_domain=True, domain_id=None)
    assert (made["is_domain"], made["domain_id"], made["parent_id"]) == (True, None, None)
    assert made["id"] in [p["id"] for p in (await admin.get("/projects?is_domain=true"))["projects"]]
    assert made["id"] not in [p["id"] for p in (await admin.get("/projects"))["projects"]]
    assert made["id"] in [d["id"] for d in (await admin.get("/domains"))["domains"]]
    await admin.do("DELETE", f"/projects/{made['id']}", 403)
    await admin.do("PATCH", f"/projects/{made['id']}", 200, {"project": {"enabled": False}})
    await admin.do("DELETE", f"/projects/{made['id']}", 204)
    await admin.do("GET", f"/domains/{made['id']}", 404)


async def test_immutable_means_it(admin: Api) -> None:
    for noun in ("project", "domain", "role"):
        made = await admin.make(noun, name=f"fixed-{noun}", options={"immutable": True})
        path = f"/{noun}s/{made['id']}"
        await admin.do("PATCH", path, 403, {noun: {"description": "x"}})
        await admin.do("DELETE", path, 403)
        await admin.do("PATCH", path, 200, {noun: {"options": {"immutable": None}}})
        await admin.do("PATCH", path, 200, {noun: {"description": "x"}})


async def test_groups(admin: Api) -> None:
    group, user = await admin.make("group", name="g", description="d"), await admin.make("user", name="u")
    member = f"/groups/{group['id']}/users/{user['id']}"
    await admin.do("HEAD", member, 404)
    await admin.do("PUT", member, 204)
    await admin.do("PUT", member, 204)
    await admin.do("HEAD", member, 204)
    assert [u["id"] for u in (await admin.get(f"/groups/{group['id']}/users"))["users"]] == [user["id"]]
    assert [g["id"] for g in (await admin.get(f"/users/{user['id']}/groups"))["groups"]] == [group["id"]]
    await admin.do("DELETE", member, 204)
    await admin.do("DELETE", member, 404)
    await admin.do("PUT", f"/groups/{group['id']}/users/nosuch", 404)
    changed = await admin.do("PATCH", f"/groups/{group['id']}", 200, {"group": {"name": "h"}})
    assert changed["group"]["name"] == "h"
    await admin.do("POST", "/groups", 409, {"group": {"name": "h"}})
    await admin.do("DELETE", f"/groups/{group['id']}", 204)


async def test_roles_and_which_imply_which(admin: Api) -> None:
    a, b = await admin.make("role", name="a"), await admin.make("role", name="b")
    await admin.do("POST", "/roles", 409, {"role": {"name": "a"}})
    rule = f"/roles/{a['id']}/implies/{b['id']}"
    made = (await admin.do("PUT", rule, 201))["role_inference"]
    assert (made["prior_role"]["name"], made["implies"]["name"]) == ("a", "b")
    await admin.do("HEAD", rule, 204)
    assert (await admin.get(rule))["role_inference"] == made
    listed = (await admin.get(f"/roles/{a['id']}/implies"))["role_inference"]
    assert [r["id"] for r in listed["implies"]] == [b["id"]]
    priors = [r["prior_role"]["name"] for r in (await admin.get("/role_inferences"))["role_inferences"]]
    assert "a" in priors
    assert "admin" in priors
    await admin.do("PUT", f"/roles/{b['id']}/implies/{a['id']}", 400)
    await admin.do("DELETE", rule, 204)
    await admin.do("GET", rule, 404)
    the_admin = (await admin.get("/roles?name=admin"))["roles"][0]
    await admin.do("PUT", f"/roles/{a['id']}/implies/{the_admin['id']}", 403)
    local = await admin.make("role", name="local", domain_id="default")
    assert [r["id"] for r in (await admin.get("/roles?domain_id=default"))["roles"]] == [local["id"]]
    await admin.do("PUT", f"/roles/{a['id']}/implies/{local['id']}", 403)
    await admin.do("PUT", f"/roles/{local['id']}/implies/{a['id']}", 201)


async def _assignments(admin: Api, query: str = "") -> list[dict[str, Any]]:
    return (await admin.get(f"/role_assignments{query}"))["role_assignments"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["projects", "domains", "system"])
@pytest.mark.parametrize("who", ["user", "group"])
async def test_grants(admin: Api, kind: str, who: str) -> None:
    actor, role = await admin.make(who, name="x"), await admin.make("role", name="r")
    project = await admin.make("project", name="p")
    target = {"projects": f"/projects/{project['id']}", "domains": "/domains/default", "system": "/system"}[kind]
    path = f"{target}/{who}s/{actor['id']}/roles"
    await admin.do("HEAD", f"{path}/{role['id']}", 404)
    await admin.do("PUT", f"{path}/{role['id']}", 204)
    await admin.do("PUT", f"{path}/{role['id']}", 204)
    await admin.do("HEAD", f"{path}/{role['id']}", 204)
    assert [r["id"] for r in (await admin.get(path))["roles"]] == [role["id"]]
    (found,) = await _assignments(admin, f"?{who}.id={actor['id']}&include_names")
    assert found[who]["name"] == "x"
    assert found["role"] == {"id": role["id"], "name": "r"}
    assert found["links"]["assignment"] == f"http://testserver{V3}{path}/{role['id']}"
    await admin.do("DELETE", f"{path}/{role['id']}", 204)
    await admin.do("DELETE", f"{path}/{role['id']}", 404)
    await admin.do("PUT", f"{path}/nosuch", 404)


async def test_effective_assignments(admin: Api) -> None:
    user, group = await admin.make("user", name="u"), await admin.make("group", name="g")
    role, implied = await admin.make("role", name="r"), await admin.make("role", name="s")
    domain = await admin.make("domain", name="d")
    top = await admin.make("project", name="top", domain_id=domain["id"])
    leaf = await admin.make("project", name="leaf", parent_id=top["id"])
    await admin.do("PUT", f"/roles/{role['id']}/implies/{implied['id']}", 201)
    await admin.do("PUT", f"/groups/{group['id']}/users/{user['id']}", 204)
    inherited = f"/OS-INHERIT/domains/{domain['id']}/groups/{group['id']}/roles/{role['id']}/inherited_to_projects"
    await admin.do("PUT", inherited, 204)
    await admin.do("HEAD", inherited, 204)
    listed = await admin.get(f"/OS-INHERIT/domains/{domain['id']}/groups/{group['id']}/roles/inherited_to_projects")
    assert [r["id"] for r in listed["roles"]] == [role["id"]]
    (given,) = await _assignments(admin, f"?group.id={group['id']}")
    assert given["scope"] == {"domain": {"id": domain["id"]}, "OS-INHERIT:inherited_to": "projects"}
    for project in (top, leaf):
        found = await _assignments(admin, f"?effective&user.id={user['id']}&scope.project.id={project['id']}")
        assert {a["role"]["id"] for a in found} == {role["id"], implied["id"]}
        assert all("group" not in a and "membership" in a["links"] for a in found)
    assert len(await _assignments(admin, f"?effective&user.id={user['id']}")) == 4
    only = await _assignments(admin, f"?effective&user.id={user['id']}&role.id={implied['id']}")
    assert len(only) == 2
    assert await _assignments(admin, f"?effective&user.id={user['id']}&scope.domain.id={domain['id']}") == []
    assert len(await _assignments(admin, f"?effective&scope.project.id={top['id']}&include_subtree=1")) == 4
    await admin.do("DELETE", inherited, 204)
    assert await _assignments(admin, f"?effective&user.id={user['id']}") == []
    for query in (
        "?effective&group.id=x",
        "?effective&scope.OS-INHERIT:inherited_to=projects",
        "?user.id=x&group.id=y",
        "?scope.project.id=x&scope.domain.id=y",
        "?include_subtree",
    ):
        await admin.do("GET", f"/role_assignments{query}", 400)


async def test_a_domains_role_is_given_only_in_it(admin: Api) -> None:
    domain, user = await admin.make("domain", name="d"), await admin.make("user", name="u")
    role = await admin.make("role", name="r", domain_id=domain["id"])
    await admin.do("PUT", f"/domains/default/users/{user['id']}/roles/{role['id']}", 403)
    await admin.do("PUT", f"/system/users/{user['id']}/roles/{role['id']}", 403)
    await admin.do("PUT", f"/domains/{domain['id']}/users/{user['id']}/roles/{role['id']}", 204)


async def test_services_regions_endpoints_and_the_catalogue(cloud: ApiCloud, admin: Api) -> None:
    service = await admin.make("service", name="swift", type="object-store", description="d")
    url = "http://volumes/v3/%(project_id)s"
    endpoint = await admin.make(
        "endpoint", service_id=service["id"], interface="public", url=url, region="West", name="e"
    )
    assert (endpoint["region"], endpoint["region_id"], endpoint["url"]) == ("West", "West", url)
    assert (await admin.get("/regions/West"))["region"]["id"] == "West"
    project_id = (await admin.get("/projects?name=admin"))["projects"][0]["id"]
    entries = (await admin.get("/auth/catalog"))["catalog"]
    (shown,) = [e for e in entries if e["type"] == "object-store"]
    assert shown["endpoints"][0]["url"] == f"http://volumes/v3/{project_id}"
    listed = (await admin.get(f"/endpoints?service_id={service['id']}&interface=public"))["endpoints"]
    assert [e["id"] for e in listed] == [endpoint["id"]]
    own = (await admin.get("/endpoints?interface=public"))["endpoints"][0]
    assert own["url"] == "http://testserver/identity"
    await admin.do("DELETE", "/regions/West", 403)
    changed = await admin.do("PATCH", f"/endpoints/{endpoint['id']}", 200, {"endpoint": {"enabled": False}})
    assert changed["endpoint"]["enabled"] is False
    for fields in (
        {"service_id": service["id"], "interface": "public", "url": "http://x", "enabled": "True"},
        {"service_id": service["id"], "interface": "sideways", "url": "http://x"},
        {"service_id": service["id"], "interface": "public", "url": ""},
        {"service_id": "nosuch", "interface": "public", "url": "http://x"},
        {"service_id": service["id"], "interface": "public", "url": "http://x", "region_id": "Nowhere"},
    ):
        await admin.do("POST", "/endpoints", 400, {"endpoint": fields})
    await admin.do("DELETE", f"/services/{service['id']}", 204)
    await admin.do("GET", f"/endpoints/{endpoint['id']}", 404)
    child = await admin.make("region", id="sub", parent_region_id="West")
    assert child["parent_region_id"] == "West"
    await admin.do("PATCH", "/regions/West", 400, {"region": {"parent_region_id": "sub"}})
    await admin.do("POST", "/regions", 409, {"region": {"id": "sub"}})
    await admin.do("DELETE", "/regions/sub", 204)
    await admin.do("DELETE", "/regions/West", 204)


async def test_policies_and_limits(admin: Api) -> None:
    policy = await admin.make("policy", "policies", blob="{}", type="t")
    changed = await admin.do("PATCH", f"/policies/{policy['id']}", 200, {"policy": {"type": "u"}})
    assert changed["policy"] == policy | {"type": "u"}
    await admin.do("DELETE", f"/policies/{policy['id']}", 204)
    service = (await admin.get("/services?type=compute"))["services"][0]
    asked = {"service_id": service["id"], "resource_name": "cores", "default_limit": 5}
    made = await admin.do("POST", "/registered_limits", 201, {"registered_limits": [asked]})
    registered = made["registered_limits"][0]
    await admin.do("POST", "/registered_limits", 409, {"registered_limits": [asked]})
    project = await admin.make("project", name="p")
    limit = {"service_id": service["id"], "resource_name": "cores", "resource_limit": 9, "project_id": project["id"]}
    one = (await admin.do("POST", "/limits", 201, {"limits": [limit]}))["limits"][0]
    assert one["resource_limit"] == 9
    await admin.do("POST", "/limits", 403, {"limits": [limit | {"resource_name": "ram"}]})
    await admin.do("DELETE", f"/registered_limits/{registered['id']}", 403)
    assert (await admin.get("/limits/model"))["model"]["name"] == "flat"
    assert [x["id"] for x in (await admin.get("/limits?resource_name=cores"))["limits"]] == [one["id"]]
    await admin.do("PATCH", f"/limits/{one['id']}", 200, {"limit": {"resource_limit": 3}})
    await admin.do("DELETE", f"/projects/{project['id']}", 204)
    await admin.do("GET", f"/limits/{one['id']}", 404)
    await admin.do("DELETE", f"/registered_limits/{registered['id']}", 204)


async def test_errors_have_keystones_form(admin: Api) -> None:
    for method, path, status in (("GET", "/nosuch", 404), ("PUT", "/users", 405), ("POST", "/users", 400)):
        error = (await admin.do(method, path, status, {} if method == "POST" else None))["error"]
        assert set(error) == {"code", "message", "title"}
        assert error["code"] == status
