"""What came of a run: a table for people, a list of each outcome in files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from conformance import areas
from conformance.tempest import Left, Result

#: what the 404 stub passes: a test id a line (`python -m conformance --zero`)
ZERO = Path(__file__).with_name("zero-line.txt")
#: what the interop guidelines require: a test id a line, "gone" behind those that Tempest has no more
INTEROP = Path(__file__).with_name("interop.txt")


def table(results: Sequence[Result], left_out: Sequence[tuple[str, str]]) -> str:
    """Area by area, passes of positive and negative tests apart, and beside them how many of these tests the 404 stub
    passes; then why tests were skipped or left out."""
    rows: list[tuple[str, ...]] = [
        ("area", "tests", "passed", "positive", "negative", "failed", "skipped", "left out", "404 stub")
    ]
    zero = set(ZERO.read_text().split()) if ZERO.exists() else set()
    for area in areas.AREAS:
        of = [r for r in results if areas.area_of(r.test) == area]
        out = [t for t, _ in left_out if areas.area_of(t) == area]
        if of or out:
            rows.append((area, *_row(of, len(out), zero)))
    rows.append(("all", *_row(results, len(left_out), zero)))
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths, strict=True)))
             for r in rows]  # fmt: skip
    why = Counter(r.why for r in results if r.outcome == "skipped")
    lines += ["", *(f"skipped {n:4}  {reason or 'no reason given'}" for reason, n in why.most_common())]
    reasons = Counter(reason for _, reason in left_out)
    lines += [f"left out {n:3}  {reason}" for reason, n in reasons.most_common()]
    return "\n".join([*lines, "", interop(results)])


def needs_volumes(test: str) -> bool:
    return test.startswith(("tempest.api.volume.", "tempest.api.compute.volumes."))


def interop(results: Sequence[Result]) -> str:
    """How many of the interop guidelines' tests passed, and what became of the others."""
    lines = [line.split() for line in INTEROP.read_text().splitlines() if not line.startswith("#")]
    outcomes = {areas.name(r.test): r.outcome for r in results}
    count: Counter[str] = Counter()
    for test, *gone in lines:
        outcome = outcomes.get(test)
        if outcome is not None and not (outcome == "skipped" and needs_volumes(test)):
            count[outcome] += 1
        else:
            count["need volumes" if needs_volumes(test) else "gone from Tempest" if gone else "not in this run"] += 1
    rest = [f"{n} {what}" for what, n in sorted(count.items()) if what != "passed"]
    return f"interop: {count['passed']} passed of {len(lines)}" + (f"; {', '.join(rest)}" if rest else "")


def _row(of: Sequence[Result], left_out: int, zero: set[str]) -> tuple[str, ...]:
    passed = [r for r in of if r.outcome == "passed"]
    negative = sum(areas.is_negative(r.test) for r in passed)
    failed, skipped = (sum(r.outcome == o for r in of) for o in ("failed", "skipped"))
    stub = sum(areas.name(r.test) in zero for r in of)
    found = (len(of) + left_out, len(passed), len(passed) - negative, negative, failed, skipped, left_out, stub)
    return tuple(str(n) for n in found)


def left_behind(left: Sequence[Left]) -> str:
    """One line, and one more for each thing."""
    if not left:
        return "left in the cloud: nothing"
    told = [f"  {one.kind} {one.id} {one.name}: {'deleted, and is there' if one.deleted else 'no test deleted it'}"
            for one in left]  # fmt: skip
    return "\n".join([f"left in the cloud: {len(left)}", *told])


def write(folder: Path, results: Sequence[Result], left_out: Sequence[tuple[str, str]]) -> None:
    """passed, failed, skipped and left-out, a test a line, and failures.txt with the words of each failure."""
    folder.mkdir(parents=True, exist_ok=True)
    for outcome in ("passed", "failed", "skipped"):
        lines = [f"{areas.name(r.test)}" + (f"\t{r.why}" if outcome == "skipped" else "")
                 for r in sorted(results, key=lambda r: r.test) if r.outcome == outcome]  # fmt: skip
        (folder / outcome).write_text("".join(f"{line}\n" for line in lines))
    (folder / "left-out").write_text("".join(f"{areas.name(t)}\t{why}\n" for t, why in sorted(left_out)))
    words = [
        f"{'=' * 100}\n{r.test}\n{r.why}\n" for r in sorted(results, key=lambda r: r.test) if r.outcome == "failed"
    ]
    (folder / "failures.txt").write_text("\n".join(words))
    slow = sorted(results, key=lambda r: -r.seconds)[:50]
    (folder / "slowest").write_text("".join(f"{r.seconds:7.1f}  {areas.name(r.test)}\n" for r in slow))
