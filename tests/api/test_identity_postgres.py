"""Identity on PostgreSQL: the same tests of resources, secrets and odd requests, with the other database below."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.conftest import ApiCloud, running_cloud
from tests.api.postgres_cloud import server  # noqa: F401  a fixture
from tests.api.test_identity_resources import (  # noqa: F401  collected here again
    admin,
    member,
    test_a_domain_goes_with_all_that_is_in_it_once_disabled,
    test_a_domains_manager_works_inside_of_it_only,
    test_effective_assignments,
    test_groups,
    test_lists_are_filtered_and_paged,
    test_policies_and_limits,
    test_project_tags,
    test_project_trees,
    test_roles_and_which_imply_which,
    test_users_that_cannot_be,
)
from tests.api.test_identity_secrets import (  # noqa: F401  collected here again
    test_a_trust_lets_another_act,
    test_access_rules_hold_every_request,
    test_credentials_are_sealed,
    test_password_rules,
    test_too_many_wrong_passwords_lock_the_user_out,
)
from tests.api.test_identity_surface import test_odd_requests_get_a_4xx_in_keystones_form  # noqa: F401
from tests.postgres_server import PostgresServer
from trilith.config import Settings

pytestmark = pytest.mark.postgres


@pytest.fixture
async def cloud(tmp_path: Path, server: PostgresServer) -> AsyncIterator[ApiCloud]:  # noqa: F811
    settings = Settings(
        state=tmp_path / "state", simulated=1, public_url="http://testserver", database=server.database()
    )
    async with running_cloud(settings) as made:
        yield made
