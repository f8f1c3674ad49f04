"""kill -9 at every step of an image's import: after a restart the image is whole, and nothing else is left."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.crash_import_child import SIZE
from tests.journeys.test_crash import MOMENTS, ROOT
from trilith.jobs.kinds import KINDS

#: the first step is done before it begins, as the data is staged
POINTS = [(step.name, moment) for step in KINDS["image.import"].steps[1:] for moment in MOMENTS]


def child(state: Path, crash_at: str = "") -> tuple[int, dict[str, Any]]:
    argv = [sys.executable, "-m", "tests.journeys.crash_import_child", str(state), crash_at]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"image"')]
    assert crash_at or done.returncode == 0, done.stderr[-3000:]
    return done.returncode, json.loads(lines[-1]) if lines else {}


@pytest.mark.journey
@pytest.mark.root  # conversions run confined
@pytest.mark.timeout(300)
def test_an_import_killed_anywhere_ends_whole(tmp_path: Path) -> None:
    def one(point: tuple[str, str]) -> tuple[str, Any]:
        step, moment = point
        state = tmp_path / f"{step}-{moment}"
        status, _ = child(state, f"image.import:{step}:{moment}")
        if status != -9:
            return f"{step}:{moment}", f"the process was not killed (status {status})"
        found = child(state)[1]
        shutil.rmtree(state)
        files, blobs = found.pop("files"), found.pop("blobs")
        wanted = {"image": ["active", "qcow2", SIZE, ""], "jobs": ["done"]}
        return f"{step}:{moment}", None if found == wanted and files == blobs else (found, files, blobs)

    with ThreadPoolExecutor(2) as pool:
        results = dict(pool.map(one, POINTS))
    assert not {point: wrong for point, wrong in results.items() if wrong}
