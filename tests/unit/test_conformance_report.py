"""What a conformance run says of the interop guidelines."""

from __future__ import annotations

from conformance import report
from conformance.tempest import Result


def names() -> list[list[str]]:
    lines = [line.split() for line in report.INTEROP.read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == len({line[0] for line in lines}) == 284
    return lines


def test_what_passed_what_needs_volumes_and_what_did_not_run() -> None:
    known = [test for test, *gone in names() if not gone]
    volumes = [t for t in known if report.needs_volumes(t)]
    others = [t for t in known if not report.needs_volumes(t)]
    results = [Result(f"{t}[id-1]", "passed", "", 0.0) for t in others[:-3]]
    results += [Result(others[-3], "failed", "no", 0.0), Result(others[-2], "skipped", "off", 0.0)]
    results += [Result(volumes[0], "skipped", "no Cinder", 0.0), Result("tempest.api.other", "passed", "", 0.0)]
    passed = len(others) - 3
    assert report.interop(results) == (
        f"interop: {passed} passed of 284; 1 failed, 68 need volumes, 1 not in this run, 1 skipped"
    )


def test_a_run_in_which_all_passed_says_only_that() -> None:
    results = [Result(test, "passed", "", 0.0) for test, *_ in names()]
    assert report.interop(results) == "interop: 284 passed of 284"
