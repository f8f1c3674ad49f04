"""Every service's OpenAPI document is valid, complete and served."""

from __future__ import annotations

import importlib
import json
import re

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.api.conftest import ApiCloud
from trilith.api.http.openapi import document
from trilith.api.http.route import Service
from trilith.app import api_services
from trilith.store import tables as _tables  # noqa: F401  queries at the top of modules need every table declared

SERVICES = {service.name: service for service in api_services()}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_the_document_is_valid_and_names_every_route(name: str) -> None:
    service: Service = SERVICES[name]
    made = document(service.name, service.prefix, service.routes, service.error_body, service.name)
    plain = json.loads(msgspec.json.encode(made))
    problems = [f"{list(e.absolute_path)}: {e.message}" for e in OpenAPIV31SpecValidator(plain).iter_errors()]
    assert problems == []
    for route in service.routes:
        path = re.sub(r"{([^}:]+)(:[^}]*)?}", r"{\1}", service.prefix + route.path) or "/"
        operation = plain["paths"][path][route.method.lower()]
        assert str(route.ok) in operation["responses"], (route.method, path)
        if route.body is not None:
            assert operation["requestBody"]["content"]["application/json"]["schema"], (route.method, path)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_the_service_serves_it(name: str) -> None:
    assert any(r.path == "/openapi.json" for r in SERVICES[name].routes), (
        f"append document_route(...) to the routes of trilith.api.{name}.routes"
    )


@pytest.mark.parametrize("name", ["image", "placement", "native"])
async def test_it_is_served_without_a_token(cloud: ApiCloud, name: str) -> None:
    service: Service = importlib.import_module(f"trilith.api.{name}.routes").SERVICE
    answer = await cloud.client.get(f"{service.prefix}/openapi.json")
    assert answer.status_code == 200
    assert answer.json()["openapi"] == "3.1.0"
