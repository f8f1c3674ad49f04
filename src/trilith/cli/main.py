"""The `trilith` command. Sub-commands import what they need when they run: `trilith up` must not pay for a client."""

from __future__ import annotations

import sys

import typer

from trilith import errors
from trilith.cli import down, up

app = typer.Typer(
    name="trilith",
    help="One cloud over three pillars: KVM, Xen and LXC, with the OpenStack API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root() -> None:
    """One cloud over three pillars: KVM, Xen and LXC, with the OpenStack API."""


app.command("up")(up.up)
app.command("down")(down.down)


def main() -> None:
    """Every expected failure is one or two lines on stderr and exit code 1; a bug keeps its trace."""
    try:
        app()
    except errors.TrilithError as err:
        sys.stderr.write(f"trilith: {err.message}\n")
        if err.hint:
            sys.stderr.write(f"  {err.hint}\n")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
