"""The `trilith` command. Sub-commands import what they need when they run: `trilith up` must not pay for a client."""

from __future__ import annotations

import os
import sys

import typer

from trilith import errors
from trilith.cli import (
    advise,
    benchmark,
    doctor,
    down,
    explain,
    flavor,
    image,
    inside,
    jobs,
    launch,
    network,
    servers,
    top,
    up,
    version,
)

#: characters of an error, some lines of a terminal
_LONGEST = 600

app = typer.Typer(
    name="trilith",
    help="One cloud over three pillars: KVM, Xen and LXC, with the OpenStack API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root() -> None:
    """One cloud over three pillars: KVM, Xen and LXC, with the OpenStack API.

    Examples:

      trilith up                              # a whole cloud on this machine

      trilith image build tiny && trilith launch tiny first && trilith shell first

      openstack --os-cloud trilith server list
    """


_HERE, _SERVERS, _MORE = "This machine", "Servers", "What they are made of"
app.command("up", rich_help_panel=_HERE)(up.up)
app.command("down", rich_help_panel=_HERE)(down.down)
app.command("doctor", rich_help_panel=_HERE)(doctor.doctor)
app.add_typer(benchmark.app, name="benchmark", rich_help_panel=_HERE)
app.command("launch", rich_help_panel=_SERVERS)(launch.launch)
app.command("explain", rich_help_panel=_SERVERS)(explain.explain)
app.command("advise", rich_help_panel=_SERVERS)(advise.advise)
app.command("list", rich_help_panel=_SERVERS)(servers.list_servers)
app.command("show", rich_help_panel=_SERVERS)(servers.show)
app.command("shell", rich_help_panel=_SERVERS)(inside.shell)
app.command("exec", rich_help_panel=_SERVERS)(inside.execute)
app.command("console", rich_help_panel=_SERVERS)(inside.console)
app.command("delete", rich_help_panel=_SERVERS)(servers.delete)
app.command("top", rich_help_panel=_SERVERS)(top.top)
app.add_typer(image.app, name="image", rich_help_panel=_MORE)
app.add_typer(flavor.app, name="flavor", rich_help_panel=_MORE)
app.add_typer(network.app, name="network", rich_help_panel=_MORE)
app.add_typer(jobs.app, name="jobs", rich_help_panel=_MORE)
app.command("version", rich_help_panel=_MORE)(version.version)


def one_line(text: str) -> str:
    """A tool's own words may be many lines, and a server's may steer a terminal."""
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]} …"


def main() -> None:
    """Every expected failure is one or two lines on stderr and exit code 1; a bug keeps its trace."""
    try:
        app()
    except errors.TrilithError as err:
        sys.stderr.write(f"trilith: {one_line(err.message)}\n")
        if err.hint:
            sys.stderr.write(f"  {one_line(err.hint)}\n")
        raise SystemExit(1) from None
    except BrokenPipeError:
        # who read along has gone (| head): nothing is left to say, also not by the interpreter at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None


if __name__ == "__main__":
    main()
