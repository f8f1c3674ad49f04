"""The ways to log in that clients have (keystoneauth's plugins), against a cloud that listens."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from keystoneauth1 import exceptions
from keystoneauth1.extras.oauth1.v3 import OAuth1
from keystoneauth1.identity import v3
from keystoneauth1.session import Session
from keystoneclient.v3.client import Client as Keystone

from tests.api.conftest import PASSWORD
from tests.api.test_identity_client import listening
from tests.api.test_identity_federation import AUDIENCE, RULES, Provider
from trilith.commands.identity_totp import STEP, passcode_at

SECRET = os.urandom(20)


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


@pytest.fixture
async def url(tmp_path: Any, provider: Provider) -> AsyncIterator[str]:
    async with listening(tmp_path, TRILITH_OIDC_ISSUERS=f"{provider.url}|{AUDIENCE}") as found:
        yield found


def session(plugin: Any) -> Session:
    return Session(auth=plugin)


def administrator(url: str) -> Keystone:
    plugin = v3.Password(
        auth_url=url,
        username="admin",
        password=PASSWORD,
        project_name="admin",
        user_domain_id="default",
        project_domain_id="default",
    )
    return Keystone(session=session(plugin), endpoint_override=url)


def own(url: str, plugin: Any) -> str:
    """Whom the plugin logs in, and that the token works."""
    made = session(plugin)
    assert made.get(f"{url}/auth/projects").status_code == 200
    return str(plugin.get_user_id(made))


async def test_each_plugin_logs_in(url: str, provider: Provider) -> None:
    await asyncio.to_thread(_second_factor, url)
    await asyncio.to_thread(_delegations, url)
    await asyncio.to_thread(_federation, url, provider)


def _second_factor(url: str) -> None:
    admin = administrator(url)
    user = admin.users.create(
        "careful",
        password="pw",
        options={"multi_factor_auth_enabled": True, "multi_factor_auth_rules": [["password", "totp"]]},
    )
    admin.credentials.create(user=user, type="totp", blob=base64.b32encode(SECRET).decode())
    password = v3.Password(auth_url=url, user_id=user.id, password="pw", unscoped=True)
    with pytest.raises(exceptions.auth.MissingAuthMethods) as missing:
        session(password).get_token()
    assert missing.value.required_auth_methods == [["password", "totp"]]
    step = int(time.time() // STEP)
    follow = v3.TOTP(auth_url=url, user_id=user.id, passcode=passcode_at(SECRET, step - 1), unscoped=True)
    follow.add_method(v3.ReceiptMethod(receipt=missing.value.receipt))
    assert own(url, follow) == user.id
    both = v3.MultiFactor(
        auth_url=url,
        auth_methods=["v3password", "v3totp"],
        user_id=user.id,
        password="pw",
        passcode=passcode_at(SECRET, step),
        unscoped=True,
    )
    assert own(url, both) == user.id


def _delegations(url: str) -> None:
    admin = administrator(url)
    user_id = admin.session.get_user_id()
    project_id = admin.session.get_project_id()
    reader = next(r for r in admin.roles.list() if r.name == "reader")
    consumer = admin.oauth1.consumers.create(description="a program")
    key, secret = _pair(admin.oauth1.request_tokens.create(consumer.id, consumer.secret, project_id))
    verifier = admin.oauth1.request_tokens.authorize(key, [reader.id]).oauth_verifier
    key, secret = _pair(admin.oauth1.access_tokens.create(consumer.id, consumer.secret, key, secret, verifier))
    program = OAuth1(
        auth_url=url,
        consumer_key=consumer.id,
        consumer_secret=consumer.secret,
        access_key=key,
        access_secret=secret,
    )
    assert own(url, program) == user_id
    assert program.get_access(session(program)).role_names == ["reader"]
    given = admin.application_credentials.create("ac", user=user_id)
    plugin = v3.ApplicationCredential(
        auth_url=url, application_credential_id=given.id, application_credential_secret=given.secret
    )
    assert own(url, plugin) == user_id


def _pair(token: Any) -> tuple[str, str]:
    return token.key, token.secret


def _federation(url: str, provider: Provider) -> None:
    admin = administrator(url)
    group = admin.groups.create("staff", domain="default")
    project = admin.projects.create("shared", domain="default")
    member = next(r for r in admin.roles.list() if r.name == "member")
    admin.roles.grant(member, group=group, project=project)
    admin.federation.identity_providers.create("corp", remote_ids=[provider.url], enabled=True)
    admin.federation.mappings.create("corp", rules=RULES)
    admin.federation.protocols.create("openid", "corp", "corp")
    provider.groups = ["staff"]
    scope = {"project_id": project.id}
    by_token = v3.OidcAccessToken(
        auth_url=url,
        identity_provider="corp",
        protocol="openid",
        access_token=provider.token(groups=["staff"]),
        **scope,
    )
    user_id = own(url, by_token)
    by_password = v3.OidcPassword(
        auth_url=url,
        identity_provider="corp",
        protocol="openid",
        client_id=AUDIENCE,
        client_secret="secret",
        discovery_endpoint=f"{provider.url}/.well-known/openid-configuration",
        username="eve",
        password="at the provider",
        **scope,
    )
    assert own(url, by_password) == user_id
    assert sorted(by_password.get_access(session(by_password)).role_names) == ["member", "reader"]
    shown = admin.users.get(user_id)
    assert shown.federated[0]["idp_id"] == "corp"
