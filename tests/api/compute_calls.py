"""What the compute API's tests share: a caller in one microversion, and waiting for a server by its feed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx

from tests.api.conftest import ApiCloud
from trilith.model.image import Image, ImageState
from trilith.model.server import Flavor, Server

PREFIX = "/compute/v2.1"


@dataclass
class Caller:
    """headers: of one user's token."""

    cloud: ApiCloud
    headers: dict[str, str]

    async def ask(self, method: str, path: str, version: str = "2.1", **kwargs: Any) -> httpx.Response:
        headers = {**self.headers, "OpenStack-API-Version": f"compute {version}"}
        return await self.cloud.client.request(method, PREFIX + path, headers=headers, **kwargs)

    async def get(self, path: str, version: str = "2.1") -> Any:
        answer = await self.ask("GET", path, version)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def act(self, server_id: str, action: str, value: Any = None, version: str = "2.1") -> httpx.Response:
        return await self.ask("POST", f"/servers/{server_id}/action", version, json={action: value})

    async def boot(self, name: str = "one", version: str = "2.1", **fields: Any) -> dict[str, Any]:
        body = {"name": name, "flavorRef": await self.flavor(), "imageRef": await self.image(), **fields}
        answer = await self.ask("POST", "/servers", version, json={"server": body})
        assert answer.status_code == 202, answer.text
        made: dict[str, Any] = answer.json()["server"]
        await self.settle(made["id"])
        return made

    async def flavor(self, index: int = 0) -> str:
        flavors: list[Flavor] = await self.cloud.store.read(lambda r: r.select(Flavor))
        return flavors[index].id

    async def image(self) -> str:
        images: list[Image] = await self.cloud.store.read(lambda r: r.select(Image, state=ImageState.ACTIVE))
        return images[0].id

    async def settle(self, server_id: str) -> Server | None:
        """The server when no task runs on it (None when it is gone). Woken by the change feed."""
        async with asyncio.timeout(20):
            while True:
                cursor = await self.cloud.store.head()
                server: Server | None = await self.cloud.store.read(lambda r: r.find(Server, server_id))
                if server is None or not server.task:
                    return server
                await self.cloud.store.wait(cursor, timeout=5)

    async def network(self, name: str, cidr: str) -> str:
        made = await self.cloud.client.post(
            "/network/v2.0/networks", headers=self.headers, json={"network": {"name": name}}
        )
        assert made.status_code == 201, made.text
        network_id: str = made.json()["network"]["id"]
        subnet = {"network_id": network_id, "cidr": cidr, "ip_version": 4}
        answer = await self.cloud.client.post("/network/v2.0/subnets", headers=self.headers, json={"subnet": subnet})
        assert answer.status_code == 201, answer.text
        return network_id


async def admin(cloud: ApiCloud) -> Caller:
    return Caller(cloud, await cloud.token())


async def member(cloud: ApiCloud, name: str = "alice", project: str = "alpha", role: str = "member") -> Caller:
    return Caller(cloud, await cloud.member(name, project, role))
