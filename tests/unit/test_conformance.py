"""What conformance runs leave out is named in docs/conformance.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from conformance import areas

DOC = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()


@pytest.mark.parametrize("test", sorted({t for tests in areas.EXCLUDED_OF.values() for t in tests} | set(areas.APART)))
def test_what_is_left_out_is_documented(test: str) -> None:
    assert f"`{test.rstrip('.').rpartition('.')[2]}`" in DOC
