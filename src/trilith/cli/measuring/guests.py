"""Guests of a measurement: made and removed through the cloud's public API, watched on the console that they write.

All that is made has a name that begins with the node's own prefix. So a run begins by removing what an earlier one,
that was killed, left behind, and ends with the same.
"""

from __future__ import annotations

import base64
import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trilith import errors
from trilith.cli.client import Cloud
from trilith.drivers.libvirt import tiny_guests
from trilith.model.guest import Pillar

IMAGE = "tiny"
#: what `tiny` has on its console when its user space is up: that it says so, or (a getty that starts throws away what
#: the terminal has not taken yet, getty's tcflush(3)) that it asks who is there
TINY_LINE = re.compile(rb"tiny: up after[^\n]*\n|\blogin: ")
BARE_LINE = re.compile(re.escape(tiny_guests.BARE_LINE) + rb"\s")
LINUX_MIB, BARE_MIB = 256, 4
CIDR = "198.18.77.0/24"  # RFC 2544: for benchmarks
#: seconds between two looks at a console file: the resolution of the start. A look costs some microseconds
_LOOK = 0.002
#: seconds between two looks at the API
_ASK = 0.1
_GONE = 120.0


class Guests:
    """node: name of this machine. consoles: its state directory, below which guests' consoles are kept."""

    def __init__(self, cloud: Cloud, node: str, consoles: Path) -> None:
        self.cloud, self.node = cloud, node
        self._consoles = consoles
        self.prefix = f"trilith-benchmark-{node}"
        self._network = ""
        self._number = 0

    # ---- what all need

    def tiny(self) -> str:
        """Raises Missing."""
        found = list(self.cloud.sdk.image.images(name=IMAGE, status="active"))
        if not found:
            raise errors.Missing(
                f"There is no image {IMAGE!r}, of which the guests are made.", hint=f"trilith image build {IMAGE}"
            )
        return str(found[0].id)

    def bare(self) -> str:
        """An image of 64 KiB that prints its line and halts."""
        name = f"{self.prefix}-bare"
        known = list(self.cloud.sdk.image.images(name=name, status="active"))
        if known:
            return str(known[0].id)
        made = self.cloud.sdk.image.create_image(
            name, disk_format="raw", container_format="bare", visibility="private", trilith_boot="bare",
            allow_duplicates=True,
        )  # fmt: skip
        _checked(self.cloud.sdk.image.put(
            f"/images/{made.id}/file", data=tiny_guests.rom(), headers={"Content-Type": "application/octet-stream"}
        ))  # fmt: skip
        return str(made.id)

    def flavor(self, pillar: Pillar, memory_mib: int, disk_gib: int) -> str:
        """Of this project alone, and named as a pillar's own: nobody's `trilith launch` picks it."""
        name = f"{self.prefix}-{memory_mib}.{pillar}"
        compute = self.cloud.sdk.compute
        known = next((f for f in compute.flavors(is_public=None) if f.name == name), None)
        if known is None:
            known = compute.create_flavor(name=name, vcpus=1, ram=memory_mib, disk=disk_gib, is_public=False)
            compute.flavor_add_tenant_access(known, self.cloud.project_id)
            compute.create_flavor_extra_specs(known, {"trilith:pillar": str(pillar)})
        return str(known.id)

    def network(self) -> str:
        if not self._network:
            net = self.cloud.sdk.network
            made = net.create_network(name=self.prefix)
            net.create_subnet(network_id=made.id, name=self.prefix, ip_version=4, cidr=CIDR)
            self._network = str(made.id)
        return self._network

    # ---- one guest

    def order(self, image: str, flavor: str, *, user_data: bytes = b"") -> Guest:
        """Asked for, not waited for."""
        network = self.network()
        self._number += 1
        given = {"user_data": base64.b64encode(user_data).decode(), "config_drive": True} if user_data else {}
        began = time.perf_counter()
        made = self.cloud.sdk.compute.create_server(
            name=f"{self.prefix}-{self._number}", image_id=image, flavor_id=flavor, networks=[{"uuid": network}],
            host=self.node, **given,
        )  # fmt: skip
        return Guest(self.cloud, str(made.id), began, self._consoles)

    @contextlib.contextmanager
    def running(self, image: str, flavor: str, *, user_data: bytes = b"") -> Iterator[Guest]:
        """A guest for the time of a block; not for a block that raises, `sweep` removes it then."""
        guest = self.order(image, flavor, user_data=user_data)
        yield guest
        self.remove(guest)

    def remove(self, *guests: Guest) -> None:
        """Returns when they are gone."""
        for guest in guests:
            guest.active()
            self.cloud.sdk.compute.delete_server(guest.id, ignore_missing=True)
        self._gone([guest.id for guest in guests])

    # ---- the end

    def sweep(self) -> None:
        """Remove all that has this node's prefix. Nothing is success. Raises what the API says."""
        sdk = self.cloud.sdk
        mine = [s for s in sdk.compute.servers(details=False) if s.name.startswith(f"{self.prefix}-")]
        for server in mine:
            sdk.compute.delete_server(server.id, ignore_missing=True)
        self._gone([s.id for s in mine])
        for network in list(sdk.network.networks(name=self.prefix)):
            for port in list(sdk.network.ports(network_id=network.id)):
                if not (port.device_owner or "").startswith("network:"):
                    sdk.network.delete_port(port, ignore_missing=True)
            sdk.network.delete_network(network, ignore_missing=True)
        self._network = ""
        for flavor in list(sdk.compute.flavors(is_public=None)):
            if flavor.name.startswith(f"{self.prefix}-"):
                sdk.compute.delete_flavor(flavor, ignore_missing=True)
        for image in list(sdk.image.images(name=f"{self.prefix}-bare")):
            sdk.image.delete_image(image, ignore_missing=True)

    def _gone(self, ids: list[str]) -> None:
        until = time.monotonic() + _GONE
        for server_id in ids:
            while self.cloud.sdk.compute.find_server(server_id, ignore_missing=True) is not None:
                if time.monotonic() > until:
                    raise errors.Deadline(
                        f"The guest {server_id} is not gone after {_GONE:.0f} s.", hint=f"trilith show {server_id}"
                    )
                time.sleep(_ASK)


class Guest:
    """began: of time.perf_counter(), just before it was asked for."""

    def __init__(self, cloud: Cloud, server_id: str, began: float, consoles: Path) -> None:
        self.cloud, self.id, self.began = cloud, server_id, began
        self._consoles = consoles
        self._path: Path | None = None

    def said(self) -> bytes:
        """All that is on its console."""
        if self._path is None:
            # <state>/node/<driver>/<where it keeps consoles>/<server>/console.log
            self._path = next(iter(self._consoles.glob(f"*/*/{self.id}/console.log")), None)
        try:
            return self._path.read_bytes() if self._path is not None else b""
        except FileNotFoundError:
            return b""

    def says(self, heard: Callable[[bytes], object], what: str, *, timeout: float, look: float = _LOOK) -> float:
        """Wait until the console is as `heard` wants it; seconds since the guest was asked for. what: for the error.

        Raises Backend when the guest fails, Deadline.
        """
        until, ask = time.monotonic() + timeout, time.monotonic() + 1
        while True:
            text = self.said()
            if heard(text):
                return time.perf_counter() - self.began
            if time.monotonic() > ask:
                self._alive()
                ask = time.monotonic() + 1
            if time.monotonic() > until:
                tail = text[-200:].decode(errors="replace")
                raise errors.Deadline(f"A guest did not {what} within {timeout:.0f} s; its console ends: {tail!r}")
            time.sleep(look)

    def _alive(self) -> Any:
        found = self.cloud.sdk.compute.get_server(self.id)
        if found.status == "ERROR":
            fault = (found.fault or {}).get("message", "no fault was written")
            raise errors.Backend(f"A guest for the measurement is in ERROR: {fault}")
        return found

    def active(self, *, timeout: float = 60.0) -> Any:
        """The server as the API has it, ACTIVE and at rest. Raises Backend, Deadline."""
        until = time.monotonic() + timeout
        while True:
            found = self._alive()
            if found.status == "ACTIVE" and not found.task_state:
                return found
            if time.monotonic() > until:
                raise errors.Deadline(f"The guest {self.id} is {found.status} after {timeout:.0f} s.")
            time.sleep(_ASK)

    def address(self) -> str:
        """Its IPv4 address on the measurement's network. Raises Missing."""
        for entries in (self.active().addresses or {}).values():
            for entry in entries:
                if entry.get("version") == 4:
                    return str(entry["addr"])
        raise errors.Missing(f"The guest {self.id} has no IPv4 address.")


def _checked(response: Any) -> None:
    from trilith.cli.client import from_status

    if response.status_code >= 400:
        raise from_status(response.status_code, response.text[:300])
