"""What commands write: answers on stdout (a table, lines, or one JSON document), progress on stderr.

Control codes go to terminals only; into a pipe goes plain text, a line an event.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

#: columns of a table that goes into a pipe: never wrapped there
_WIDE = 100_000


def document(value: object) -> None:
    """The answer of a command that was asked for --json."""
    sys.stdout.write(json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n")


def line(text: str) -> None:
    sys.stdout.write(text + "\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """`empty` is said where there are no rows, on stderr: a pipe then gets nothing."""
    if not rows:
        sys.stderr.write(empty + "\n")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    made = Table(box=None, pad_edge=False, header_style="bold" if terminal else "")
    for column in columns:
        made.add_column(column.upper(), no_wrap=not terminal, overflow="fold")
    for row in rows:
        # Text: names of users are shown as they are, not read as rich's markup
        made.add_row(*(Text(shown(cell)) for cell in row))
    console = Console(file=sys.stdout, width=None if terminal else _WIDE, highlight=False)
    with console.capture() as captured:
        console.print(made)
    text = "\n".join(row.rstrip() for row in captured.get().splitlines())
    sys.stdout.write(text + "\n")


def fields(values: Mapping[str, object]) -> None:
    """One thing: name and value, a line each; what is empty is left out."""
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        text = shown(value)
        if text not in ("", "–"):
            sys.stdout.write(f"{name.ljust(width)}  {text}\n")


def shown(value: object) -> str:
    """A cell's text: – for what is not known."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(v) for v in value) or "–"
    return printable(str(value))


def printable(text: str) -> str:
    """Without control characters: what a guest or another user wrote never steers this terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def ago(seconds: float) -> str:
    """12s, 3m, 5h, 2d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


class Steps:
    """What is going on now, and what is done, with its seconds. `step` ends the one before."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar = bar
        self._task: TaskID | None = None
        self._what = ""
        self._began = 0.0
        self._tenth = -1

    def step(self, what: str) -> None:
        self.finish()
        self._what, self._began, self._tenth = what, time.monotonic(), -1
        if self._bar is None:
            sys.stderr.write(f"{what} …\n")
            sys.stderr.flush()
        else:
            self._task = self._bar.add_task(_plain(what), total=None)

    def part(self, done: float, *, what: str = "") -> None:
        """`done` of the present step, 0.0 to 1.0."""
        if self._bar is not None and self._task is not None:
            text = f"{self._what}: {what}" if what else self._what
            self._bar.update(self._task, total=1.0, completed=min(done, 1.0), description=_plain(text))
        elif self._bar is None and int(done * 10) > self._tenth and time.monotonic() - self._began > 1:
            self._tenth = int(done * 10)
            sys.stderr.write(f"{self._what}: {done:.0%} {what}".rstrip() + "\n")

    def note(self, text: str) -> None:
        """A line that stays: something ended."""
        if self._bar is not None:
            self._bar.console.print(_plain(text), markup=True, highlight=False)
        else:
            sys.stderr.write(printable(text) + "\n")

    def finish(self) -> None:
        """The present step is done."""
        if not self._what:
            return
        took = time.monotonic() - self._began
        if self._bar is not None and self._task is not None:
            self._bar.remove_task(self._task)
            self._bar.console.print(f"[green]✓[/] {_plain(self._what)} [dim]{took:.1f} s[/]", highlight=False)
            self._task = None
        self._what = ""

    def drop(self) -> None:
        """The present step failed: the error says so."""
        if self._bar is not None and self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        self._what = ""


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(printable(text))


@contextmanager
def progress() -> Iterator[Steps]:
    """Steps on stderr: live on a terminal, a line each elsewhere."""
    if not sys.stderr.isatty():
        yield Steps(None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        steps = Steps(bar)
        try:
            yield steps
        except BaseException:
            steps.drop()
            raise
        steps.finish()


def confirm(what: str, names: Iterable[str], *, yes: bool) -> None:
    """Ask on a terminal before something goes; what: the verb. Others may have given the names. Raises typer.Abort."""
    if yes or not sys.stdin.isatty():
        return
    import typer

    typer.confirm(f"{what} {', '.join(map(printable, names))}?", abort=True, err=True)


def deleted(found: Iterable[Any], *, as_json: bool) -> None:
    """The answer of a command that deleted these: each has an id and, mostly, a name."""
    rows = [{"id": one.id, "name": one.name} for one in found]
    text = "\n".join(f"{printable(row['name'] or row['id'])}: deleted" for row in rows)
    answer({"deleted": rows}, as_json=as_json, text=lambda: line(text))


def answer(value: Any, *, as_json: bool, text: Callable[[], None]) -> None:
    """One place that decides between the document and the text."""
    if as_json:
        document(value)
    else:
        text()
