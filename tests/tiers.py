"""`make check`, `make test`, `make soak`: the tiers in their order, each with its budget and what it took.

A tier over its budget is said so; the whole fails when a tier fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Tier:
    """budget: seconds on two cores."""

    name: str
    budget: float
    commands: tuple[tuple[str, ...], ...]


def _pytest(*args: str) -> tuple[str, ...]:
    return (str(BIN / "python"), "-m", "pytest", *args)


TIERS: dict[str, Tier] = {
    t.name: t
    for t in (
        Tier(
            "check",
            120,
            (
                (str(BIN / "ruff"), "check", "src", "tests", "bench", "demo", "conformance"),
                (str(BIN / "mypy"),),
                _pytest("tests/unit", "tests/golden", "tests/test_architecture.py", "-n", "2"),
            ),
        ),
        Tier("contracts", 900, (_pytest("tests/contracts", "-n", "2", "--dist", "loadfile"),)),
        Tier("api", 600, (_pytest("tests/api", "-n", "2", "--dist", "loadfile"),)),
        Tier("conformance", 600, ((str(BIN / "python"), "-m", "conformance", "--share", "0.3"),)),
        Tier("journeys", 1200, (_pytest("tests/journeys", "-m", "not soak"),)),
        Tier(
            "soak",
            7200,
            (
                _pytest("tests/journeys", "-m", "soak", "--timeout", "3600"),
                (str(BIN / "python"), "-m", "conformance"),
            ),
        ),
    )
}


def main(names: list[str]) -> int:
    lines: list[str] = []
    failed = False
    for name in names:
        tier = TIERS[name]
        began = time.monotonic()
        ok = True
        for command in tier.commands:
            print(f"── {tier.name}: {Path(command[0]).name} {' '.join(command[1:])}", flush=True)
            done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONDONTWRITEBYTECODE": ""}, check=False)
            ok &= done.returncode == 0
        took = time.monotonic() - began
        over = "  OVER BUDGET" if took > tier.budget else ""
        lines.append(f"{tier.name:<10} {'passed' if ok else 'FAILED':<7} {took:7.1f} s of {tier.budget:6.0f} s{over}")
        failed |= not ok
    print("\nbudget a tier (two cores)", *lines, sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:] or ["check"]))
