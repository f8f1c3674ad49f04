"""The compute API on PostgreSQL: filters, pages and quotas, with the other database below."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.conftest import ApiCloud, running_cloud
from tests.api.postgres_cloud import server  # noqa: F401  a fixture
from tests.api.test_compute_nodes import (  # noqa: F401  collected here again
    test_an_aggregate_gives_its_hosts_a_zone,
    test_hypervisors_count_what_placement_counts,
    test_usage_and_external_events,
)
from tests.api.test_compute_resources import (  # noqa: F401  collected here again
    test_a_private_flavor_is_seen_by_whom_it_is_given_to,
    test_flavors_are_filtered_and_paged,
    test_key_pairs_are_a_users_own,
    test_quotas_by_microversion,
    test_server_groups_in_both_forms,
)
from tests.api.test_compute_servers import (  # noqa: F401  collected here again
    test_a_quota_ends_the_creating,
    test_a_server_lives_from_create_to_delete,
    test_filters_sorting_and_pages,
    test_metadata_and_tags,
    test_resize_rebuild_and_image,
)
from tests.postgres_server import PostgresServer
from trilith.config import Settings

pytestmark = pytest.mark.postgres


@pytest.fixture
async def cloud(tmp_path: Path, server: PostgresServer) -> AsyncIterator[ApiCloud]:  # noqa: F811
    settings = Settings(
        state=tmp_path / "state", simulated=2, public_url="http://testserver", database=server.database()
    )
    async with running_cloud(settings) as made:
        yield made
