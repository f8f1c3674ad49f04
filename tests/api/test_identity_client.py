"""The ordinary client against a cloud that listens: python-openstackclient's identity commands."""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from tests.api.conftest import PASSWORD

#: run one after another in one process, as each start of the client costs a second
_CLIENT = """
import io, contextlib, json, sys
from openstackclient import shell
found = []
for argv in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = shell.OpenStackShell().run(argv)
    found.append([status, out.getvalue().strip(), err.getvalue().strip()])
json.dump(found, sys.stdout)
"""

RULES = [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "OIDC-sub"}]}]
#: command → what it prints, None for anything
COMMANDS: list[tuple[str, str | None]] = [
    ("token issue -f value -c expires", None),
    ("catalog show identity -f value -c type", "identity"),
    ("project create --description d --tag t1 demo -f value -c name", "demo"),
    ("user create --project demo --password pw --email e@x demo -f value -c email", "e@x"),
    ("role create chef -f value -c name", "chef"),
    ("role add --project demo --user demo chef", ""),
    (
        "role assignment list --names --project demo -f value -c Role -c User -c Project",
        "chef demo@Default demo@Default",
    ),
    ("project list --tags t1 -f value -c Name", "demo"),
    ("project set --description new --disable demo", ""),
    ("project show demo -f value -c description -c enabled", "new\nFalse"),
    ("user list --project demo -f value -c Name", "demo"),
    ("user set --name demo2 demo", ""),
    ("user show demo2 -f value -c name", "demo2"),
    ("role remove --project demo --user demo2 chef", ""),
    ("role set --name cook chef", ""),
    ("role list -f value -c Name", "admin\nmanager\nmember\nreader\nservice\ncook"),
    ("group create grp -f value -c name", "grp"),
    ("group add user grp demo2", ""),
    ("group contains user grp demo2", None),
    ("domain create dom -f value -c name", "dom"),
    ("domain set --disable dom", ""),
    ("domain delete dom", ""),
    ("application credential create --role member ac1 -f value -c name", "ac1"),
    ("application credential delete ac1", ""),
    ("endpoint group create images FILTERS -f value -c name", "images"),
    ("endpoint group add project images demo", ""),
    ("endpoint group list --project demo -f value -c Name", "images"),
    ("endpoint group remove project images demo", ""),
    ("endpoint group delete images", ""),
    ("registered limit create --service nova --default-limit 3 things -f value -c resource_name", "things"),
    ("limit create --service nova --project demo --resource-limit 2 things -f value -c resource_limit", "2"),
    ("limit list --project demo -f value -c 'Resource Limit'", "2"),
    ("consumer create --description d -f value -c description", "d"),
    ("implied role create --implied-role reader cook -f value -c implies", None),
    ("implied role delete --implied-role reader cook", ""),
    ("trust create --project admin --role reader admin demo2 -f value -c redelegation_count", "0"),
    ("identity provider create --remote-id r --enable corp -f value -c id", "corp"),
    ("identity provider set --disable corp", ""),
    ("mapping create --rules RULES corp -f value -c id", "corp"),
    ("federation protocol create --identity-provider corp --mapping corp openid -f value -c id", "openid"),
    ("federation protocol list --identity-provider corp -f value -c id", "openid"),
    ("federation protocol delete --identity-provider corp openid", ""),
    ("mapping delete corp", ""),
    ("identity provider delete corp", ""),
    ("user delete demo2", ""),
    ("role delete cook", ""),
    ("group delete grp", ""),
    ("project delete demo", ""),
    ("project list -f value -c Name", "admin"),
]


@asynccontextmanager
async def listening(folder: Path, **env: str) -> AsyncIterator[str]:
    """A simulated cloud in a process of its own; what it says is its identity URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = ["-m", "trilith.cli.main", "up", "--state", str(folder / "state"), "--listen", f"127.0.0.1:{port}"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *argv,
        "--simulated",
        "1",
        "--json",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=os.environ | {"TRILITH_ADMIN_PASSWORD": PASSWORD, "HOME": str(folder)} | env,
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        yield str(msgspec.json.decode(line)["url"])
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 30)


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    async with listening(tmp_path) as found:
        yield found


async def test_the_clients_identity_commands(url: str, tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("OS_")} | {
        "OS_AUTH_URL": url,
        "OS_USERNAME": "admin",
        "OS_PASSWORD": PASSWORD,
        "OS_PROJECT_NAME": "admin",
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "OS_IDENTITY_API_VERSION": "3",
    }
    client = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _CLIENT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=env,
    )
    files = {"FILTERS": {"interface": "public"}, "RULES": RULES}
    for name, content in files.items():
        (tmp_path / name).write_bytes(msgspec.json.encode(content))
    paths = {name: str(tmp_path / name) for name in files}
    asked = msgspec.json.encode([[paths.get(a, a) for a in shlex.split(command)] for command, _ in COMMANDS])
    out, err = await asyncio.wait_for(client.communicate(asked), 240)
    assert client.returncode == 0, err.decode()
    answers = msgspec.json.decode(out)
    for (command, expected), (status, printed, complaint) in zip(COMMANDS, answers, strict=True):
        assert status == 0, f"{command}: {complaint}"
        if expected is not None:
            assert printed == expected, command
