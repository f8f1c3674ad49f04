"""An in-process cloud with two simulated nodes, and an HTTP client to its one application."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from trilith.api.http.tokens import Token, Tokens, new_audit_id
from trilith.app import Cloud
from trilith.app import cloud as start_cloud
from trilith.config import Settings
from trilith.model.identity import Project, Role, RoleAssignment, User
from trilith.store.tx import Tx, new_id

PASSWORD = "correct horse battery staple"


@dataclass
class ApiCloud:
    """client: httpx on the application. The token helpers make tokens without the identity API."""

    cloud: Cloud
    client: httpx.AsyncClient

    @property
    def store(self) -> Any:
        return self.cloud.store

    async def user(self, name: str, project: str, role: str = "member") -> tuple[str, str]:
        """Make (or find) a user with a role in a project; their ids."""

        def body(tx: Tx) -> tuple[str, str]:
            p = tx.first(Project, name=project) or tx.add(Project(id=new_id().replace("-", ""), name=project))
            u = tx.first(User, name=name) or tx.add(User(id=new_id().replace("-", ""), name=name))
            r = tx.first(Role, name=role)
            assert r is not None
            if tx.first(RoleAssignment, actor_id=u.id, target_id=p.id, role_id=r.id) is None:
                tx.add(
                    RoleAssignment(
                        id=new_id(),
                        actor_kind="user",
                        actor_id=u.id,
                        target_kind="project",
                        target_id=p.id,
                        role_id=r.id,
                    )
                )
            return u.id, p.id

        ids = await self.store.write(body)
        self.cloud.host.tokens.forget()
        return ids  # type: ignore[no-any-return]

    async def token(self, user: str = "admin", project: str = "admin") -> dict[str, str]:
        """Headers with a token of an existing user, scoped to an existing project."""

        def ids(reader: Any) -> tuple[str, str]:
            return reader.first(User, name=user).id, reader.first(Project, name=project).id

        user_id, project_id = await self.store.read(ids)
        now = time.time()
        tokens = self.cloud.host.tokens
        assert isinstance(tokens, Tokens)
        token = Token(
            user_id=user_id,
            methods=("password",),
            issued_at=now,
            expires_at=now + 3600,
            audit_ids=(new_audit_id(),),
            project_id=project_id,
        )
        return {"X-Auth-Token": tokens.issue(token)}

    async def member(self, name: str = "alice", project: str = "alpha", role: str = "member") -> dict[str, str]:
        await self.user(name, project, role)
        return await self.token(name, project)

    async def call(self, method: str, path: str, headers: dict[str, str], **kwargs: Any) -> httpx.Response:
        return await self.client.request(method, path, headers=headers, **kwargs)


@pytest.fixture(scope="session")
def first_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state directory of a cloud after its first start: made once, copied for each test."""
    state = tmp_path_factory.mktemp("first") / "state"

    async def make() -> None:
        async with start_cloud(settings_of(state), admin_password=PASSWORD):
            pass

    asyncio.run(make())
    return state


def settings_of(state: Path) -> Settings:
    return Settings(state=state, simulated=2, public_url="http://testserver")


@asynccontextmanager
async def running_cloud(settings: Settings) -> AsyncIterator[ApiCloud]:
    async with start_cloud(settings, admin_password=PASSWORD) as running:
        transport = httpx.ASGITransport(app=running.api)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            yield ApiCloud(running, client)


@pytest.fixture
async def cloud(tmp_path: Path, first_start: Path) -> AsyncIterator[ApiCloud]:
    state = tmp_path / "state"
    shutil.copytree(first_start, state, ignore=shutil.ignore_patterns("*.sock"))
    async with running_cloud(settings_of(state)) as made:
        yield made
