"""Every operation of every service's OpenAPI document, called with what fits its schema and with what does not: the
answer is never a 5xx, and never a status that the document does not name. (501 is Nova's word for what a node cannot
do, 503 comes with a reason: any operation may answer them.)

Path parameters name what exists half of the time, so that handlers are reached and not only "404". Examples are
derived from each operation's own name: the same on every run and on every machine.
"""

from __future__ import annotations

import json
import re
import socket
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import msgspec
import pytest
import requests
import schemathesis
from demo.process import Up
from hypothesis import HealthCheck, Phase, settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from tests.api.conftest import PASSWORD
from trilith.api.http.openapi import document
from trilith.app import api_services
from trilith.store import tables as _tables  # noqa: F401  queries at the top of modules need every table declared

SERVICES = {service.name: service for service in api_services()}

#: examples of each operation and mode: with a body, and with parameters only; what has neither is called once
_EXAMPLES = 6
_EXAMPLES_WITHOUT_BODY = 3
#: operations that are not called: the stream of events does not end
_ENDLESS = {("GET", "/trilith/v1/events")}
_ALLOWED = {501, 503}

_ORDER = ("post", "put", "patch", "get", "head", "delete")


@dataclass
class Target:
    """A cloud that listens. pools: segment of a path → ids of things that exist. statuses: how often each came."""

    url: str
    session: requests.Session
    pools: dict[str, list[str]] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)

    def make(self, path: str, body: dict[str, Any], segment: str = "", key: str = "id") -> str:
        """POST, and keep the id of what it made under the segment of its path."""
        answer = self.session.post(f"{self.url}{path}", json=body, timeout=30)
        assert answer.status_code < 300, (path, answer.text)
        shown = answer.json()
        shown = next(iter(shown.values())) if len(shown) == 1 and key not in shown else shown
        self.pools.setdefault(segment or path.rpartition("/")[2], []).append(str(shown[key]))
        return str(shown[key])


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    up = Up(
        tmp_path_factory.mktemp("fuzz") / "state",
        listen=listen,
        env={"TRILITH_ADMIN_PASSWORD": PASSWORD},
        args=("--simulated", "1"),
    )
    try:
        up.start()
        with requests.Session() as session:
            session.headers["X-Auth-Token"] = _token(f"http://{listen}")
            yield _furnish(Target(f"http://{listen}", session))
    finally:
        up.stop()


def _token(url: str) -> str:
    user: dict[str, Any] = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
    scope: dict[str, Any] = {"project": {"name": "admin", "domain": {"id": "default"}}}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}
    answer = requests.post(f"{url}/identity/v3/auth/tokens", json={"auth": auth}, timeout=30)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["X-Subject-Token"])


def _furnish(target: Target) -> Target:
    """Two of each kind, none of which the cloud itself needs."""
    images = target.session.get(f"{target.url}/image/v2/images", timeout=30).json()["images"]
    flavors = target.session.get(f"{target.url}/compute/v2.1/flavors", timeout=30).json()["flavors"]
    for name in ("one", "two"):
        target.make("/identity/v3/projects", {"project": {"name": name}})
        target.make("/identity/v3/users", {"user": {"name": name, "password": f"{name}-Secret-1"}})
        target.make("/identity/v3/roles", {"role": {"name": name}})
        target.make("/identity/v3/groups", {"group": {"name": name}})
        target.make("/identity/v3/domains", {"domain": {"name": name}})
        target.make("/identity/v3/services", {"service": {"name": name, "type": name}})
        target.make("/image/v2/images", {"name": name, "disk_format": "raw", "container_format": "bare"})
        colour = {"title": "Colour", "type": "string"}
        parts = {"objects": [{"name": name}], "tags": [{"name": name}], "properties": {name: colour}}
        target.make("/image/v2/metadefs/namespaces", {"namespace": name} | parts, key="namespace")
        flavor = {"name": name, "vcpus": 1, "ram": 64, "disk": 1}
        target.make("/compute/v2.1/flavors", {"flavor": flavor})
        target.make("/compute/v2.1/os-keypairs", {"keypair": {"name": name}}, key="name")
        target.make("/compute/v2.1/os-aggregates", {"aggregate": {"name": name}})
        net = target.make("/network/v2.0/networks", {"network": {"name": name}})
        cidr = {"one": "10.1.0.0/24", "two": "10.2.0.0/24"}[name]
        target.make("/network/v2.0/subnets", {"subnet": {"network_id": net, "cidr": cidr, "ip_version": 4}})
        target.make("/network/v2.0/ports", {"port": {"network_id": net}})
        target.make("/network/v2.0/routers", {"router": {"name": name}})
        target.make("/network/v2.0/security-groups", {"security_group": {"name": name}})
        server: dict[str, Any] = {"name": name, "imageRef": images[0]["id"], "flavorRef": flavors[0]["id"]}
        server["networks"] = [{"uuid": net}]
        target.make("/compute/v2.1/servers", {"server": server})
    providers = target.session.get(f"{target.url}/placement/resource_providers", timeout=30).json()
    target.pools["resource_providers"] = [p["uuid"] for p in providers["resource_providers"]]
    target.pools["os-hypervisors"] = target.pools["resource_providers"]
    target.pools["allocations"] = target.pools["servers"]
    target.pools["os-quota-sets"] = target.pools["projects"]
    target.pools["quotas"] = target.pools["projects"]
    target.pools["inventories"] = ["VCPU", "MEMORY_MB"]
    return target


def _real(path: str, given: dict[str, Any], pools: dict[str, list[str]], turn: int) -> dict[str, Any]:
    """The path's parameters, with what exists in the place of each where something does."""
    made = dict(given)
    for segment, name in re.findall(r"([^/]+)/{([^}]+)}", path):
        pool = pools.get(segment)
        if pool:
            made[name] = pool[turn % len(pool)]
    return made


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_nothing_that_is_sent_makes_a_server_error_or_an_unknown_status(target: Target, name: str) -> None:
    service = SERVICES[name]
    made = document(service.name, service.prefix, service.routes, service.error_body, service.name)
    schema = schemathesis.openapi.from_dict(json.loads(msgspec.json.encode(made)))
    operations: list[Any] = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) == sum(len(path) for path in made["paths"].values()), "the document has what can't be read"
    operations.sort(key=lambda o: (_ORDER.index(o.method.lower()), o.path))
    failures: list[str] = []
    target.statuses.clear()
    for operation in operations:
        if (operation.method.upper(), operation.path) in _ENDLESS:
            continue
        for mode in GenerationMode:
            failures += _fuzz(target, operation, mode, name)
    assert failures == [], f"{len(failures)}:\n" + "\n".join(failures)
    served = sum(n for status, n in target.statuses.items() if status < 300)
    assert served > 0.05 * target.statuses.total(), f"hardly anything was reached: {target.statuses}"
    print(name, len(operations), "operations", dict(sorted(target.statuses.items())))


def _known(operation: Any, status: int, text: str) -> bool:
    """Whether the document names the status; 501 and 503 are for any operation, with a reason."""
    if status in _ALLOWED and text:
        return True
    if status >= 500:
        return False
    return str(status) in operation.definition.raw["responses"]


def _fuzz(target: Target, operation: Any, mode: GenerationMode, service: str) -> list[str]:
    """What went wrong with one operation, at most one line."""
    bare = not (operation.body or operation.query or operation.path_parameters)
    count = 1 if bare else _EXAMPLES if operation.body else _EXAMPLES_WITHOUT_BODY
    seed = zlib.crc32(f"{service} {operation.method} {operation.path} {mode}".encode())
    turn = 0
    found: list[str] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        nonlocal turn
        turn += 1
        if turn % 2:
            case.path_parameters = _real(operation.path, case.path_parameters or {}, target.pools, turn // 2)
        headers = {"X-Auth-Token": target.session.headers["X-Auth-Token"]}
        if turn % 3:
            headers |= {"X-OpenStack-Nova-API-Version": "latest", "OpenStack-API-Version": "placement latest"}
        case.headers = headers
        try:
            answer = case.call(base_url=target.url, session=target.session, timeout=90)
        except (requests.ConnectionError, requests.Timeout) as err:
            where = repr(err.request.url if err.request else case.path)
            found.append(f"{case.method} {where}: no answer: {err}")
            return
        target.statuses[answer.status_code] += 1
        if not found and not _known(operation, answer.status_code, answer.text):
            sent = repr(answer.request.body)[:600]
            where = repr(answer.request.url)
            found.append(f"{case.method} {where} {sent}: {answer.status_code} {answer.text[:300]}")

    try:
        run()
    except hypothesis.errors.Unsatisfiable:
        # an operation that takes anything has no wrong form
        assert mode is GenerationMode.NEGATIVE, f"{operation.label}: nothing fits its schema"
    return found
