"""What conformance runs leave out is named in docs/conformance.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from conformance import areas

DOC = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()


@pytest.mark.parametrize(
    "test", sorted({t for tests in (*areas.EXCLUDED_OF.values(), areas.EXCLUDED, areas.APART) for t in tests})
)
def test_what_is_left_out_is_documented(test: str) -> None:
    *_, owner, name = test.rstrip(".[").split(".")
    assert f"`{name}`" in DOC or f"`{owner}`" in DOC
