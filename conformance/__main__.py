"""`python -m conformance`: a fresh cloud, Tempest against it, a table. The exit status is 1 when a test failed."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from contextlib import AbstractContextManager
from dataclasses import replace
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
    parser.add_argument("--workers", type=int, default=0, help="default: two a core, one where guests are machines")
    parser.add_argument("--any-format", action="store_true", help="the cloud takes uploads of any bytes")
    parser.add_argument("--zero", action="store_true", help="against the 404 stub, and keep what it passes")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "conformance")
    given = parser.parse_args()
    given.workers = given.workers or (os.cpu_count() or 1) * (1 if given.driver == "libvirt" else 2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends, too
    began = time.monotonic()
    results, left_out = _against(given, any_format=given.any_format)
    again = {areas.name(r.test) for r in results if areas.wants_any_format(r.why)}
    if again and given.driver == "simulated" and not (given.any_format or given.zero):
        print(f"── once more, with uploads of any bytes: {len(again)}", flush=True)
        more = {r.test: r for r in _against(given, any_format=True, only=again)[0]}
        results = [more.get(r.test, r) for r in results]
    again = {areas.name(r.test) for r in results if areas.wants_unified_limits(r.why)}
    if again and given.driver != "simulated" and not given.zero:
        print(f"── once more, with Keystone's limits for servers: {len(again)}", flush=True)
        more = {r.test: r for r in _against(given, any_format=False, unified_limits=True, only=again)[0]}
        results = [more.get(r.test, r) for r in results]
    report.write(given.out, results, left_out)
    if given.zero:
        report.ZERO.write_text("".join(f"{areas.name(r.test)}\n" for r in results if r.outcome == "passed"))
    print(f"\n{report.table(results, left_out)}\n\n{tempest.elapsed(began)} on {os.cpu_count()} cores\n")
    passed, failed, skipped = (sum(r.outcome == o for r in results) for o in ("passed", "failed", "skipped"))
    total = len(results) + len(left_out)
    print(f"conformance: {passed} passed, {failed} failed, {skipped + len(left_out)} skipped of {total}")
    return 1 if failed else 0


def _opened(
    given: argparse.Namespace, folder: Path, *, any_format: bool, unified_limits: bool
) -> AbstractContextManager[Target]:
    if given.zero:
        return cloud.nothing()
    if given.driver == "simulated":
        return cloud.simulated(folder, enforce_format=not any_format)
    folder.chmod(0o711)  # the root of a container passes here
    return cloud.real(folder, {"lxc": "lxc", "libvirt": "kvm"}[given.driver], unified_limits=unified_limits)


def _against(
    given: argparse.Namespace, *, any_format: bool, unified_limits: bool = False, only: set[str] | None = None
) -> tuple[list[Result], list[tuple[str, str]]]:
    """A fresh cloud, the chosen tests against it: their results, and what was left out with its reasons."""
    folder = Path(tempfile.mkdtemp(prefix="tc", dir="/tmp"))
    try:
        with _opened(given, folder, any_format=any_format, unified_limits=unified_limits) as target:
            tempest.workspace(folder, render(replace(target, volumes=given.area == ["volume"]), folder))
            chosen, left_out = _chosen(given, folder, only)
            if not given.zero:
                tempest.remember(folder)
            apart = [t for t in chosen if target.guests and areas.apart(t)]
            progress, results = _Progress(len(chosen)), list[Result]()
            for part in ([t for t in chosen if t not in apart], apart):
                if part:
                    results += tempest.run(folder, part, workers=given.workers, on_result=progress)
            if not given.zero:
                print(report.left_behind(tempest.left_behind(folder)), flush=True)
        if not given.zero:
            given.out.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "cloud" / "up.log", given.out / ("cloud-2.log" if only else "cloud.log"))
        return _by_test(results, chosen), left_out
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _chosen(given: argparse.Namespace, folder: Path, only: set[str] | None) -> tuple[list[str], list[tuple[str, str]]]:
    wanted = given.area or list(areas.OF_DRIVER[given.driver])
    known = tempest.tests(folder, [p for area in wanted for p in areas.AREAS[area]])
    known = [t for t in known if given.area or areas.belongs(t, given.driver)]
    known = [t for t in areas.share(known, given.share) if re.search(given.match, t)]
    for names in (set(given.listed.read_text().split()) if given.listed is not None else None, only):
        if names is not None:
            known = [t for t in known if areas.name(t) in names]
    left_out = [(t, why) for t in known if (why := areas.excluded(t, given.driver))]
    return [t for t in known if not areas.excluded(t, given.driver)], left_out


class _Progress:
    """Prints each failure, and how far the run is every 50 tests."""

    def __init__(self, count: int) -> None:
        self._count, self._began = count, time.monotonic()
        self._seen = self._failed = 0

    def __call__(self, result: Result) -> None:
        self._seen += 1
        if result.outcome == "failed":
            self._failed += 1
            print(f"   FAILED {areas.name(result.test)}", flush=True)
            print(textwrap.indent("\n".join(result.why.strip().splitlines()[-4:]), " " * 6), flush=True)
        if self._seen % 50 == 0:
            took = tempest.elapsed(self._began)
            print(f"── {self._seen} of {self._count}, {self._failed} failed, {took}", flush=True)


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
