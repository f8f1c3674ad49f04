"""Images on PostgreSQL: tests of lists, metadata definitions, tasks and stores, with the other database below."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.conftest import ApiCloud, running_cloud
from tests.api.postgres_cloud import server  # noqa: F401  a fixture
from tests.api.test_image_metadefs import (  # noqa: F401  collected here again
    test_a_namespace_with_all_its_parts,
    test_pages_follow_each_other,
    test_the_standard_catalogue_is_there_and_filtered_by_resource_type,
)
from tests.api.test_image_stores import (  # noqa: F401  collected here again
    Web,
    test_an_import_into_all_stores_and_out_of_them_again,
    test_tasks,
    test_the_cache,
    web,
)
from tests.postgres_server import PostgresServer
from trilith.config import Settings

pytestmark = pytest.mark.postgres


@pytest.fixture
async def cloud(tmp_path: Path, server: PostgresServer, web: Web) -> AsyncIterator[ApiCloud]:  # noqa: F811
    settings = Settings(
        state=tmp_path / "state",
        simulated=1,
        public_url="http://testserver",
        database=server.database(),
        image_stores=(f"cold:-5={tmp_path / 'cold'}", f"fast:10={tmp_path / 'fast'}", "web=http"),
        image_import_allow=(web.place,),
        image_locations=True,
    )
    async with running_cloud(settings) as made:
        yield made


@pytest.fixture
def stored(cloud: ApiCloud) -> ApiCloud:
    return cloud
