"""Images for the journeys, built once a run and kept beside the demo's."""

from __future__ import annotations

import pytest
from demo import pictures

from trilith.images import BuiltImage


@pytest.fixture(scope="session")
def tiny_image() -> BuiltImage:
    return pictures.built("tiny")[0]
