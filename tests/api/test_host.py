"""What every service gets from the shared host."""

from __future__ import annotations

from tests.api.conftest import ApiCloud


async def test_an_unknown_path_is_a_404_with_a_request_id(cloud: ApiCloud) -> None:
    answer = await cloud.client.get("/nothing/here")
    assert answer.status_code == 404
    assert answer.headers["x-openstack-request-id"].startswith("req-")
