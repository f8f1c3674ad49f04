"""Tempest itself: its list of tests, and a run of some of them in several processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stestr.repository.file as repository_file
import subunit
import testtools

BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Result:
    """outcome: passed, failed, skipped. why: the reason of a skip, the end of a failure's words."""

    test: str
    outcome: str
    why: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Left:
    """deleted: it was deleted through the API, with success, and is there all the same. What no test has deleted is
    Tempest's own to clear away."""

    kind: str
    id: str
    name: str
    deleted: bool


def workspace(folder: Path, configuration: str) -> None:
    """A directory that Tempest runs in."""
    for name in ("etc", "logs", "lock"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "etc" / "tempest.conf").write_text(configuration)
    discovery = Path(_module("tempest")) / "test_discover"
    top = Path(_module("tempest")).parent
    (folder / ".stestr.conf").write_text(
        f"[DEFAULT]\ntest_path={discovery}\ntop_dir={top}\ngroup_regex=([^\\.]*\\.)*\n"
    )
    repository_file.RepositoryFactory().initialise(str(folder))


def tests(folder: Path, prefixes: Sequence[str]) -> list[str]:
    """The ids of all tests of these areas, with their attributes in brackets."""
    regex = "^(" + "|".join(p.replace(".", "\\.") for p in prefixes) + ")"
    done = subprocess.run(_argv(folder, "--list-tests", "--regex", regex), cwd=folder, env=_env(folder),
                          capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"tempest lists no tests: {done.stdout[-1500:]} {done.stderr[-1500:]}")
    return sorted(line for line in done.stdout.splitlines() if line.startswith("tempest."))


def run(folder: Path, chosen: Sequence[str], *, workers: int, on_result: Callable[[Result], None]) -> list[Result]:
    """Run exactly these. Raises RuntimeError when Tempest itself fails."""
    listed = folder / "chosen"
    listed.write_text("\n".join(chosen) + "\n")
    argv = _argv(folder, "--load-list", str(listed), "--concurrency", str(workers), "--subunit")
    found: list[Result] = []

    def heard(test: Any) -> None:
        result = _result(test)
        if result is not None:
            found.append(result)
            on_result(result)

    with (folder / "tempest.err").open("wb") as errors:
        child = subprocess.Popen(argv, cwd=folder, env=_env(folder), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=errors, start_new_session=True)  # fmt: skip
        try:
            stream = testtools.StreamToDict(heard)
            stream.startTestRun()
            subunit.ByteStreamToStreamResult(child.stdout, non_subunit_name="stdout").run(stream)
            stream.stopTestRun()
            code = child.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, 9)
            child.wait()
    if not found:
        raise RuntimeError(f"tempest ran nothing ({code}): {(folder / 'tempest.err').read_text()[-3000:]}")
    return found


def remember(folder: Path) -> None:
    """What the cloud has before the tests, for `left_behind`. Raises RuntimeError."""
    _cleanup(folder, "--init-saved-state")


def left_behind(folder: Path) -> list[Left]:
    """What the cloud has since `remember`, by Tempest's own list of kinds. Raises RuntimeError."""
    _cleanup(folder, "--dry-run")
    found: dict[str, Any] = json.loads((folder / "dry_run.json").read_text())
    log = (folder / "logs" / "tempest.log").read_text(errors="replace")
    deleted = set(re.findall(r": 20[0-9] DELETE \S*/([^/?\s]+)", log))
    left = []
    for kind, things in found.items():
        if kind == "_projects_to_clean":
            continue
        for row in [{"id": id} for id in things] if isinstance(things, dict) else things:
            thing = row.get("keypair", row)
            id = str(thing.get("id") or thing["name"])  # key pairs have names only
            left.append(Left(kind, id, str(thing.get("name") or ""), id in deleted))
    return left


def _cleanup(folder: Path, what: str) -> None:
    argv = [str(BIN / "tempest"), "cleanup", what]
    done = subprocess.run(argv, cwd=folder, env=_env(folder), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"tempest cleanup {what}: {done.stdout[-1500:]} {done.stderr[-1500:]}")


def _result(test: dict[str, Any]) -> Result | None:
    status = test["status"]
    if status not in ("success", "fail", "skip", "xfail", "uxsuccess") or test["id"] == "stdout":
        return None
    begun, ended = test["timestamps"]
    seconds = (ended - begun).total_seconds() if begun and ended else 0.0
    details = {name: content.as_text() for name, content in test["details"].items()}
    if status == "success":
        return Result(test["id"], "passed", "", seconds)
    if status == "skip":
        return Result(test["id"], "skipped", details.get("reason", "").strip(), seconds)
    words = next((text for name, text in details.items() if name.startswith("traceback")), "")
    return Result(test["id"], "failed", words.strip(), seconds)


def _argv(folder: Path, *words: str) -> list[str]:
    conf = str(folder / "etc" / "tempest.conf")
    return [str(BIN / "tempest"), "run", "--config-file", conf, *words]


def _env(folder: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(folder), "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONWARNINGS": "ignore",
            "TEMPEST_CONFIG_DIR": str(folder / "etc"), "TEMPEST_CONFIG": "tempest.conf"}  # fmt: skip


def _module(name: str) -> str:
    import importlib.util

    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"{name} is not installed; run `make setup-test`.")
    return spec.submodule_search_locations[0]


def elapsed(began: float) -> str:
    seconds = int(time.monotonic() - began)
    return f"{seconds // 60}:{seconds % 60:02d}"
