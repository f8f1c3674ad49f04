"""Version discovery: GET of the service's root and of a version, without a token."""

from __future__ import annotations

from typing import Any

from trilith.api.compute.microversions import MICROVERSIONS
from trilith.api.http.call import Call

#: path of the version before microversions
LEGACY = "/v2"


def _versions(root: str) -> list[dict[str, Any]]:
    """v2.0 first: clients and Tempest read the list in this order."""
    return [
        {
            "id": "v2.0",
            "status": "DEPRECATED",
            "version": "",
            "min_version": "",
            "updated": "2011-01-21T11:33:21Z",
            "links": [{"rel": "self", "href": f"{root}/v2/"}],
        },
        {
            "id": "v2.1",
            "status": "CURRENT",
            "version": str(MICROVERSIONS.maximum),
            "min_version": str(MICROVERSIONS.minimum),
            "updated": "2013-07-23T11:33:21Z",
            "links": [{"rel": "self", "href": f"{root}/v2.1/"}],
        },
    ]


async def index(call: Call) -> dict[str, Any]:
    """200, the versions."""
    return {"versions": _versions(_root(call))}


async def show(call: Call) -> dict[str, Any]:
    """200, v2.1 with its media types."""
    return _document(call, 1, "2.1")


async def show_legacy(call: Call) -> dict[str, Any]:
    """200: the document of v2.0, which the list links to. Nothing else is under it: its clients know v2.1."""
    return _document(call, 0, "2")


def _document(call: Call, index: int, number: str) -> dict[str, Any]:
    version = _versions(_root(call))[index]
    version["links"].append({"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"})
    version["media-types"] = [
        {"base": "application/json", "type": f"application/vnd.openstack.compute+json;version={number}"}
    ]
    return {"version": version}


def _root(call: Call) -> str:
    return call.url("")
