"""The main job, through the public API only: two servers on one network, reached, joined, copied, removed."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openstack.exceptions import ResourceFailure

from demo import advice
from demo.ledger import Ledger
from demo.ssh import Login, make_key

#: seconds; emulated machines take their time
_PATIENCE = 240.0


@dataclass
class Made:
    """Everything that was made, in the order of its removal from the end."""

    removals: list[tuple[str, Callable[[], Any]]] = field(default_factory=list)

    def later(self, what: str, remove: Callable[[], Any]) -> None:
        self.removals.append((what, remove))


@dataclass
class Scenario:
    """cloud: an openstacksdk connection. names of images; users that each lets in."""

    cloud: Any
    ledger: Ledger
    folder: Path
    container_image: str
    container_user: str
    machine_image: str
    machine_user: str
    container_flavor: str = "m1.small"
    machine_flavor: str = "m1.tiny"
    made: Made = field(default_factory=Made)
    servers: dict[str, Any] = field(default_factory=dict)
    logins: dict[str, Login] = field(default_factory=dict)
    #: of everything that the cloud may name things on this machine after
    ids: list[str] = field(default_factory=list)
    #: what the advisor said of the two servers, lines
    advice: list[str] = field(default_factory=list)

    def run(self) -> None:
        try:
            self.network()
            self.boot("c1", self.container_image, "lxc", self.container_flavor)
            self.boot("vm1", self.machine_image, "kvm", self.machine_flavor)
            self.reach("c1", self.container_user)
            self.reach("vm1", self.machine_user)
            self.talk()
            self.closed()
            self.reboot("c1")
            self.reboot("vm1")
            self.copy("c1", self.container_user)
            self.copy("vm1", self.machine_user)
            self.ask_the_advisor()
        finally:
            self.clean()

    def network(self) -> None:
        net = self.cloud.network
        with self.ledger.step("network, subnet, router, security group, key pair"):
            network = net.create_network(name="demo")
            self.ids.append(network.id)
            self.made.later("network", lambda: net.delete_network(network))
            subnet = net.create_subnet(network_id=network.id, ip_version=4, cidr="10.20.0.0/24", name="demo")
            public = net.find_network("public")
            router = net.create_router(name="demo", external_gateway_info={"network_id": public.id})
            self.made.later("router", lambda: net.delete_router(router))
            net.add_interface_to_router(router, subnet_id=subnet.id)
            self.made.later("router interface", lambda: net.remove_interface_from_router(router, subnet_id=subnet.id))
            group = net.create_security_group(name="demo", description="ssh and ping")
            self.made.later("security group", lambda: net.delete_security_group(group))
            for protocol, port in (("tcp", 22), ("icmp", None)):
                net.create_security_group_rule(
                    security_group_id=group.id,
                    direction="ingress",
                    ethertype="IPv4",
                    protocol=protocol,
                    port_range_min=port,
                    port_range_max=port,
                )
            self.key, public_key = make_key(self.folder)
            pair = self.cloud.compute.create_keypair(name="demo", public_key=public_key)
            self.made.later("key pair", lambda: self.cloud.compute.delete_keypair(pair))
            self.net, self.public, self.group = network, public, group

    def boot(self, name: str, image: str, pillar: str, flavor: str) -> None:
        compute = self.cloud.compute
        with self.ledger.step(f"{name}: server from {image}, to ACTIVE") as notes:
            found = self.cloud.image.find_image(image)
            size = self._flavor(flavor, pillar)
            server = compute.create_server(
                name=name,
                image_id=found.id,
                flavor_id=size.id,
                networks=[{"uuid": self.net.id}],
                key_name="demo",
                security_groups=[{"name": "demo"}],
            )
            self.ids.append(server.id)
            self.made.later(f"server {name}", lambda: self._delete(server))
            server = self._active(server)
            self.servers[name] = server
            notes.append(pillar)

    def _active(self, server: Any) -> Any:
        """Raises RuntimeError with the fault of a server that ends in ERROR."""
        try:
            return self.cloud.compute.wait_for_server(server, wait=_PATIENCE, interval=0.2)
        except ResourceFailure as err:
            fault = self.cloud.compute.get(f"/servers/{server.id}").json()["server"].get("fault", {})
            raise RuntimeError(f"{server.name} is in ERROR: {fault.get('message', err)}") from err

    def _flavor(self, base: str, pillar: str) -> Any:
        """A flavor of the same size that names the pillar."""
        compute = self.cloud.compute
        name = f"demo.{base}.{pillar}"
        known = compute.find_flavor(name)
        if known is not None:
            return known
        size = compute.find_flavor(base, get_extra_specs=False)
        made = compute.create_flavor(name=name, vcpus=size.vcpus, ram=size.ram, disk=size.disk)
        compute.create_flavor_extra_specs(made, {"trilith:pillar": pillar})
        self.made.later(f"flavor {name}", lambda: compute.delete_flavor(made))
        return made

    def reach(self, name: str, user: str) -> None:
        net = self.cloud.network
        with self.ledger.step(f"{name}: floating IP and log-in over ssh") as notes:
            port = next(iter(net.ports(device_id=self.servers[name].id)))
            floating = net.create_ip(floating_network_id=self.public.id, port_id=port.id)
            self.made.later(f"floating IP of {name}", lambda: net.delete_ip(floating))
            login = Login(floating.floating_ip_address, user, self.key)
            login.wait(timeout=_PATIENCE)
            self.logins[name] = login
            notes.append(f"{login.address} is {login.run('hostname').strip()}")

    def talk(self) -> None:
        with self.ledger.step("each reaches the other by address and by name") as notes:
            for one, other in (("c1", "vm1"), ("vm1", "c1")):
                address = next(iter(self.cloud.network.ports(device_id=self.servers[other].id))).fixed_ips[0][
                    "ip_address"
                ]
                for target in (address, other):
                    self.logins[one].run(f"ping -c 1 -W 5 {target}")
                notes.append(f"{one} → {other} ({address})")

    def closed(self) -> None:
        with self.ledger.step("a port outside the security group is closed, an open one is not") as notes:
            address = self.logins["c1"].address
            with socket.create_connection((address, 22), timeout=5):
                notes.append("22 open")
            try:
                socket.create_connection((address, 80), timeout=2).close()
            except TimeoutError:
                notes.append("80 dropped")
            else:
                raise RuntimeError(f"port 80 of {address} is open")

    def reboot(self, name: str) -> None:
        with self.ledger.step(f"{name}: reboot, and log in again"):
            before = self.logins[name].run("cat /proc/sys/kernel/random/boot_id; cut -d. -f1 /proc/uptime").split()
            self.cloud.compute.reboot_server(self.servers[name], "SOFT")
            self._active(self.servers[name])
            self.logins[name].wait(timeout=_PATIENCE)
            after = self.logins[name].run("cat /proc/sys/kernel/random/boot_id; cut -d. -f1 /proc/uptime").split()
            if name.startswith("vm") and before[0] == after[0]:
                raise RuntimeError(f"{name} did not reboot")

    def copy(self, name: str, user: str) -> None:
        compute = self.cloud.compute
        server = self.servers[name]
        mark = f"mark-{time.time_ns()}"
        with self.ledger.step(f"{name}: snapshot") as notes:
            self.logins[name].run(f"echo {mark} > mark; sync")
            image = compute.create_server_image(server, f"{name}-snapshot", wait=True, timeout=_PATIENCE)
            self.made.later(f"image of {name}", lambda: self.cloud.image.delete_image(image.id))
            found = self.cloud.image.get_image(image.id)
            notes.append(f"{found.disk_format}, {(found.size or 0) / 2**20:.0f} MiB")
        twin = f"{name}-copy"
        machine = name.startswith("vm")
        self.boot(
            twin,
            f"{name}-snapshot",
            "kvm" if machine else "lxc",
            self.machine_flavor if machine else self.container_flavor,
        )
        self.reach(twin, user)
        with self.ledger.step(f"{twin}: has what was written before the snapshot"):
            if self.logins[twin].run("cat mark").strip() != mark:
                raise RuntimeError(f"{twin} does not have the mark")

    def ask_the_advisor(self) -> None:
        with self.ledger.step("the advisor on c1 and vm1, as they run") as notes:
            both = {name: self.servers[name] for name in ("c1", "vm1")}
            self.advice += advice.told(self.cloud, both)
            notes.append("at the end of this")

    def _delete(self, server: Any) -> None:
        self.cloud.compute.delete_server(server)
        self.cloud.compute.wait_for_delete(server, wait=_PATIENCE, interval=0.2)

    def clean(self) -> None:
        with self.ledger.step("delete it all") as notes:
            problems = []
            while self.made.removals:
                what, remove = self.made.removals.pop()
                try:
                    remove()
                except Exception as err:  # noqa: BLE001  the rest must still be removed; all problems are raised below
                    problems.append(f"{what}: {err}")
            if problems:
                raise RuntimeError("; ".join(problems))
            left = [s.name for s in self.cloud.compute.servers()]
            if left:
                raise RuntimeError(f"servers left: {left}")
            notes.append("no server, port, image or floating IP of it is left")
