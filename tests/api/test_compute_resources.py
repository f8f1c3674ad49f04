"""Flavors, key pairs, server groups, quotas and the proxies of the compute API."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from tests.api.compute_calls import Caller, admin, member
from tests.api.conftest import ApiCloud
from trilith import errors
from trilith.api.compute.extra_specs import check_extra_spec
from trilith.api.compute.microversions import STEPS
from trilith.api.compute.routes import SERVICE
from trilith.api.compute.server_actions import ACTIONS
from trilith.api.compute.server_refused import REFUSED
from trilith.api.http.route import ANY, PUBLIC
from trilith.commands import keypairs


def error(answer: Any, status: int) -> None:
    assert answer.status_code == status, answer.text
    (body,) = answer.json().values()
    assert body["code"] == status
    assert body["message"]


def test_the_table_of_microversions_has_no_gap() -> None:
    assert [s.minor for s in STEPS] == list(range(2, STEPS[-1].minor + 1))
    assert all(bool(s.flags) != bool(s.why) for s in STEPS), "a step makes a difference, or says why it makes none"
    flags = [f for s in STEPS for f in s.flags]
    assert len(flags) == len(set(flags))


async def test_a_flavor_from_create_to_delete(cloud: ApiCloud) -> None:
    root, alice = await admin(cloud), await member(cloud)
    body = {"name": "m", "ram": "64", "vcpus": 1, "disk": 2, "id": 4711, "swap": 8, "rxtx_factor": "2.0"}
    error(await alice.ask("POST", "/flavors", json={"flavor": body}), 403)
    made = (await root.ask("POST", "/flavors", json={"flavor": body})).json()["flavor"]
    assert (made["id"], made["ram"], made["swap"], made["rxtx_factor"]) == ("4711", 64, 8, 2.0)
    error(await root.ask("POST", "/flavors", json={"flavor": body}), 409)
    for field, value in (("ram", 0), ("vcpus", -1), ("disk", "x"), ("name", " "), ("id", "a/b"), ("extra", 1)):
        error(await root.ask("POST", "/flavors", json={"flavor": {**body, "name": "n", "id": "n", field: value}}), 400)
    error(await root.ask("POST", "/flavors", json={"flavor": {**body, "description": "early"}}), 400)
    assert (await root.ask("PUT", "/flavors/4711", json={"flavor": {"description": "d"}})).status_code == 404
    changed = await root.ask("PUT", "/flavors/4711", "2.55", json={"flavor": {"description": "d"}})
    assert changed.json()["flavor"]["description"] == "d"

    specs = "/flavors/4711/os-extra_specs"
    given = {"extra_specs": {"hw:numa_nodes": "1", "own:key": "v"}}
    assert (await root.ask("POST", specs, json=given)).json() == given
    assert await alice.get(f"{specs}/own:key") == {"own:key": "v"}
    assert (await root.ask("PUT", f"{specs}/own:key", json={"own:key": "w"})).json() == {"own:key": "w"}
    error(await root.ask("PUT", f"{specs}/own:key", json={"other": "w"}), 400)
    error(await root.ask("POST", specs, "2.86", json={"extra_specs": {"hw:numa_nodes": "many"}}), 400)
    error(await alice.ask("POST", specs, json=given), 403)
    answer = await root.ask("DELETE", f"{specs}/own:key")
    assert (answer.status_code, answer.content) == (200, b"")
    error(await root.ask("DELETE", f"{specs}/own:key"), 404)
    shown = (await alice.get("/flavors/4711", "2.61"))["flavor"]
    assert shown["extra_specs"] == {"hw:numa_nodes": "1"}
    assert "rxtx_factor" in shown
    assert "rxtx_factor" not in (await alice.get("/flavors/4711", "2.102"))["flavor"]

    assert (await root.ask("DELETE", "/flavors/4711")).status_code == 202
    error(await root.ask("DELETE", "/flavors/4711"), 404)


async def test_a_private_flavor_is_seen_by_whom_it_is_given_to(cloud: ApiCloud) -> None:
    root, alice = await admin(cloud), await member(cloud)
    _, project = await cloud.user("alice", "alpha")
    body = {"name": "p", "ram": 64, "vcpus": 1, "disk": 1, "id": "p", "os-flavor-access:is_public": False}
    assert (await root.ask("POST", "/flavors", json={"flavor": body})).status_code == 200

    async def seen(who: Caller) -> bool:
        return "p" in [f["id"] for f in (await who.get("/flavors"))["flavors"]]

    assert not await seen(alice)
    give = {"addTenantAccess": {"tenant": project}}
    error(await alice.ask("POST", "/flavors/p/action", json=give), 403)
    answer = await root.ask("POST", "/flavors/p/action", json=give)
    assert answer.json() == {"flavor_access": [{"flavor_id": "p", "tenant_id": project}]}
    assert await seen(alice)
    error(await root.ask("POST", "/flavors/p/action", json=give), 409)
    error(await root.ask("POST", "/flavors/p/action", json={"addTenantAccess": {"tenant": "nobody"}}), 400)
    error(await root.ask("POST", "/flavors/1/action", "2.7", json=give), 409)
    error(await root.ask("GET", "/flavors/1/os-flavor-access"), 404)
    take = {"removeTenantAccess": {"tenant": project}}
    assert (await root.ask("POST", "/flavors/p/action", json=take)).json() == {"flavor_access": []}
    error(await root.ask("POST", "/flavors/p/action", json=take), 404)
    assert not await seen(alice)
    assert "p" in [f["id"] for f in (await root.get("/flavors?is_public=none"))["flavors"]]
    assert [f["id"] for f in (await root.get("/flavors?is_public=false"))["flavors"]] == ["p"]


async def test_flavors_are_filtered_and_paged(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    page = await root.get("/flavors?limit=1")
    (link,) = page["flavors_links"]
    rest = await root.get(link["href"].split("/compute/v2.1", 1)[1])
    assert page["flavors"][0]["id"] < rest["flavors"][0]["id"]
    small = page["flavors"][0]
    ram = (await root.get(f"/flavors/{small['id']}"))["flavor"]["ram"]
    bigger = [f["id"] for f in (await root.get(f"/flavors?minRam={ram + 1}"))["flavors"]]
    assert bigger
    assert small["id"] not in bigger
    assert [f["id"] for f in (await root.get(f"/flavors?name={small['name']}", "2.102"))["flavors"]] == [small["id"]]
    for query in ("limit=-1", "limit=x", "minRam=x", "marker=nowhere", "sort_key=nothing", "is_public=maybe"):
        error(await root.ask("GET", f"/flavors?{query}"), 400)
    error(await root.ask("GET", "/flavors?x=1", "2.75"), 400)


@pytest.mark.parametrize("algorithm", keypairs.ALGORITHMS)
def test_a_generated_key_is_what_ssh_reads(algorithm: str) -> None:
    made = keypairs.generate(algorithm)
    private = serialization.load_ssh_private_key(made.private_key.encode(), None)
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert made.public_key.startswith(public.decode())
    assert len(keypairs.fingerprint(made.public_key, "ssh")) == 47


def test_extra_specs_of_known_namespaces_are_checked() -> None:
    for key, value in (
        ("hw:cpu_policy", "dedicated"),
        ("mine:x", "y"),
        ("x", "y"),
        ("trait:HW_CPU_X86_AVX", "required"),
    ):
        check_extra_spec(key, value)
    for key, value in (("hw:cpu_policy", "mine"), ("hw:typo", "1"), ("resources:VCPU", "many")):
        with pytest.raises(errors.Invalid):
            check_extra_spec(key, value)


async def test_key_pairs_are_a_users_own(cloud: ApiCloud) -> None:
    alice, bob = await member(cloud), await member(cloud, "bob", "beta")
    answer = await alice.ask("POST", "/os-keypairs", json={"keypair": {"name": "gen"}})
    made = answer.json()["keypair"]
    assert answer.status_code == 200
    assert "private_key" in made
    assert "type" not in made
    public = keypairs.generate("ecdsa").public_key
    answer = await alice.ask("POST", "/os-keypairs", "2.2", json={"keypair": {"name": "imp", "public_key": public}})
    made = answer.json()["keypair"]
    assert answer.status_code == 201
    assert "private_key" not in made
    assert made["type"] == "ssh"
    assert [k["keypair"]["name"] for k in (await alice.get("/os-keypairs"))["keypairs"]] == ["gen", "imp"]
    assert (await bob.get("/os-keypairs"))["keypairs"] == []
    user_id = made["user_id"]
    error(await bob.ask("GET", f"/os-keypairs?user_id={user_id}", "2.10"), 403)
    root = await admin(cloud)
    assert len((await root.get(f"/os-keypairs?user_id={user_id}", "2.10"))["keypairs"]) == 2
    page = await alice.get("/os-keypairs?limit=1", "2.35")
    assert [k["keypair"]["name"] for k in page["keypairs"]] == ["gen"]
    assert page["keypairs_links"]
    for name, key in (("x", "ssh-rsa JUNK"), ("x", ""), ("key/1", None), ("", None), ("k" * 256, None), ("a@b", None)):
        body = {"name": name} if key is None else {"name": name, "public_key": key}
        error(await alice.ask("POST", "/os-keypairs", json={"keypair": body}), 400)
    error(await alice.ask("POST", "/os-keypairs", json={"keypair": {"name": "gen"}}), 409)
    error(await alice.ask("POST", "/os-keypairs", "2.92", json={"keypair": {"name": "a@b.c"}}), 400)
    body = {"name": "a@b.c", "public_key": public}
    assert (await alice.ask("POST", "/os-keypairs", "2.92", json={"keypair": body})).status_code == 201
    answer = await alice.ask("DELETE", "/os-keypairs/gen", "2.2")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await alice.ask("DELETE", "/os-keypairs/imp")).status_code == 202
    error(await alice.ask("DELETE", "/os-keypairs/imp"), 404)


async def test_server_groups_in_both_forms(cloud: ApiCloud) -> None:
    alice, bob = await member(cloud), await member(cloud, "bob", "beta")
    old = {"server_group": {"name": "g", "policies": ["affinity"]}}
    made = (await alice.ask("POST", "/os-server-groups", json=old)).json()["server_group"]
    assert set(made) == {"id", "name", "members", "metadata", "policies"}
    error(await alice.ask("POST", "/os-server-groups", "2.64", json=old), 400)
    error(
        await alice.ask(
            "POST", "/os-server-groups", "2.14", json={"server_group": {"name": "g", "policies": ["soft-affinity"]}}
        ),
        400,
    )
    new = {"server_group": {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 2}}}
    other = (await alice.ask("POST", "/os-server-groups", "2.64", json=new)).json()["server_group"]
    assert (other["policy"], other["rules"]) == ("anti-affinity", {"max_server_per_host": 2})
    new["server_group"]["policy"] = "affinity"
    error(await alice.ask("POST", "/os-server-groups", "2.64", json=new), 400)

    body = {"name": "in", "flavorRef": await alice.flavor(), "imageRef": await alice.image()}
    hints = {"group": made["id"]}
    answer = await alice.ask("POST", "/servers", json={"server": body, "os:scheduler_hints": hints})
    server_id = answer.json()["server"]["id"]
    await alice.settle(server_id)
    assert (await alice.get(f"/os-server-groups/{made['id']}"))["server_group"]["members"] == [server_id]
    shown = (await alice.get(f"/servers/{server_id}", "2.100"))["server"]
    assert (shown["server_groups"], shown["scheduler_hints"]) == ([made["id"]], hints)
    error(await bob.ask("GET", f"/os-server-groups/{made['id']}"), 403)
    assert (await bob.get("/os-server-groups"))["server_groups"] == []
    answer = await alice.ask("DELETE", f"/os-server-groups/{made['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    error(await alice.ask("GET", f"/os-server-groups/{made['id']}"), 404)


async def test_quotas_by_microversion(cloud: ApiCloud) -> None:
    root, alice = await admin(cloud), await member(cloud)
    _, project = await cloud.user("alice", "alpha")
    path = f"/os-quota-sets/{project}"
    assert "floating_ips" in (await alice.get(path))["quota_set"]
    assert "floating_ips" not in (await alice.get(path, "2.36"))["quota_set"]
    assert "injected_files" not in (await alice.get(path, "2.57"))["quota_set"]
    assert (await alice.get(f"{path}/detail"))["quota_set"]["cores"] == {"in_use": 0, "limit": 20, "reserved": 0}
    error(await alice.ask("PUT", path, json={"quota_set": {"cores": 1}}), 403)
    error(await root.ask("PUT", path, "2.36", json={"quota_set": {"floating_ips": 1}}), 400)
    error(await root.ask("PUT", path, json={"quota_set": {"cores": -2}}), 400)
    assert (await root.ask("PUT", path, json={"quota_set": {"cores": 7, "ram": -1}})).json()["quota_set"]["ram"] == -1
    assert (await alice.get(path))["quota_set"]["cores"] == 7
    classes = "/os-quota-class-sets/default"
    assert (await root.ask("PUT", classes, json={"quota_class_set": {"cores": 33}})).status_code == 200
    assert (await alice.get(f"{path}/defaults"))["quota_set"]["cores"] == 33
    assert (await root.ask("DELETE", path)).status_code == 202
    assert (await alice.get(path))["quota_set"]["cores"] == 33
    error(await alice.ask("GET", "/limits?tenant_id=other"), 403)
    assert "maxImageMeta" not in (await alice.get("/limits", "2.39"))["limits"]["absolute"]


async def test_proxies_end_at_2_36(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    made = await alice.ask("POST", "/os-security-groups", json={"security_group": {"name": "sg", "description": "d"}})
    group = made.json()["security_group"]
    rule = {"parent_group_id": group["id"], "ip_protocol": "tcp", "from_port": 22, "to_port": 22}
    ruled = await alice.ask("POST", "/os-security-group-rules", json={"security_group_rule": rule})
    assert ruled.json()["security_group_rule"]["ip_range"] == {"cidr": "0.0.0.0/0"}
    shown = (await alice.get(f"/os-security-groups/{group['id']}"))["security_group"]
    assert [r["from_port"] for r in shown["rules"]] == [22]
    assert (await alice.ask("DELETE", f"/os-security-groups/{group['id']}")).status_code == 202
    for path in ("/os-security-groups", "/os-floating-ips", "/images", "/os-tenant-networks"):
        assert (await alice.ask("GET", path, "2.35")).status_code == 200
        error(await alice.ask("GET", path, "2.36"), 404)


async def test_every_server_route_asks_for_a_rule_that_is_there(cloud: ApiCloud) -> None:
    """A rule that no table names is a bug at the first request: no route and no action may hold one."""
    root = await admin(cloud)
    made = await root.boot()
    for route in SERVICE.routes:
        path = route.path.removeprefix("/v2.1").replace("{id}", made["id"])
        for part in ("request_id", "port_id", "volume_id", "migration_id", "key", "tag", "network", "alias", "host"):
            path = path.replace(f"{{{part}}}", "x")
        if route.path.startswith("/v2.1/servers/{id}/") and route.method in ("GET", "DELETE"):
            for version in ("2.1", "2.104"):
                assert (await root.ask(route.method, path, version)).status_code in (200, 202, 204, 404, 410), path
    for action in (*ACTIONS, *REFUSED):
        answer = await root.act("4f1b5a3e-0000-4000-8000-000000000000", action, {})
        assert answer.status_code in (400, 404), (action, answer.text)
    declared = {policy.name for policy in SERVICE.policies}
    assert {r.policy for r in SERVICE.routes} - {ANY, PUBLIC} <= declared
    assert {f"os_compute_api:{refusal.rule}" for refusal in REFUSED.values()} <= declared
