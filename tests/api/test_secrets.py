"""Secrets are planted through the API of a cloud that runs, and then looked for wherever they must not be in clear."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import secrets
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.postgres_server import PostgresServer

#: `trilith` with all loggers at debug, SQLAlchemy's statements and parameters among them
_DEBUG = """
import logging, structlog
logging.basicConfig(level=logging.DEBUG)
logging.getLogger("sqlalchemy").setLevel(logging.DEBUG)
make = structlog.make_filtering_bound_logger
structlog.make_filtering_bound_logger = lambda level: make(logging.DEBUG)
from trilith.cli.main import main
main()
"""
#: what nodes keep to start a server again without a controller: by design in clear, for their owner alone
_PLANS = "guests"


@dataclass
class Planted:
    """name → secret."""

    secrets: dict[str, str] = field(default_factory=dict)

    def new(self, name: str) -> str:
        self.secrets[name] = value = f"Planted-{secrets.token_hex(12)}"
        return value

    def seed(self, name: str) -> str:
        """In base32, as a program for one-time passwords wants it."""
        self.secrets[name] = value = base64.b32encode(secrets.token_bytes(20)).decode()
        return value

    def forms(self) -> Iterator[tuple[str, bytes]]:
        for name, value in self.secrets.items():
            raw = value.encode()
            yield name, raw
            yield f"{name} in base64", base64.b64encode(raw).rstrip(b"=")
            yield f"{name} in hexadecimal", raw.hex().encode()

    def found_in(self, where: str, data: bytes) -> list[str]:
        return [f"{name}: {where}" for name, form in self.forms() if form in data]


@dataclass
class Running:
    url: str
    state: Path
    pid: int
    log: Path
    out: Path
    planted: Planted
    password: str


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    running = PostgresServer()
    running.start()
    try:
        yield running
    finally:
        running.stop()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@asynccontextmanager
async def up(state: Path, planted: Planted, database: str) -> AsyncIterator[Running]:
    """`trilith up` in a process of its own. Its files are made under the most open umask."""
    password = planted.secrets.get("admin password") or planted.new("admin password")
    listen = f"127.0.0.1:{free_port()}"
    log, out = state.parent / "stderr", state.parent / "stdout"
    env = os.environ | {"TRILITH_ADMIN_PASSWORD": password, "TRILITH_DATABASE": database}
    argv = ["up", "--state", str(state), "--listen", listen, "--simulated", "2", "--json"]
    with log.open("ab") as err:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _DEBUG, *argv, env=env, stdout=subprocess.PIPE, stderr=err, umask=0
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(60):
                line = await process.stdout.readline()
            assert line, log.read_text()[-3000:]
            out.write_bytes(line)
            yield Running(f"http://{listen}", state, process.pid, log, out, planted, password)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            rest, _ = await process.communicate()
            with out.open("ab") as more:
                more.write(rest)


class Caller:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.headers: dict[str, str] = {}

    async def __call__(self, method: str, path: str, body: Any = None, status: int = 0, **headers: str) -> Any:
        answer = await self.client.request(method, path, json=body, headers=self.headers | headers)
        assert answer.status_code == status if status else answer.is_success, f"{path}: {answer.text}"
        return answer

    async def login(self, name: str, password: str, project: str, status: int = 201) -> str:
        user = {"name": name, "domain": {"id": "default"}, "password": password}
        scope = {"project": {"name": project, "domain": {"id": "default"}}}
        auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}
        answer = await self("POST", "/identity/v3/auth/tokens", {"auth": auth}, status)
        return str(answer.headers.get("x-subject-token", ""))


async def plant(running: Running) -> None:
    planted = running.planted
    v3, v2 = "/identity/v3", "/compute/v2.1"
    async with httpx.AsyncClient(base_url=running.url, timeout=30) as client:
        call = Caller(client)
        planted.secrets["token"] = await call.login("admin", running.password, "admin")
        call.headers = {"X-Auth-Token": planted.secrets["token"]}
        await call.login("admin", planted.new("mistyped password"), "admin", 401)
        await identity(call, planted, v3)
        flavor = (await call("GET", f"{v2}/flavors")).json()["flavors"][0]["id"]
        image = (await call("GET", "/image/v2/images")).json()["images"][0]["id"]
        server = {
            "name": "s",
            "flavorRef": flavor,
            "imageRef": image,
            "networks": "none",
            "adminPass": planted.new("server password"),
            "user_data": base64.b64encode(planted.new("user data").encode()).decode(),
        }
        version = {"OpenStack-API-Version": "compute 2.37"}
        made = (await call("POST", f"{v2}/servers", {"server": server}, 202, **version)).json()["server"]
        await active(call, f"{v2}/servers/{made['id']}")
        change = {"changePassword": {"adminPass": planted.new("changed server password")}}
        await client.post(f"{v2}/servers/{made['id']}/action", json=change, headers=call.headers)
        generated = await call("POST", f"{v2}/os-keypairs", {"keypair": {"name": "made"}})
        planted.secrets["private key"] = generated.json()["keypair"]["private_key"].splitlines()[3]


async def identity(call: Caller, planted: Planted, v3: str) -> None:
    first, second = planted.new("user password"), planted.new("second user password")
    user = (await call("POST", f"{v3}/users", {"user": {"name": "u", "password": first}})).json()["user"]["id"]
    both = {"user": {"original_password": first, "password": second}}
    await call("POST", f"{v3}/users/{user}/password", both, 204)
    me = (await call("GET", f"{v3}/auth/tokens", **{"X-Subject-Token": call.headers["X-Auth-Token"]})).json()["token"]
    who, project = me["user"]["id"], me["project"]["id"]
    given = {"application_credential": {"name": "given", "secret": planted.new("application credential")}}
    await call("POST", f"{v3}/users/{who}/application_credentials", given, 201)
    own = {"application_credential": {"name": "own"}}
    answer = await call("POST", f"{v3}/users/{who}/application_credentials", own, 201)
    planted.secrets["generated application credential"] = answer.json()["application_credential"]["secret"]
    ec2 = await call("POST", f"{v3}/users/{who}/credentials/OS-EC2", {"tenant_id": project}, 201)
    planted.secrets["ec2 secret"] = ec2.json()["credential"]["secret"]
    totp = {"type": "totp", "blob": planted.seed("totp seed"), "user_id": who}
    await call("POST", f"{v3}/credentials", {"credential": totp}, 201)


async def active(call: Caller, path: str) -> None:
    async with asyncio.timeout(30):
        while (server := (await call("GET", path)).json()["server"])["status"] == "BUILD":
            await asyncio.sleep(0.05)
    assert server["status"] == "ACTIVE", server


def in_files(running: Running) -> list[str]:
    found = []
    for path in sorted(p for p in running.state.rglob("*") if p.is_file()):
        if _PLANS in path.relative_to(running.state).parts or path.name == "master.key":
            continue
        found += running.planted.found_in(str(path), path.read_bytes())
    return found


def in_processes(planted: Planted) -> list[str]:
    """In the arguments of any process; and in the environment of those that the cloud has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended just now
            found += planted.found_in(str(path), path.read_bytes())
    return found


def too_open(state: Path) -> list[str]:
    """What others may read or write although only the cloud has business there."""
    private = {"master.key", "trilith.db", "trilith.db-wal", "trilith.db-shm"}
    found = []
    for path in state.rglob("*"):
        if not (path.is_file() or path.is_socket()):
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        inside = [p for p in path.parents if state in (p, *p.parents)]
        closed = any(not stat.S_IMODE(p.stat().st_mode) & 0o007 for p in inside)
        if (path.name in private and mode & 0o077) or (_PLANS in path.parts and mode & 0o077 and not closed):
            found.append(f"{path} {mode:o}")
        if mode & 0o002 and not closed:
            found.append(f"{path} {mode:o} can be written by all")
    return found


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_no_secret_is_anywhere_in_clear(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    planted, database, dsn = Planted(), "", ""
    if kind == "postgres":
        dsn = request.getfixturevalue("server").database()
        database = dsn.replace("trilith@", f"trilith:{planted.new('password of the database')}@")
    async with up(tmp_path / "state", planted, database) as running:
        await plant(running)
        assert len(planted.secrets) >= 12
        found = in_files(running) + in_processes(planted) + too_open(running.state)
    found += in_files(running)  # once more, now that it has ended: the write-ahead log has gone into the database
    found += planted.found_in("stderr", running.log.read_bytes())
    first, *more = running.out.read_bytes().splitlines()
    told = json.loads(first)  # the one place that names the admin's password: --json was asked for
    assert told.pop("password") == running.password
    found += planted.found_in("stdout", json.dumps(told).encode() + b"\n".join(more))
    if dsn:
        dump = await asyncio.create_subprocess_exec(
            "pg_dump", "--inserts", "-d", dsn, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        text, problem = await dump.communicate()
        assert dump.returncode == 0, problem
        assert b"application_credentials" in text
        found += planted.found_in("the dump", text)
    else:
        assert b"application_credentials" in (running.state / "trilith.db").read_bytes()
    assert b"INSERT INTO application_credentials" in running.log.read_bytes()  # it was debug
    assert not found, "\n".join(found)
    plans = [p for p in running.state.rglob("*.json") if _PLANS in p.relative_to(running.state).parts]
    assert any(planted.found_in("a plan", p.read_bytes()) for p in plans)  # the search finds what is there


def test_the_search_finds_what_is_too_open(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "inner" / "guests").mkdir(parents=True)
    files = {"trilith.db": 0o640, "pid.json": 0o666, "inner/guests/plan.json": 0o644, "other": 0o644}
    for name, mode in files.items():
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    assert {line.split()[0].removeprefix(f"{tmp_path}/") for line in too_open(tmp_path)} == set(files) - {"other"}
    (tmp_path / "inner" / "guests").chmod(0o700)
    assert len(too_open(tmp_path)) == 2
