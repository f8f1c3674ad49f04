"""Images on PostgreSQL: tests of lists, metadata definitions, tasks and stores, with the other database below."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.conftest import PASSWORD, ApiCloud
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
from trilith.app import cloud as start_cloud
from trilith.config import Settings

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    running = PostgresServer()
    running.start()
    try:
        yield running
    finally:
        running.stop()


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
    async with start_cloud(settings, admin_password=PASSWORD) as running:
        transport = httpx.ASGITransport(app=running.api)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            yield ApiCloud(running, client)


@pytest.fixture
def stored(cloud: ApiCloud) -> ApiCloud:
    return cloud
