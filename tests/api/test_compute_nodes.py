"""What operators see and set through the compute API: hypervisors, services, aggregates, zones, usage."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.api.compute_calls import admin, member
from tests.api.conftest import ApiCloud
from trilith.model.job import FINAL, Job


def error(answer: Any, status: int) -> None:
    assert answer.status_code == status, answer.text
    (body,) = answer.json().values()
    assert body["code"] == status
    assert body["message"]


async def test_hypervisors_count_what_placement_counts(cloud: ApiCloud) -> None:
    root, alice = await admin(cloud), await member(cloud)
    made = await root.boot(availability_zone="nova:sim-1")
    shown = (await root.get("/os-hypervisors/detail"))["hypervisors"]
    first = next(h for h in shown if h["hypervisor_hostname"] == "sim-1")
    assert first["running_vms"] == 1
    assert first["memory_mb_used"] > 0
    assert isinstance(first["cpu_info"], str)
    assert first["free_ram_mb"] == first["memory_mb"] - first["memory_mb_used"]
    sums = (await root.get("/os-hypervisors/statistics"))["hypervisor_statistics"]
    assert (sums["count"], sums["running_vms"]) == (2, 1)
    assert (await root.get(f"/os-hypervisors/{first['id']}/uptime"))["hypervisor"]["uptime"]
    newer = (await root.get("/os-hypervisors?with_servers=true&hypervisor_hostname_pattern=sim-1", "2.75"))[
        "hypervisors"
    ]
    assert newer[0]["servers"] == [{"name": "one", "uuid": made["id"]}]
    brief = (await root.get(f"/os-hypervisors/{newer[0]['id']}", "2.88"))["hypervisor"]
    assert "uptime" in brief
    assert "vcpus" not in brief
    page = await root.get("/os-hypervisors?limit=1", "2.53")
    assert f"marker={page['hypervisors'][0]['id']}" in page["hypervisors_links"][0]["href"]
    error(await root.ask("GET", "/os-hypervisors/statistics", "2.88"), 404)
    error(await root.ask("GET", "/os-hypervisors/x", "2.53"), 400)
    error(await root.ask("GET", "/os-hypervisors/999"), 404)
    error(await root.ask("GET", "/os-hypervisors?hypervisor_hostname_pattern=none", "2.53"), 404)
    for path in ("/os-hypervisors", "/os-hypervisors/detail", f"/os-hypervisors/{first['id']}", "/os-services"):
        error(await alice.ask("GET", path), 403)


async def test_a_disabled_service_takes_no_servers(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    services = (await root.get("/os-services?binary=nova-compute", "2.53"))["services"]
    assert {s["host"] for s in services} == {"sim-1", "sim-2"}
    assert {s["state"] for s in services} == {"up"}
    for service in services:
        change = {"status": "disabled", "disabled_reason": "repair"}
        answer = await root.ask("PUT", f"/os-services/{service['id']}", "2.53", json=change)
        assert answer.json()["service"]["disabled_reason"] == "repair"
    body = {"name": "nowhere", "flavorRef": await root.flavor(), "imageRef": await root.image()}
    made = (await root.ask("POST", "/servers", json={"server": body})).json()["server"]
    await root.settle(made["id"])
    shown = (await root.get(f"/servers/{made['id']}"))["server"]
    assert shown["status"] == "ERROR"
    assert "No valid host" in shown["fault"]["message"]

    old = {"host": "sim-1", "binary": "nova-compute"}
    answer = await root.ask("PUT", "/os-services/enable", json=old)
    assert answer.json() == {"service": {**old, "status": "enabled"}}
    down = await root.ask("PUT", "/os-services/force-down", "2.11", json={**old, "forced_down": True})
    assert down.json() == {"service": {**old, "forced_down": True}}
    (service,) = (await root.get("/os-services?host=sim-1", "2.11"))["services"]
    assert (service["state"], service["status"], service["forced_down"]) == ("down", "enabled", True)
    error(await root.ask("PUT", "/os-services/enable", json={**old, "host": "nowhere"}), 404)
    error(await root.ask("PUT", "/os-services/enable", json={**old, "binary": "nova-scheduler"}), 400)
    error(await root.ask("PUT", "/os-services/nonsense", json=old), 404)
    error(await root.ask("DELETE", f"/os-services/{services[0]['id']}", "2.53"), 409)


async def test_an_aggregate_gives_its_hosts_a_zone(cloud: ApiCloud) -> None:
    root, alice = await admin(cloud), await member(cloud)
    body = {"aggregate": {"name": "rack", "availability_zone": "east"}}
    made = (await root.ask("POST", "/os-aggregates", "2.41", json=body)).json()["aggregate"]
    assert "hosts" not in made
    assert made["uuid"]
    error(await root.ask("POST", "/os-aggregates", json=body), 409)
    path = f"/os-aggregates/{made['id']}"
    added = await root.ask("POST", f"{path}/action", json={"add_host": {"host": "sim-2"}})
    assert added.json()["aggregate"]["hosts"] == ["sim-2"]
    error(await root.ask("POST", f"{path}/action", json={"add_host": {"host": "sim-2"}}), 409)
    error(await root.ask("POST", f"{path}/action", json={"add_host": {"host": "nowhere"}}), 404)
    zones = (await alice.get("/os-availability-zone"))["availabilityZoneInfo"]
    assert [z["zoneName"] for z in zones] == ["east", "nova"]
    assert zones[0]["hosts"] is None
    detail = (await root.get("/os-availability-zone/detail"))["availabilityZoneInfo"]
    assert list(detail[0]["hosts"]) == ["sim-2"]
    assert detail[-1]["zoneName"] == "internal"
    server = await alice.boot(availability_zone="east")
    shown = (await root.get(f"/servers/{server['id']}", "2.96"))["server"]
    assert (shown["OS-EXT-SRV-ATTR:host"], shown["OS-EXT-AZ:availability_zone"]) == ("sim-2", "east")
    # servers that asked for the zone hold their host in it
    error(await root.ask("POST", f"{path}/action", json={"remove_host": {"host": "sim-2"}}), 409)
    change = {"set_metadata": {"metadata": {"ssd": "true"}}}
    changed = (await root.ask("POST", f"{path}/action", json=change)).json()["aggregate"]
    assert changed["metadata"] == {"availability_zone": "east", "ssd": "true"}
    error(await root.ask("DELETE", path), 400)
    await alice.ask("DELETE", f"/servers/{server['id']}")
    await alice.settle(server["id"])
    assert (await root.ask("POST", f"{path}/action", json={"remove_host": {"host": "sim-2"}})).status_code == 200
    answer = await root.ask("DELETE", path)
    assert (answer.status_code, answer.content) == (200, b"")
    error(await root.ask("GET", path), 404)
    error(await alice.ask("GET", "/os-aggregates"), 403)


async def test_usage_and_external_events(cloud: ApiCloud) -> None:
    root, alice = await admin(cloud), await member(cloud)
    _, project = await cloud.user("alice", "alpha")
    assert await alice.get(f"/os-simple-tenant-usage/{project}") == {"tenant_usage": {}}
    made = await alice.boot()
    used = (await alice.get(f"/os-simple-tenant-usage/{project}"))["tenant_usage"]
    assert used["server_usages"][0]["instance_id"] == made["id"]
    assert used["total_hours"] > 0
    assert [u["tenant_id"] for u in (await root.get("/os-simple-tenant-usage"))["tenant_usages"]] == [project]
    error(await alice.ask("GET", "/os-simple-tenant-usage"), 403)
    error(await root.ask("GET", "/os-simple-tenant-usage?start=x"), 400)

    event = {"name": "power-update", "tag": "POWER_OFF", "server_uuid": made["id"]}
    answer = await root.ask("POST", "/os-server-external-events", "2.76", json={"events": [event]})
    assert answer.status_code == 200
    assert answer.json()["events"][0]["code"] == 200
    await alice.settle(made["id"])
    assert (await alice.get(f"/servers/{made['id']}"))["server"]["status"] == "SHUTOFF"
    error(await root.ask("POST", "/os-server-external-events", json={"events": [event]}), 400)
    lost = {**event, "server_uuid": "4f1b5a3e-0000-4000-8000-000000000000"}
    error(await root.ask("POST", "/os-server-external-events", "2.76", json={"events": [lost]}), 404)
    assert (await root.get("/os-instance_usage_audit_log"))["instance_usage_audit_logs"]["num_hosts"] == 2
    assert "Hosts" in [e["name"] for e in (await root.get("/extensions"))["extensions"]]


async def test_an_aggregates_nodes_fetch_images_ahead(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    made = (await root.ask("POST", "/os-aggregates", json={"aggregate": {"name": "a"}})).json()["aggregate"]
    path, image = f"/os-aggregates/{made['id']}/images", await root.image()
    body = {"cache": [{"id": image}]}
    assert (await root.ask("POST", path, "2.80", json=body)).status_code == 404
    assert (await root.ask("POST", path, "2.81", json=body)).status_code == 400, "it has no hosts"
    for host in ("sim-1", "sim-2"):
        add = {"add_host": {"host": host}}
        assert (await root.ask("POST", f"/os-aggregates/{made['id']}/action", json=add)).status_code == 200
    missing = {"cache": [{"id": "11111111-2222-3333-4444-555555555555"}]}
    assert (await root.ask("POST", path, "2.81", json=missing)).status_code == 400
    assert (await root.ask("POST", path, "2.81", json={"cache": [*body["cache"]] * 2})).status_code == 400
    answer = await root.ask("POST", path, "2.81", json=body)
    assert (answer.status_code, answer.content) == (202, b"")
    async with asyncio.timeout(20):
        while True:
            cursor = await cloud.store.head()
            (job,) = await cloud.store.read(lambda r: r.select(Job, kind="image.prepare"))
            if job.state in FINAL:
                break
            await cloud.store.wait(cursor, timeout=5)
    assert job.error is None
    for agent in cloud.cloud.agents:
        assert await agent.guests.storage.artefacts(), f"{agent.node} has nothing"
