"""`trilith exec`, `shell`, `console`: into a server."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trilith import errors
from trilith.cli import options, screen

if TYPE_CHECKING:
    from trilith.cli.client import Cloud

Server = Annotated[str, typer.Argument(help="Name or id of the server.")]


def execute(
    name: Server,
    command: Annotated[list[str], typer.Argument(help="The command, after --.", metavar="-- CMD...")],
    timeout: Annotated[float, typer.Option(help="Seconds until the command is ended.", min=1, max=600)] = 60,
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Run a command inside a container and end with its exit code.

    Examples:

      trilith exec web1 -- cat /etc/os-release

      trilith exec web1 -- sh -c 'systemctl is-active ssh || journalctl -u ssh -n 20'
    """
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        server = cloud.server(name)
        try:
            done = cloud.native.execute(server.id, list(command), timeout=timeout)
        except errors.Unsupported as err:
            hint = err.hint or "Log in over ssh: trilith shell " + name
            raise errors.Unsupported(err.message, capability="execute", hint=hint) from err
        except errors.Missing as err:
            # the server itself was just found: it is the way in that is not there
            raise errors.Unsupported(
                "This cloud runs no commands inside servers.", capability="execute", hint=f"trilith shell {name}"
            ) from err
    if as_json:
        screen.document(
            {
                "exit_code": done.exit_code,
                "stdout": done.stdout.decode(errors="replace"),
                "stderr": done.stderr.decode(errors="replace"),
                "cut": list(done.cut),
            }
        )
    else:
        sys.stdout.buffer.write(done.stdout)
        sys.stdout.flush()
        sys.stderr.buffer.write(done.stderr)
        if done.cut:
            sys.stderr.write(
                f"trilith: {' and '.join(done.cut)} had more than the cloud gives; write to a file there\n"
            )
        sys.stderr.flush()
    raise typer.Exit(done.exit_code)


def shell(
    name: Server,
    user: Annotated[str, typer.Option("--user", "-l", help="User for ssh. Default: as the image says.")] = "",
    key: Annotated[str, typer.Option("--identity", "-i", help="Private key for ssh.")] = "",
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print how one gets in, as JSON, and do not go in.")] = False,
) -> None:
    """A shell inside: directly in a container, by ssh through the floating IP in a machine.

    Examples:

      trilith shell web1

      trilith shell vm1 -l debian -i ~/.ssh/other
    """
    from trilith.cli import terminal
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        server = cloud.server(name)
        _running(server)
        pillar = str(cloud.native.server(server.id).get("pillar") or "")
        if pillar == "lxc" and not user:
            if as_json:
                screen.document({"way": "stream", "url": cloud.native.websocket(f"/servers/{server.id}/shell")})
                return
            terminal.attach(cloud.native, f"/servers/{server.id}/shell", detach=False, sized=True)
            return
        argv = ssh_argv(cloud, server, user, key)
    if as_json:
        screen.document({"way": "ssh", "argv": argv})
        return
    if shutil.which("ssh") is None:
        raise errors.Missing("ssh is not installed here.", hint="Install the package openssh-client.")
    sys.stdout.flush()
    os.execvp(argv[0], argv)


def ssh_argv(cloud: Cloud, server: Any, user: str, key: str) -> list[str]:
    """Raises Unsupported where ssh has no way in."""
    from trilith.cli import login

    _, floating = login.addresses(server)
    if not floating:
        raise errors.Unsupported(
            f"{server.name} is a machine without a floating IP: ssh does not reach it.",
            capability="execute",
            hint=f"Give it one (trilith launch … --public does), or use: trilith console {server.name}",
        )
    name = user or login.user_of(login.image_of(cloud, server))
    # addresses are used again: a new server there has a new host key, which is no attack
    fresh = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    who = f"{name}@{floating[0]}" if name else floating[0]
    return ["ssh", *fresh, *(["-i", key] if key else []), who]


def console(
    name: Server,
    log: Annotated[bool, typer.Option("--log", help="What it printed so far, and no more.")] = False,
    url: Annotated[
        bool, typer.Option("--url", help="URL of the screen for a browser, good once; do not connect.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="With --log: the last N lines; 0 for all.", min=0)] = 0,
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --log or --url: as JSON.")] = False,
) -> None:
    """The serial console. Ctrl-] leaves it.

    Examples:

      trilith console vm1

      trilith console vm1 --log -n 50

      trilith console vm1 --url
    """
    from trilith.cli import terminal
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        server = cloud.server(name)
        if url:
            made = cloud.sdk.compute.create_server_remote_console(server, protocol="vnc", type="novnc")
            if as_json:
                screen.document({"id": server.id, "name": server.name, "type": made.type, "url": made.url})
            else:
                screen.line(made.url)
            return
        if log or as_json:
            said = cloud.sdk.compute.get_server_console_output(server.id, length=lines or None)
            text = str(said.get("output", "") if isinstance(said, dict) else said)
            if as_json:
                screen.document({"id": server.id, "name": server.name, "output": text})
            elif sys.stdout.isatty():
                screen.line(_safe(text))
            else:
                sys.stdout.write(text)
            return
        _running(server)
        if sys.stderr.isatty():
            sys.stderr.write(f"Console of {screen.printable(server.name)}. Ctrl-] leaves it.\n")
        terminal.attach(cloud.native, f"/servers/{server.id}/console", detach=True, sized=False)


def _safe(text: str) -> str:
    return screen.printable(text.replace("\r", ""))


def _running(server: Any) -> None:
    if server.status not in ("ACTIVE", "REBOOT", "HARD_REBOOT", "VERIFY_RESIZE", "PASSWORD"):
        raise errors.Conflict(
            f"{server.name} is {server.status}.", hint=f"Start it: openstack server start {server.name}"
        )
