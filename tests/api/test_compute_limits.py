"""Quotas: Keystone's limits in force, and tokens of the wrong scope."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.compute_calls import Caller, admin, member
from tests.api.conftest import PASSWORD, ApiCloud, settings_of
from trilith.api.http.tokens import Token, Tokens, new_audit_id
from trilith.app import cloud as start_cloud
from trilith.model.identity import RegisteredLimit, RoleAssignment, User
from trilith.model.node import Quota, QuotaUse
from trilith.store.tx import Tx, new_id


def error(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    (body,) = answer.json().values()
    assert body["code"] == status
    return str(body["message"])


@pytest.fixture
async def strict(tmp_path: Path, first_start: Path) -> AsyncIterator[ApiCloud]:
    """A cloud that counts by Keystone's limits and heeds the scope of tokens."""
    state = tmp_path / "state"
    shutil.copytree(first_start, state, ignore=shutil.ignore_patterns("*.sock"))
    settings = replace(settings_of(state), quota_driver="unified", enforce_scope=("compute",))
    async with start_cloud(settings, admin_password=PASSWORD) as running:
        transport = httpx.ASGITransport(app=running.api)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            yield ApiCloud(running, client)


async def _limit(root: Caller, project: str, name: str, value: int) -> None:
    """Set the project's limit of Nova's resource through the identity API."""
    (registered,) = [
        r for r in await root.cloud.store.read(lambda r: r.select(RegisteredLimit)) if r.resource_name == name
    ]
    listed = await root.cloud.client.get(
        "/identity/v3/limits", headers=root.headers, params={"resource_name": name, "project_id": project}
    )
    for known in listed.json()["limits"]:
        answer = await root.cloud.client.patch(
            f"/identity/v3/limits/{known['id']}", headers=root.headers, json={"limit": {"resource_limit": value}}
        )
        assert answer.status_code == 200, answer.text
        return
    limit = {
        "service_id": registered.service_id,
        "region_id": registered.region_id,
        "project_id": project,
        "resource_name": name,
        "resource_limit": value,
    }
    answer = await root.cloud.client.post("/identity/v3/limits", headers=root.headers, json={"limits": [limit]})
    assert answer.status_code == 201, answer.text


async def test_keystones_limits_are_in_force(strict: ApiCloud) -> None:
    root, alice = await admin(strict), await member(strict)
    project = (await strict.user("alice", "alpha"))[1]
    assert (await alice.get("/limits"))["limits"]["absolute"]["maxTotalInstances"] == 10, "registered at the start"
    first = await alice.boot("first")
    body = {"name": "second", "flavorRef": await alice.flavor(), "imageRef": await alice.image()}

    async def refused(resource: str) -> None:
        answer = await alice.ask("POST", "/servers", json={"server": body})
        assert resource in error(answer, 403)

    await _limit(root, project, "servers", 1)
    await refused("instances")
    await _limit(root, project, "servers", 10)
    await _limit(root, project, "class:VCPU", 1)
    await refused("cores")
    await _limit(root, project, "class:VCPU", 10)
    await _limit(root, project, "class:DISK_GB", 1)
    await refused("disk_gb")
    assert (await alice.ask("DELETE", f"/servers/{first['id']}")).status_code == 204
    await alice.settle(first["id"])
    await alice.boot("second")
    await _limit(root, project, "server_metadata_items", 0)
    await _limit(root, project, "class:DISK_GB", 100)
    answer = await alice.ask("POST", "/servers", json={"server": {**body, "metadata": {"k": "v"}}})
    assert "metadata" in error(answer, 403)
    hint = error(await root.ask("PUT", f"/os-quota-sets/{project}", json={"quota_set": {"cores": 1}}), 400)
    assert "Keystone" in hint
    error(await root.ask("DELETE", f"/os-quota-sets/{project}"), 400)
    error(await root.ask("PUT", "/os-quota-class-sets/default", json={"quota_class_set": {"cores": 1}}), 400)


async def test_a_token_without_a_project_is_of_the_wrong_scope(strict: ApiCloud) -> None:
    def body(tx: Tx) -> str:
        found = tx.first(User, name="admin")
        assert found is not None
        role = tx.first(RoleAssignment, actor_id=found.id)
        assert role is not None
        if tx.first(RoleAssignment, actor_id=found.id, target_kind="system") is None:
            tx.add(replace(role, id=new_id(), seq=0, target_kind="system", target_id="system"))
        return found.id

    user_id = await strict.store.write(body)
    tokens = strict.cloud.host.tokens
    assert isinstance(tokens, Tokens)
    now = time.time()
    token = Token(
        user_id=user_id,
        methods=("password",),
        issued_at=now,
        expires_at=now + 600,
        audit_ids=(new_audit_id(),),
        system=True,
    )
    system = Caller(strict, {"X-Auth-Token": tokens.issue(token)})
    error(await system.ask("GET", "/servers"), 403)
    error(await system.ask("GET", "/os-hypervisors"), 403)
    assert (await (await admin(strict)).ask("GET", "/os-hypervisors")).status_code == 200


async def test_what_does_not_fit_counts_for_nothing(cloud: ApiCloud) -> None:
    """Of max_count servers that do not fit, min_count are made, and those alone are counted."""
    root, alice = await admin(cloud), await member(cloud)
    project = (await cloud.user("alice", "alpha"))[1]
    quota = {"quota_set": {"instances": 2, "force": "True"}}
    assert (await root.ask("PUT", f"/os-quota-sets/{project}", json=quota)).status_code == 200
    body = {"name": "x", "flavorRef": await alice.flavor(), "imageRef": await alice.image()}
    made = await alice.ask("POST", "/servers", json={"server": {**body, "min_count": 2, "max_count": 5}})
    assert made.status_code == 202, made.text
    used = {u.resource: u.used for u in await cloud.store.read(lambda r: r.select(QuotaUse, project_id=project))}
    assert (used["instances"], used["cores"]) == (2, 2)


async def test_a_project_that_goes_takes_its_limits_and_what_it_no_longer_uses_along(cloud: ApiCloud) -> None:
    root, alice = await admin(cloud), await member(cloud)
    project = (await cloud.user("alice", "alpha"))[1]
    assert (await root.ask("PUT", f"/os-quota-sets/{project}", json={"quota_set": {"cores": 7}})).status_code == 200
    gone, stays = await alice.boot("gone"), await alice.boot("stays")
    assert (await alice.ask("DELETE", f"/servers/{gone['id']}")).status_code == 204
    await alice.settle(gone["id"])
    await alice.network("net", "10.9.0.0/24")
    await cloud.store.write(lambda tx: tx.add(QuotaUse(id=new_id(), project_id=project, resource="nothing")))
    assert (await cloud.call("DELETE", f"/identity/v3/projects/{project}", root.headers)).status_code == 204
    left = {u.resource: u.used for u in await cloud.store.read(lambda r: r.select(QuotaUse, project_id=project))}
    assert (left["instances"], left["network"]) == (1, 1)
    assert 0 not in left.values()
    assert await cloud.store.read(lambda r: r.select(Quota, project_id=project)) == []
    assert (await root.ask("DELETE", f"/servers/{stays['id']}")).status_code == 204
    assert await root.settle(stays["id"]) is None


async def test_ports_are_what_fixed_ips_limit(cloud: ApiCloud) -> None:
    root, alice = await admin(cloud), await member(cloud)
    project = (await cloud.user("alice", "alpha"))[1]
    answer = await root.ask("PUT", f"/os-quota-sets/{project}", json={"quota_set": {"fixed_ips": 0}})
    assert answer.json()["quota_set"]["fixed_ips"] == 0
    network = await alice.network("n", "10.9.0.0/24")
    port = await cloud.client.post("/network/v2.0/ports", headers=alice.headers, json={"port": {"network_id": network}})
    assert port.status_code == 409
    whole = {"quota_class_set": {"fixed_ips": 600, "injected_files": 6, "cores": 21}}
    changed = (await root.ask("PUT", "/os-quota-class-sets/default", json=whole)).json()["quota_class_set"]
    assert {k: changed[k] for k in whole["quota_class_set"]} == whole["quota_class_set"]


async def test_a_users_own_limits_lie_within_the_projects(cloud: ApiCloud) -> None:
    root, alice = await admin(cloud), await member(cloud)
    user, project = await cloud.user("alice", "alpha")
    path, mine = f"/os-quota-sets/{project}", f"/os-quota-sets/{project}?user_id={user}"
    changed = await root.ask("PUT", mine, json={"quota_set": {"instances": 1, "key_pairs": 0}})
    assert changed.json()["quota_set"]["instances"] == 1
    assert (await root.get(path))["quota_set"]["instances"] == 10, "the others are not touched"
    error(await root.ask("PUT", mine, json={"quota_set": {"instances": 11}}), 400)
    error(await root.ask("PUT", mine, json={"quota_set": {"metadata_items": 1}}), 400)
    await alice.boot()
    body = {"name": "two", "flavorRef": await alice.flavor(), "imageRef": await alice.image()}
    assert "instances" in error(await alice.ask("POST", "/servers", json={"server": body}), 403)
    error(await alice.ask("POST", "/os-keypairs", json={"keypair": {"name": "k"}}), 403)
    bob = await member(cloud, "bob", "alpha")
    await bob.boot("of bob")
    detail = (await root.get(f"{path}/detail?user_id={user}"))["quota_set"]
    assert detail["instances"] == {"in_use": 1, "limit": 1, "reserved": 0}
    assert (await root.get(f"{path}/detail"))["quota_set"]["instances"]["in_use"] == 2
    error(await root.ask("PUT", mine, json={"quota_set": {"instances": 0}}), 400)
    assert (await root.ask("PUT", mine, json={"quota_set": {"instances": 0, "force": True}})).status_code == 200
    assert (await root.ask("DELETE", mine)).status_code == 202
    answer = await alice.ask("POST", "/servers", json={"server": body})
    assert answer.status_code == 202, answer.text
