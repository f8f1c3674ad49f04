"""`python -m conformance`: a fresh cloud, Tempest against it, a table. The exit status is 1 when a test failed."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path

from conformance import areas, cloud, report, tempest
from conformance.configuration import Target, render
from conformance.tempest import Result

ROOT = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    parser.add_argument("--driver", default="simulated", choices=list(areas.OF_DRIVER))
    parser.add_argument("--area", action="append", choices=list(areas.AREAS), help="only these; default: the driver's")
    parser.add_argument("--share", type=float, default=1.0, help="part of each area's tests, chosen by hash")
    parser.add_argument("--match", default="", help="a regular expression that the ids must match")
    parser.add_argument("--from", dest="listed", type=Path, help="a file of ids: only these")
    parser.add_argument("--workers", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--any-format", action="store_true", help="the cloud takes uploads of any bytes")
    parser.add_argument("--zero", action="store_true", help="against the 404 stub, and keep what it passes")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "conformance")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends, too
    folder = Path(tempfile.mkdtemp(prefix="tc", dir="/tmp"))
    try:
        with _opened(given, folder) as target:
            tempest.workspace(folder, render(target, folder))
            return _run(given, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _opened(given: argparse.Namespace, folder: Path) -> AbstractContextManager[Target]:
    if given.zero:
        return cloud.nothing()
    if given.driver == "simulated":
        return cloud.simulated(folder, enforce_format=not given.any_format)
    folder.chmod(0o711)  # the root of a container passes here
    return cloud.real(folder, {"lxc": "lxc", "libvirt": "kvm"}[given.driver])


def _run(given: argparse.Namespace, folder: Path) -> int:
    wanted = given.area or list(areas.OF_DRIVER[given.driver])
    known = tempest.tests(folder, [p for area in wanted for p in areas.AREAS[area]])
    known = [t for t in areas.share(known, given.share) if re.search(given.match, t)]
    if given.listed is not None:
        names = set(given.listed.read_text().split())
        known = [t for t in known if areas.name(t) in names]
    left_out = [(t, why) for t in known if (why := areas.excluded(t, given.driver))]
    chosen = [t for t in known if not areas.excluded(t, given.driver)]
    began, seen = time.monotonic(), [0, 0]

    def heard(result: Result) -> None:
        seen[0] += 1
        seen[1] += result.outcome == "failed"
        if result.outcome == "failed":
            print(f"   FAILED {areas.name(result.test)}", flush=True)
        if seen[0] % 50 == 0:
            print(f"── {seen[0]} of {len(chosen)}, {seen[1]} failed, {tempest.elapsed(began)}", flush=True)

    results = _by_test(tempest.run(folder, chosen, workers=given.workers, on_result=heard), chosen)
    report.write(given.out, results, left_out)
    if given.zero:
        report.ZERO.write_text("".join(f"{areas.name(r.test)}\n" for r in results if r.outcome == "passed"))
    else:
        shutil.copy(folder / "cloud" / "up.log", given.out / "cloud.log")
    print(f"\n{report.table(results, left_out)}\n\n{tempest.elapsed(began)} on {os.cpu_count()} cores\n")
    passed, failed, skipped = (sum(r.outcome == o for r in results) for o in ("passed", "failed", "skipped"))
    total = len(results) + len(left_out)
    print(f"conformance: {passed} passed, {failed} failed, {skipped + len(left_out)} skipped of {total}")
    return 1 if failed else 0


def _by_test(results: list[Result], chosen: list[str]) -> list[Result]:
    """One result a chosen test. A class that could not be set up, or was skipped whole, speaks for its tests; one that
    could not be torn down is a failure of its own."""
    found = {areas.name(r.test): r for r in results}
    answer = []
    for test in chosen:
        result = found.pop(areas.name(test), None)
        if result is None:
            owner = areas.name(test).rpartition(".")[0]
            whole = found.get(f"setUpClass ({owner})")
            outcome, why = (whole.outcome, whole.why) if whole else ("failed", "Tempest gave no result for it.")
            result = Result(test, outcome, why, 0.0)
        answer.append(Result(test, result.outcome, result.why, result.seconds))
    for name, result in found.items():
        if result.outcome == "failed" and name.startswith("tearDownClass"):
            owner = name.partition("(")[2].rstrip(")")
            answer.append(Result(f"{owner}.tearDownClass", "failed", result.why, result.seconds))
    return answer


if __name__ == "__main__":
    sys.exit(main())
