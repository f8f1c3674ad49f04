"""What changes after a server was made reaches its node, whose metadata service answers with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.api.compute_calls import Caller, admin, member
from tests.api.conftest import ApiCloud
from trilith import errors
from trilith.model.plan import GuestPlan
from trilith.model.server import Server
from trilith.reconcile.plans import PlanReconciler
from trilith.store.tx import Tx


class Told:
    """The plans that nodes were sent as updates."""

    def __init__(self, cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plans: list[GuestPlan] = []
        self._news = asyncio.Event()
        for agent in cloud.cloud.agents:
            self._listen(agent.guests, agent.guests.update, monkeypatch)

    def _listen(self, guests: Any, found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        async def update(plan: GuestPlan) -> None:
            await found(plan)
            self.plans.append(plan)
            self._news.set()

        monkeypatch.setattr(guests, "update", update)

    async def until(self, wanted: Callable[[GuestPlan], bool]) -> GuestPlan:
        async with asyncio.timeout(20):
            while True:
                for plan in self.plans:
                    if wanted(plan):
                        return plan
                self._news.clear()
                await self._news.wait()


def floating_of(plan: GuestPlan) -> list[str]:
    return [a.floating for nic in plan.instance.networks for a in nic.addresses if a.floating]


async def network(caller: Caller, path: str, noun: str, **fields: Any) -> dict[str, Any]:
    answer = await caller.cloud.client.post(f"/network/v2.0/{path}", headers=caller.headers, json={noun: fields})
    assert answer.status_code == 201, answer.text
    return answer.json()[noun]  # type: ignore[no-any-return]


async def test_a_floating_ip_is_in_the_metadata_as_long_as_it_leads_there(
    cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = await admin(cloud)
    inner = await caller.network("inner", "10.9.0.0/24")
    client, headers = cloud.client, caller.headers
    outside = (await client.get("/network/v2.0/networks?name=public", headers=headers)).json()["networks"][0]["id"]
    subnets = (await client.get(f"/network/v2.0/subnets?network_id={inner}", headers=headers)).json()["subnets"]
    router = await network(caller, "routers", "router", name="r", external_gateway_info={"network_id": outside})
    path = f"/network/v2.0/routers/{router['id']}/add_router_interface"
    assert (await client.put(path, headers=headers, json={"subnet_id": subnets[0]["id"]})).status_code == 200
    made = await caller.boot(networks=[{"uuid": inner}])
    ports = (await client.get(f"/network/v2.0/ports?device_id={made['id']}", headers=headers)).json()["ports"]
    told = Told(cloud, monkeypatch)
    floating = await network(caller, "floatingips", "floatingip", floating_network_id=outside, port_id=ports[0]["id"])
    plan = await told.until(lambda p: p.server_id == made["id"] and bool(floating_of(p)))
    assert floating_of(plan) == [floating["floating_ip_address"]]
    told.plans.clear()
    answer = await client.delete(f"/network/v2.0/floatingips/{floating['id']}", headers=headers)
    assert answer.status_code == 204
    await told.until(lambda p: p.server_id == made["id"] and not floating_of(p))


async def test_a_new_name_and_new_metadata_reach_the_node(cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    caller = await admin(cloud)
    made = await caller.boot(networks="none", version="2.37")
    told = Told(cloud, monkeypatch)
    assert (await caller.ask("PUT", f"/servers/{made['id']}", json={"server": {"name": "other"}})).status_code == 200
    await told.until(lambda p: p.name == "other")
    answer = await caller.ask("POST", f"/servers/{made['id']}/metadata", json={"metadata": {"colour": "green"}})
    assert answer.status_code == 200
    await told.until(lambda p: p.instance.meta == {"colour": "green"})


async def test_what_changes_while_a_job_has_the_server_is_told_after_it(
    cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = await admin(cloud)
    made = await caller.boot(networks="none", version="2.37")

    def take(tx: Tx) -> None:
        tx.change(tx.get(Server, made["id"]), job_id="somebody's")

    await cloud.store.write(take)
    told = Told(cloud, monkeypatch)
    await cloud.store.write(lambda tx: tx.change(tx.get(Server, made["id"]), name="meanwhile"))
    other = await caller.boot("two", networks="none", version="2.37")
    await caller.ask("PUT", f"/servers/{other['id']}", json={"server": {"name": "three"}})
    await told.until(lambda p: p.name == "three")
    assert not [p for p in told.plans if p.server_id == made["id"]]
    await cloud.store.write(lambda tx: tx.change(tx.get(Server, made["id"]), job_id=""))
    await told.until(lambda p: p.server_id == made["id"] and p.name == "meanwhile")


async def test_an_older_plan_does_not_replace_a_newer_one(cloud: ApiCloud) -> None:
    caller = await admin(cloud)
    made = await caller.boot(networks="none", version="2.37")
    guests = next(a.guests for a in cloud.cloud.agents if made["id"] in a.guests.plans())
    kept = guests.plan(made["id"])
    await guests.update(replace(kept, name="newer", revision=kept.revision + 5))
    await guests.update(replace(kept, name="older", revision=kept.revision + 4))
    assert guests.plan(made["id"]).name == "newer"


async def test_a_password_that_the_guest_posted_is_shown_until_it_is_cleared(
    cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(cloud, monkeypatch)
    alice = await member(cloud)
    server = (await alice.boot())["id"]
    path = f"/servers/{server}/os-server-password"
    node = (await cloud.store.read(lambda r: r.get(Server, server))).node

    async def post(password: bytes, of: str = node) -> None:
        await cloud.cloud.services.links._posted(of, server, password)

    assert await alice.get(path) == {"password": ""}
    for wrong in (b"\xff", b"x" * 1021):
        with pytest.raises(errors.Invalid):
            await post(wrong)
    with pytest.raises(errors.Missing):  # a node speaks for its own servers
        await post(b"secret", of="another")
    await post(b"x" * 1020)
    with pytest.raises(errors.Conflict):
        await post(b"other")
    assert await alice.get(path) == {"password": "x" * 1020}
    await told.until(lambda plan: plan.instance.password == b"x" * 1020)
    told.plans.clear()
    assert (await alice.ask("DELETE", path)).status_code == 204
    await told.until(lambda plan: not plan.instance.password)
    await post(b"again")
    assert await alice.get(path) == {"password": "again"}
    await told.until(lambda plan: plan.instance.password == b"again")


async def test_an_interface_that_did_not_let_go_is_taken_off_by_the_next_try(cloud: ApiCloud) -> None:
    """Regression: the node had forgotten the interface before it was off, and the next try found nothing to do."""
    alice = await member(cloud)
    networks = [{"uuid": await alice.network(f"n{n}", f"10.{n}.0.0/24")} for n in (1, 2)]
    made = await alice.boot(networks=networks)
    agent = next(a for a in cloud.cloud.agents if made["id"] in a.guests.plans())
    nic = agent.guests.plan(made["id"]).nics[1]
    driver: Any = agent.guests.driver(made["id"])

    def stuck(name: str) -> None:
        if name == "unplug":
            raise errors.Deadline("the guest did not let go")

    path = f"/servers/{made['id']}/os-interface/{nic.port_id}"
    for fault, plugged in ((stuck, True), (lambda _name: None, False)):
        driver.fault = fault
        assert (await alice.ask("DELETE", path)).status_code == 202
        await alice.settle(made["id"])
        assert (nic.ifname in await agent.guests.switch.plugged()) is plugged
        assert (nic in agent.guests.plan(made["id"]).nics) is plugged


async def test_a_node_that_is_away_costs_a_round_one_look(cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: the plans of all its servers were made anew every few seconds, to be sent to nobody; and one that
    hung kept the other nodes' servers waiting for half a minute each."""
    alice = await member(cloud)
    ids = [(await alice.boot(f"s{number}"))["id"] for number in range(4)]
    services = cloud.cloud.services
    nodes = {s.id: s.node for s in await cloud.store.read(lambda r: r.select(Server, id=ids))}
    assert set(nodes.values()) == {"sim-1", "sim-2"}
    reconciler = PlanReconciler(services)
    made: list[str] = []
    plan = reconciler._plan

    def counted(reader: Any, server_id: str) -> Any:
        made.append(server_id)
        return plan(reader, server_id)

    async def hangs(node: str, *_args: Any, **_more: Any) -> None:
        raise errors.Deadline(f"{node} did not answer")

    monkeypatch.setattr(reconciler, "_plan", counted)
    monkeypatch.setattr(services.sent, "has", lambda _plan: False)
    monkeypatch.setattr(services.links, "connected", lambda: ["sim-1"])
    monkeypatch.setattr(services.links, "call", hangs)
    reconciler._unsent = {*ids, "gone"}
    await reconciler._tell()
    assert [nodes[id] for id in made if id in nodes] == ["sim-1"]
    assert reconciler._unsent == set(ids)
