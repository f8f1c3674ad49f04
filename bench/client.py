"""The API by plain HTTP: as little of the figure as possible is the client's own."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


class Api:
    """One kept connection, one thread's."""

    def __init__(self, facts: Mapping[str, Any], token: str = "") -> None:
        self.facts = facts
        self._url = urlsplit(facts["url"])
        self._conn: http.client.HTTPConnection | None = None
        self.token = token or self.log_in()

    def again(self) -> Api:
        """Another connection with the same token, for another thread."""
        return Api(self.facts, self.token)

    def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None,
                raw: bytes | None = None) -> tuple[int, Mapping[str, str], bytes]:  # fmt: skip
        if self._conn is None:
            self._conn = http.client.HTTPConnection(self._url.hostname or "", self._url.port, timeout=120)
            self._conn.connect()
            self._conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if getattr(self, "token", ""):
            sent["X-Auth-Token"] = self.token
        self._conn.request(method, path, data, sent | dict(headers or {}))
        answer = self._conn.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None,
             raw: bytes | None = None) -> Any:  # fmt: skip
        """The body. Raises RuntimeError with the API's own words."""
        status, _headers, data = self.request(method, path, body, headers, raw)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {data[:600].decode(errors='replace')}")
        return json.loads(data) if data.strip() else None

    def log_in(self) -> str:
        status, headers, data = self.request("POST", "/identity/v3/auth/tokens", self.credentials())
        if status != 201:
            raise RuntimeError(f"log-in: {status} {data[:300]!r}")
        return headers["x-subject-token"]

    def credentials(self) -> dict[str, Any]:
        user = {"name": self.facts["user"], "password": self.facts["password"], "domain": {"id": "default"}}
        scope = {"project": {"name": self.facts["project"], "domain": {"id": "default"}}}
        return {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}

    def rescope(self) -> dict[str, Any]:
        """The request for a token from a token: no password is checked."""
        scope = {"project": {"name": self.facts["project"], "domain": {"id": "default"}}}
        return {"auth": {"identity": {"methods": ["token"], "token": {"id": self.token}}, "scope": scope}}

    # ---- what the measurements need of the services

    def image(self, name: str) -> dict[str, Any] | None:
        found = self.call("GET", f"/image/v2/images?name={name}")["images"]
        return found[0] if found else None

    def upload(self, name: str, disk_format: str, data: bytes, **properties: str) -> dict[str, Any]:
        body = {"name": name, "disk_format": disk_format, "container_format": "bare", "visibility": "public"}
        made: dict[str, Any] = self.call("POST", "/image/v2/images", body | properties)
        self.call("PUT", f"/image/v2/images/{made['id']}/file", raw=data,
                  headers={"Content-Type": "application/octet-stream"})  # fmt: skip
        return made

    def flavor(self, name: str, *, ram: int, disk: int, pillar: str = "", vcpus: int = 1) -> str:
        for known in self.call("GET", "/compute/v2.1/flavors")["flavors"]:
            if known["name"] == name:
                return str(known["id"])
        size = {"name": name, "ram": ram, "disk": disk, "vcpus": vcpus}
        made = self.call("POST", "/compute/v2.1/flavors", {"flavor": size})["flavor"]
        if pillar:
            path = f"/compute/v2.1/flavors/{made['id']}/os-extra_specs"
            self.call("POST", path, {"extra_specs": {"trilith:pillar": pillar}})
        return str(made["id"])

    def network(self, name: str, cidr: str) -> str:
        for known in self.call("GET", f"/network/v2.0/networks?name={name}")["networks"]:
            return str(known["id"])
        made = self.call("POST", "/network/v2.0/networks", {"network": {"name": name}})["network"]
        subnet = {"network_id": made["id"], "cidr": cidr, "ip_version": 4, "name": name}
        self.call("POST", "/network/v2.0/subnets", {"subnet": subnet})
        return str(made["id"])

    def unlimited(self) -> None:
        """Quotas of the own project away: 1,000 servers are no abuse here."""
        project = self.call("GET", "/identity/v3/auth/tokens", headers={"X-Subject-Token": self.token})["token"][
            "project"
        ]
        names = ("instances", "cores", "ram")
        self.call("PUT", f"/compute/v2.1/os-quota-sets/{project['id']}", {"quota_set": dict.fromkeys(names, -1)})
        quota = dict.fromkeys(("port", "network", "subnet"), -1)
        self.call("PUT", f"/network/v2.0/quotas/{project['id']}", {"quota": quota})

    def create(self, name: str, image: str, flavor: str, network: str = "") -> str:
        body = {"name": name, "imageRef": image, "flavorRef": flavor}
        nics: Any = [{"uuid": network}] if network else "none"
        made = self.call(
            "POST", "/compute/v2.1/servers", {"server": body | {"networks": nics}},
            headers={"OpenStack-API-Version": "compute 2.93"},
        )  # fmt: skip
        return str(made["server"]["id"])

    def server(self, server_id: str) -> dict[str, Any] | None:
        status, _headers, data = self.request("GET", f"/compute/v2.1/servers/{server_id}")
        if status == 404:
            return None
        if status != 200:
            raise RuntimeError(f"server {server_id}: {status} {data[:300]!r}")
        found: dict[str, Any] = json.loads(data)["server"]
        return found

    def delete(self, server_id: str) -> None:
        self.call("DELETE", f"/compute/v2.1/servers/{server_id}")


class Events:
    """The event stream in a thread of its own: wakes whoever waits for a noun's id to change."""

    def __init__(self, api: Api, nouns: str = "server") -> None:
        url = urlsplit(api.facts["url"])
        self._conn = http.client.HTTPConnection(url.hostname or "", url.port, timeout=120)
        self._conn.request("GET", f"/trilith/v1/events?noun={nouns}", headers={"X-Auth-Token": api.token})
        answer = self._conn.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"events: {answer.status} {answer.read(300)!r}")
        self._answer = answer
        self._news = threading.Condition()
        self._seen: dict[str, int] = {}
        self._thread = threading.Thread(target=self._follow, daemon=True)
        answer.readline()  # the stream is there: nothing from now on is missed
        self._thread.start()

    def _follow(self) -> None:
        try:
            while line := self._answer.readline():
                if line.startswith(b"data: {"):
                    event = json.loads(line[6:])
                    with self._news:
                        self._seen[event["id"]] = self._seen.get(event["id"], 0) + 1
                        self._news.notify_all()
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            return  # closed

    def count(self, id: str) -> int:
        with self._news:
            return self._seen.get(id, 0)

    def wait(self, id: str, after: int, timeout: float) -> int:
        """The number of events of this id, as soon as it is more than `after`."""
        with self._news:
            self._news.wait_for(lambda: self._seen.get(id, 0) > after, timeout)
            return self._seen.get(id, 0)

    def close(self) -> None:
        if self._conn.sock is not None:
            self._conn.sock.shutdown(socket.SHUT_RDWR)
        self._conn.close()
        self._thread.join(5)


def settled(api: Api, events: Events, server_id: str, *, timeout: float = 120.0) -> str:
    """Wait until the server is ACTIVE, in ERROR or gone; its status. The events say when to look."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        seen = events.count(server_id)
        found = api.server(server_id)
        if found is None:
            return "gone"
        if found["status"] in ("ACTIVE", "ERROR") and not found["OS-EXT-STS:task_state"]:
            if found["status"] == "ERROR":
                raise RuntimeError(f"server {server_id}: {found.get('fault')}")
            return "ACTIVE"
        events.wait(server_id, seen, 5.0)
    raise RuntimeError(f"server {server_id} did not settle in {timeout} s")


def gone(api: Api, events: Events, server_id: str, *, timeout: float = 120.0) -> None:
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        seen = events.count(server_id)
        if api.server(server_id) is None:
            return
        events.wait(server_id, seen, 5.0)
    raise RuntimeError(f"server {server_id} is still there after {timeout} s")
