"""The libvirt driver's events while libvirtd comes and goes."""

from __future__ import annotations

import asyncio
from typing import Any

import libvirt
import pytest

from trilith.drivers.libvirt.connection import Happening
from trilith.drivers.libvirt.driver import LibvirtDriver
from trilith.drivers.libvirt.probe import KvmProbe
from trilith.errors import Backend


async def test_a_daemon_lost_at_a_strangers_event_does_not_end_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Regression: whose a domain is could not be asked at that moment, and no event was told ever after."""
    driver = LibvirtDriver(
        "qemu:///system", "/never/made", cloud_id="c", offload_off=False, kvm=KvmProbe(bare=False, linux=False)
    )

    async def lost(_doing: str, _work: Any) -> None:
        raise Backend("the connection to libvirtd was lost")

    monkeypatch.setattr(driver._node.connection, "call", lost)
    driver._node.ours.add("mine")
    events = driver.events()
    pump = asyncio.create_task(driver._inbox.deliver())
    try:
        for name in ("t-stranger", "t-mine"):
            driver._on_event(Happening(kind="lifecycle", domain=name, event=libvirt.VIR_DOMAIN_EVENT_STARTED))
        async with asyncio.timeout(5):
            assert (await anext(events)).server_id == "mine"
    finally:
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)
