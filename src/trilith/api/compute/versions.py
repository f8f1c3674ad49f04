"""Version discovery: GET of the service's root and of a version, without a token."""

from __future__ import annotations

from typing import Any

from trilith.api.compute.microversions import MICROVERSIONS
from trilith.api.http.call import Call


def _versions(root: str) -> list[dict[str, Any]]:
    """v2.0 first: clients and Tempest read the list in this order."""
    return [
        {
            "id": "v2.0",
            "status": "SUPPORTED",
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
    version = _versions(_root(call))[1]
    version["links"].append({"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"})
    version["media-types"] = [
        {"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}
    ]
    return {"version": version}


def _root(call: Call) -> str:
    return call.url("")
