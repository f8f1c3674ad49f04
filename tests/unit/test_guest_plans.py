"""The plans that a node keeps on disk, and what is left of a node that died while it wrote."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import msgspec

from trilith.agent.agent import Agent
from trilith.agent.config_drives import NodeConfigDrives
from trilith.agent.guests import Guests
from trilith.agent.wire import Request
from trilith.drivers.simulated.compute import SimulatedCompute
from trilith.drivers.simulated.fabric import SimulatedNetwork, SimulatedSwitch
from trilith.drivers.simulated.storage import SimulatedStorage
from trilith.jobs.server_copy import clear
from trilith.model.guest import Pillar


def guests(state: Path) -> Guests:
    return Guests(
        state,
        computes={Pillar.LXC: SimulatedCompute(state, node="n", cloud_id="c", pillar=Pillar.LXC)},
        switch=SimulatedSwitch(SimulatedNetwork(), "n", state),
        storage=SimulatedStorage(state, node="n"),
        config_drives=None,
        metadata=None,
    )


async def test_a_plan_cut_off_by_a_power_failure_stops_no_agent(tmp_path: Path) -> None:
    """Its server's controller sends it anew; the others' guests need their agent."""
    made = guests(tmp_path)
    (tmp_path / "guests" / "11111111-1111-1111-1111-111111111111.json").write_bytes(b"")
    (tmp_path / "guests" / "22222222-2222-2222-2222-222222222222.json").write_bytes(b'{"server_id": "2')
    await made.load()
    assert made.plans() == {}


def test_config_drives_that_were_being_made_go_at_the_next_start(tmp_path: Path) -> None:
    """They hold passwords."""
    drives = tmp_path / "config-drives"
    for name in (".u.iso-abc", ".u-abc"):
        (drives / name / "tree").mkdir(parents=True)
        (drives / name / "tree" / "meta_data.json").write_text("{}")
    (drives / "u").mkdir()
    NodeConfigDrives(tmp_path)
    assert [p.name for p in drives.iterdir()] == ["u"]


async def test_claims_of_jobs_long_ended_are_forgotten(tmp_path: Path) -> None:
    agent = Agent(guests(tmp_path), node="n", cloud_id="c")
    raw: Any = msgspec.Raw(b"")
    for number in range(20_000):
        agent._check_epoch(Request(id=number, call="x", args=raw, resource=f"job-{number}", epoch=1))
    assert len(agent._epochs) <= 10_000
    assert "job-19999" in agent._epochs


async def test_a_lock_lasts_as_long_as_somebody_has_it(tmp_path: Path) -> None:
    """Regression: one stayed for each server that the node ever had."""
    made = guests(tmp_path)
    async with made.lock("s"):
        assert made.lock("s").locked()
    gc.collect()
    assert not made._locks


def test_a_copy_that_was_cut_off_is_cleared_with_what_its_tool_had_begun(tmp_path: Path) -> None:
    """Regression: after a crash whole disks stayed beside the place that was cleared."""
    begun = ("snapshot-a", "snapshot-a.partial", "snapshot-a.part")
    for name in (*begun, "snapshot-b.partial"):
        (tmp_path / "incoming").mkdir(exist_ok=True)
        (tmp_path / "incoming" / name).write_bytes(b"x")
    clear(tmp_path / "incoming" / "snapshot-a")
    assert [p.name for p in (tmp_path / "incoming").iterdir()] == ["snapshot-b.partial"]
