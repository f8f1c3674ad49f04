"""The power button: pressed, waited for, pressed again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import libvirt

from trilith.drivers.libvirt import domains
from trilith.drivers.libvirt.connection import Happening
from trilith.drivers.libvirt.domain import domain_name
from trilith.drivers.libvirt.node import Node

#: seconds after which the power button is pressed again: a guest that is still booting does not notice the first time
#: (Nova: shutdown_retry_interval)
PRESS_AGAIN = 10.0


async def stop(node: Node, server_id: str, *, timeout: float) -> None:
    """A bare guest has no power button, and a paused one cannot press it: their power is taken at once.

    A Linux guest needs a handler of the ACPI button (systemd-logind, acpid, busybox acpid with the button driver).
    """

    doing = f"stop server {server_id}"

    def ask(domain: Any) -> bool:
        if not domain.isActive():
            return True
        whose = domains.owner(domain)
        if timeout <= 0 or (whose is not None and whose.bare) or domain.state(0)[0] != libvirt.VIR_DOMAIN_RUNNING:
            domains.stop_at_once(domain)
            return True
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_DEFAULT)
        return False

    with node.hub.expect(_ended(server_id)) as ended:
        if await node.call(doing, node.on(server_id, ask)):
            return
        if not await _press(ended, timeout, lambda: node.call(doing, node.on(server_id, ask))):
            await node.call(doing, node.on(server_id, domains.stop_at_once))


async def reboot(node: Node, server_id: str, seconds: float) -> bool:
    """Whether the guest did it within its deadline."""

    def again(happening: Happening) -> bool:
        return happening.domain == domain_name(server_id) and happening.kind == "reboot"

    def work(domain: Any) -> bool:
        if domain.state(0)[0] != libvirt.VIR_DOMAIN_RUNNING:
            return False
        domain.reboot(libvirt.VIR_DOMAIN_REBOOT_DEFAULT)
        return True

    doing = f"reboot server {server_id}"
    with node.hub.expect(again) as rebooted:
        if not await node.call(doing, node.on(server_id, work)):
            return False

        async def repeat() -> bool:
            await node.call(doing, node.on(server_id, work))
            return False

        return await _press(rebooted, seconds, repeat)


async def _press(answer: asyncio.Future[Happening], timeout: float, again: Callable[[], Awaitable[bool]]) -> bool:
    """Wait for the guest's answer, pressing again from time to time. False when it never came."""
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout
    while (left := until - loop.time()) > 0:
        await asyncio.wait([answer], timeout=min(left, PRESS_AGAIN))
        if answer.done() or (left > PRESS_AGAIN and await again()):
            return True
    return answer.done()


def _ended(server_id: str) -> Callable[[Happening], bool]:
    def matches(happening: Happening) -> bool:
        stopped = happening.kind == "lifecycle" and happening.event == libvirt.VIR_DOMAIN_EVENT_STOPPED
        return stopped and happening.domain == domain_name(server_id)

    return matches
