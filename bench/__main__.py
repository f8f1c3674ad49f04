"""`python -m bench [--quick] [section …]`: the table of speed and size. The exit status says whether it could run,
never whether a goal was met: that depends on the machine, and the table says it plainly."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import control, machine, starts
from bench.plan import Plan
from bench.table import Table, markdown
from trilith.errors import TrilithError

ROOT = Path(__file__).parents[1]
#: what ends a section, not the run
FAILURES = (RuntimeError, OSError, AssertionError, ImportError, subprocess.SubprocessError, TrilithError)


def _containers(table: Table, plan: Plan) -> None:
    from bench import containers

    containers.run(table, plan)


def _machines(table: Table, plan: Plan) -> None:
    from bench import machines

    machines.run(table, plan)


def _packing(table: Table, plan: Plan) -> None:
    from bench import packing

    packing.run(table, plan)


def _pillars(table: Table, plan: Plan) -> None:
    from bench import pillars

    pillars.run(table, plan)


def _requests(table: Table, plan: Plan) -> None:
    from bench import requests

    requests.run(table, plan)


def _restarts(table: Table, plan: Plan) -> None:
    from bench import restarts

    restarts.run(table, plan)


def _security_groups(table: Table, plan: Plan) -> None:
    from bench import security_groups

    security_groups.run(table, plan)


SECTIONS: dict[str, tuple[Callable[[Table, Plan], None], bool]] = {
    "control": (control.run, False),
    "requests": (_requests, False),
    "packing": (_packing, False),
    "start": (starts.run, False),
    "idle": (starts.idle_simulated, False),
    "real-start": (starts.run_real, True),
    "containers": (_containers, True),
    "machines": (_machines, True),
    "pillars": (_pillars, True),
    "restarts": (_restarts, True),
    "security-groups": (_security_groups, True),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; default: all that this host can")
    parser.add_argument("--quick", action="store_true", help="a fifth of the rounds, 10 s of idling")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench.md", help="where the table is written")
    given = parser.parse_args()
    unknown = [s for s in given.sections if s not in SECTIONS]
    if unknown:
        parser.error(f"no section {unknown[0]}; there are {', '.join(SECTIONS)}")
    folder = Path(tempfile.mkdtemp(prefix="tb", dir="/tmp" if Path("/tmp").is_dir() else None))
    folder.chmod(0o711)  # the root of a container passes here
    plan, table = Plan(folder, given.quick), Table()
    facts = machine.facts(folder)
    failed: list[str] = []
    try:
        for name in given.sections or SECTIONS:
            work, root = SECTIONS[name]
            if root and os.geteuid() != 0:
                table.skip(name, "needs root")
                continue
            print(f"── {name}", flush=True)
            began = time.monotonic()
            try:
                work(table, plan)
            except (
                RuntimeError,
                OSError,
                AssertionError,
                ImportError,
                subprocess.SubprocessError,
                TrilithError,
            ) as err:
                failed.append(name)
                table.skip(name, f"FAILED: {type(err).__name__}: {err}")
            print(f"   {time.monotonic() - began:.0f} s", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = markdown(table, facts)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(text + "\n")
    print("\n" + text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
