"""Makes docs/states.md from the transition tables: python -m docs.states."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trilith.model import image, job, server, volume  # noqa: F401  declares the tables
from trilith.model.states import TABLES, Table

#: what an administrator says a state is: from any to any, told once each
RESET = "reset_"


def render(tables: Mapping[str, Table]) -> str:
    parts = [
        "# How states change",
        "",
        "Made from the transition tables in `src/trilith/model/` by `python -m docs.states`; a test compares them.",
    ]
    for noun, table in sorted(tables.items()):
        parts += ["", f"## {noun}", "", "| state | event | becomes |", "| --- | --- | --- |"]
        said = {k: to for k, to in table.moves.items() if not k[1].startswith(RESET)}
        parts += [f"| {state} | {event} | {to} |" for (state, event), to in sorted(said.items())]
        resets = sorted({(event, to) for (_, event), to in table.moves.items() if event.startswith(RESET)})
        parts += [f"| any that is not deleted | {event} | {to} |" for event, to in resets]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("states.md").write_text(render(TABLES))
