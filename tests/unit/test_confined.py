"""What a tool says is bounded, whatever an image makes it say."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from trilith.drivers.storage import confined, forms
from trilith.drivers.storage.confined import Bounds, Outcome, spawn
from trilith.drivers.storage.forms import Limits
from trilith.errors import Invalid
from trilith.model.guest import BlobSource

#: 64 MiB on each stream, and a last word
LOUD = """
import sys
for stream in (sys.stdout, sys.stderr):
    for _ in range(64):
        stream.write("x" * (1 << 20))
    stream.write("the end")
"""


async def test_of_a_loud_tool_the_last_words_are_kept() -> None:
    """Regression: all of it was kept in memory, as much as the image asked for."""
    outcome = await spawn([sys.executable, "-c", LOUD], timeout=60)
    assert outcome.code == 0
    for said in (outcome.out, outcome.err):
        assert len(said) <= confined.KEPT
        assert said.endswith(b"the end")


async def test_a_listing_is_read_as_it_comes_and_may_be_broken_off() -> None:
    seen = 0

    def each(line: bytes) -> None:
        nonlocal seen
        assert line.isdigit()
        seen += 1
        if seen == 1000:
            raise Invalid("enough")

    endless = "n = 10\nwhile True:\n    print(n)\n    n += 1"
    async with asyncio.timeout(20):
        with pytest.raises(Invalid, match="enough"):
            await spawn([sys.executable, "-c", endless], timeout=60, each=each)
    assert seen == 1000


async def test_a_squashfs_of_too_many_files_is_refused_while_it_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"hsqs")
    many = "while True:\n    print('-rw-r--r-- 0/0 1 2026-01-01 00:00 squashfs-root/x')"

    async def loud(*, bounds: Bounds, each: object = None, **_more: object) -> Outcome:
        return await spawn([sys.executable, "-c", many], timeout=20, each=each)  # type: ignore[arg-type]

    monkeypatch.setattr(forms, "confined", loud)
    source = BlobSource(sha256="0" * 64, path=str(blob), disk_format="squashfs", properties={})
    with pytest.raises(Invalid, match="more than 100 files"):
        await forms.rootfs(source, tmp_path, Limits(max_files=100))
