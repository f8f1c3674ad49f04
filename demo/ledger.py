"""What was done, with the time of each step; printed as it happens and as a table at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Ledger:
    rows: list[tuple[str, float, str]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @contextmanager
    def step(self, what: str) -> Iterator[list[str]]:
        """Times the block; what it appends to the list is the step's note."""
        sys.stdout.write(f"  {what} ... ")
        sys.stdout.flush()
        notes: list[str] = []
        started = time.monotonic()
        try:
            yield notes
        except BaseException:
            sys.stdout.write("FAILED\n")
            raise
        took = time.monotonic() - started
        note = "; ".join(notes)
        self.rows.append((what, took, note))
        sys.stdout.write(f"{took:.2f} s{'  ' + note if note else ''}\n")

    def table(self) -> str:
        from rich.console import Console
        from rich.table import Table

        table = Table(title="what was done", show_lines=False)
        table.add_column("step")
        table.add_column("seconds", justify="right")
        table.add_column("note", overflow="fold")
        for what, took, note in self.rows:
            table.add_row(what, f"{took:.2f}", note)
        table.add_row("all of it", f"{time.monotonic() - self.began:.1f}", "")
        console = Console(width=118, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
        console.print(table)
        return console.export_text()
