"""The ordinary client, python-openstackclient, against a cloud that listens: every row of the client table."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from demo.process import Up

from tests.api.client_table import CAPABILITIES, KVM, LXC, RUN, TABLE, XEN, Refusal, Row, render
from tests.api.conftest import PASSWORD, ApiCloud
from trilith.model.guest import Pillar
from trilith.model.node import Node
from trilith.model.server import Server
from trilith.store.tx import Tx

#: the client, started once: a second of imports would be paid by each command. It sleeps five seconds between two
#: looks at a server, which is shortened; what it prints goes to a file, so that a program it starts can't mix in.
_CLIENT = """
import contextlib, io, json, os, sys, time
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
sleep = time.sleep
time.sleep = lambda seconds: sleep(min(seconds, 0.05))
from openstackclient import shell
for line in sys.stdin:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            status = shell.OpenStackShell().run(json.loads(line))
        except SystemExit as end:
            status = end.code or 0
    print(json.dumps([status, out.getvalue().strip()]), file=answers, flush=True)
"""
_SSH = '#!/bin/sh\necho "$@" >> "$0.log"\n'


@dataclass
class Client:
    """openstack, as the admin of one cloud. names: what {braces} in commands stand for."""

    process: subprocess.Popen[str]
    names: dict[str, str]
    ssh_log: Path
    failures: list[str] = field(default_factory=list)

    def run(self, command: str, **names: str) -> tuple[int, str]:
        """Exit status and output."""
        argv = [word.format(**self.names, **names) for word in shlex.split(command)]
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(argv) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the client died at: openstack {command}"
        status, text = json.loads(answer)
        return int(status or 0), str(text)

    def check(self, row: Row, pillar: Pillar | None = None, **names: str) -> None:
        """Run a row; what is not as the table says is noted, so that one run shows all of it."""
        status, text = self.run(row.command, **names)
        refusal = row.refused.get(pillar) if pillar else None
        where = f"openstack {row.command} [{pillar or ''}]"
        if refusal is not None:
            self._refused(where, refusal, status, text, names)
            return
        if status:
            self.failures.append(f"{where}: {text[-500:]}")
            return
        if row.keep:
            self.names[row.keep] = text
        if row.shows and row.shows.format(**self.names, **names) not in text:
            self.failures.append(f"{where}: does not show {row.shows}: {text[-500:]}")
        if row.status:
            self._becomes(where, row.status, names["server"])

    def _refused(self, where: str, refusal: Refusal, status: int, text: str, names: dict[str, str]) -> None:
        if status == 0:
            self.failures.append(f"{where}: was not refused: {text[-300:]}")
            return
        if refusal.status and f"{refusal.status}:" not in text:
            self.failures.append(f"{where}: was not refused with {refusal.status}: {text[-300:]}")
        if not refusal.status:
            _, text = self.run("server show {server} -f value -c status -c fault", **names)
            if "ERROR" not in text:
                self.failures.append(f"{where}: the server is not in ERROR: {text[-300:]}")
        if refusal.says not in text:
            self.failures.append(f"{where}: does not say {refusal.says}: {text[-300:]}")

    def _becomes(self, where: str, wanted: str, server: str) -> None:
        until = time.monotonic() + 20
        seen = ""
        while time.monotonic() < until:
            _, seen = self.run("server show {server} -f value -c status -c OS-EXT-STS:task_state", server=server)
            # no task, as a snapshot leaves the status alone while it runs
            if set(seen.split()) == {wanted, "None"}:
                return
        self.failures.append(f"{where}: the server is {seen}, not {wanted}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    up = Up(
        tmp_path / "state",
        listen=f"127.0.0.1:{_free_port()}",
        env={"TRILITH_ADMIN_PASSWORD": PASSWORD, "TRILITH_NOVNC": str(tmp_path)},
        args=("--simulated", "2"),
    )
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(_SSH)
    ssh.chmod(0o755)
    (tmp_path / "blank").write_bytes(bytes(4096))
    (tmp_path / "vnc.html").touch()  # no client of this table opens it
    process = None
    try:
        facts = up.start()
        env = {k: v for k, v in os.environ.items() if not k.startswith("OS_")} | {
            "OS_AUTH_URL": facts["url"],
            "OS_USERNAME": facts["user"],
            "OS_PASSWORD": facts["password"],
            "OS_PROJECT_NAME": facts["project"],
            "OS_USER_DOMAIN_NAME": "Default",
            "OS_PROJECT_DOMAIN_NAME": "Default",
            "OS_IDENTITY_API_VERSION": "3",
            "OS_REGION_NAME": "RegionOne",
            "PATH": f"{ssh.parent}:{os.environ['PATH']}",
        }
        with (tmp_path / "client.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                text=True, env=env,
            )  # fmt: skip
        names = {
            "file": str(tmp_path / "blank"),
            "saved": str(tmp_path / "saved"),
            "key": str(tmp_path / "laptop.pem"),
        }
        yield Client(process, names, ssh.parent / "ssh.log")
    finally:
        if process is not None:
            process.communicate()  # closes its input, at which it ends
        up.stop()


FLAVORS = {LXC: ("box", "box-2"), KVM: ("machine", "machine-2"), XEN: ("xen", "xen")}


def test_the_client_does_what_the_table_says(client: Client) -> None:
    for group in TABLE:
        for pillar in RUN if group.by_pillar else ():
            flavor, larger = FLAVORS[pillar]
            for row in group.rows:
                client.check(row, pillar, server=f"{pillar}-1", flavor=flavor, larger=larger)
        if group.by_pillar:
            row = group.rows[0]
            client.check(row, XEN, server="xen-1", flavor="xen", larger="xen")
            client.check(Row("server delete --wait {server}"), server="xen-1")
            for pillar in RUN:
                client.check(Row(f"image delete {pillar}-1-copy"))
        else:
            for row in group.rows:
                client.check(row)
    assert client.failures == [], "\n".join(client.failures)
    assert Path(client.names["saved"]).read_bytes() == bytes(4096)
    lines = client.ssh_log.read_text().splitlines()
    assert len(lines) == len(RUN)
    assert all(client.names["address"] in line and "-l root" in line for line in lines), lines


def test_the_table_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
    assert text == render(), "run: python -m tests.api.client_table > docs/clients.md"


_BODIES: dict[str, dict[str, Any]] = {
    **{verb: {verb: None} for verb in ("pause", "unpause", "suspend", "resume")},
    **{verb: {verb: None} for verb in ("migrate", "shelve")},
    "createImage": {"createImage": {"name": "copy"}},
    "createBackup": {"createBackup": {"name": "copy", "backup_type": "daily", "rotation": 1}},
    "changePassword": {"changePassword": {"adminPass": "secret"}},
}
#: the status that each begins in
_FROM = {"unpause": "paused", "resume": "suspended"}


@pytest.mark.parametrize("action", sorted(CAPABILITIES))
async def test_what_a_node_lacks_is_refused_before_it_begins(cloud: ApiCloud, action: str) -> None:
    headers = await cloud.token() | {"X-OpenStack-Nova-API-Version": "2.90"}
    images = (await cloud.call("GET", "/image/v2/images?name=tiny", headers)).json()["images"]
    flavors = (await cloud.call("GET", "/compute/v2.1/flavors", headers)).json()["flavors"]
    nano = next(f["id"] for f in flavors if f["name"] == "m1.nano")
    wanted = {"name": "one", "imageRef": images[0]["id"], "flavorRef": nano, "networks": "none"}
    made = await cloud.call("POST", "/compute/v2.1/servers", headers, json={"server": wanted})
    assert made.status_code == 202, made.text
    path = f"/compute/v2.1/servers/{made.json()['server']['id']}"
    await _settle(cloud, path, headers, "ACTIVE")
    if action in _FROM:
        before = "pause" if action == "unpause" else "suspend"
        await cloud.call("POST", f"{path}/action", headers, json={before: None})
        await _settle(cloud, path, headers, _FROM[action].upper())

    lost = CAPABILITIES[action]

    def lose(tx: Tx) -> None:
        for node in tx.select(Node):
            assert node.facts is not None
            assert lost in node.facts.capabilities[KVM], "a machine can, before"
            less = {p: tuple(c for c in able if c != lost) for p, able in node.facts.capabilities.items()}
            tx.change(node, facts=replace(node.facts, capabilities=less))

    await cloud.store.write(lose)
    if action == "os-interface":
        net = (await cloud.call("POST", "/network/v2.0/networks", headers, json={"network": {}})).json()["network"][
            "id"
        ]
        port = {"interfaceAttachment": {"net_id": net}}
        answer = await cloud.call("POST", f"{path}/os-interface", headers, json=port)
    else:
        answer = await cloud.call("POST", f"{path}/action", headers, json=_BODIES[action])
    assert answer.status_code == 501, answer.text
    assert answer.json()["notImplemented"]["code"] == 501
    server = await cloud.store.read(lambda r: r.first(Server, id=path.rpartition("/")[2]))
    assert server.task == ""
    assert server.fault is None


async def _settle(cloud: ApiCloud, path: str, headers: dict[str, str], wanted: str) -> None:
    """Woken by the change feed."""
    until = time.monotonic() + 20
    while True:
        cursor = await cloud.store.head()
        server = (await cloud.call("GET", path, headers)).json()["server"]
        if server["status"] == wanted and server["OS-EXT-STS:task_state"] is None:
            return
        assert time.monotonic() < until, server
        await cloud.store.wait(cursor, timeout=1.0)
