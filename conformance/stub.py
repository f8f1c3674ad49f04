"""The zero line: what Tempest passes against a service that gives out tokens and answers 404 to all else.

A test that this passes says little about a cloud; the table has its count beside ours.
"""

from __future__ import annotations

import http.server
import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SERVICES = {"identity": "/identity", "compute": "/compute/v2.1", "image": "/image", "network": "/network",
             "placement": "/placement"}  # fmt: skip
_ROLES = ("admin", "manager", "member", "reader")
_DOMAIN = {"id": "default", "name": "Default", "enabled": True}


class _Stub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0].rstrip("/")
        if self.command == "POST" and path == "/identity/v3/auth/tokens":
            self._send(201, {"token": self._token(json.loads(sent))}, {"X-Subject-Token": "none"})
        elif (answer := self._credentials(path, sent)) is not None:
            self._send(*answer)
        else:
            self._send(404, {"itemNotFound": {"code": 404, "message": "Nothing is here."}})

    def _credentials(self, path: str, sent: bytes) -> tuple[int, Any] | None:
        """What Tempest does before a class: a project, users in it, their roles; and takes away after it."""
        if self.command == "POST" and path in ("/identity/v3/projects", "/identity/v3/users"):
            noun = path.rpartition("/")[2].rstrip("s")
            made = json.loads(sent).get(noun, {})
            return 201, {noun: {"name": "", "domain_id": "default", **made, "id": f"p-{uuid.uuid4().hex}"}}
        if self.command == "GET" and re.fullmatch("/identity/v3/projects/p-[0-9a-f]+", path):
            return 200, {"project": {"id": path.rpartition("/")[2], "name": "project", "domain_id": "default"}}
        if self.command == "GET" and path == "/identity/v3/domains":
            return 200, {"domains": [_DOMAIN]}
        if self.command == "GET" and path == "/identity/v3/roles":
            return 200, {"roles": [{"id": role, "name": role} for role in _ROLES]}
        if self.command == "PUT" and re.search("/users/.*/roles/", path):
            return 204, None
        return None

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer

    def _token(self, asked: dict[str, Any]) -> dict[str, Any]:
        identity = asked.get("auth", {}).get("identity", {})
        asking = identity.get("password", {}).get("user", {})
        user = asking.get("name") or asking.get("id", "admin")
        role = "admin" if "admin" in user else "member"
        domain = {"id": "default", "name": "Default"}
        host = self.headers["Host"]
        catalog = [
            {"id": kind, "type": kind, "name": kind, "endpoints": [
                {"id": f"{kind}-{face}", "interface": face, "region": "RegionOne", "region_id": "RegionOne",
                 "url": f"http://{host}{path}"} for face in ("public", "internal", "admin")]}
            for kind, path in _SERVICES.items()
        ]  # fmt: skip
        return {
            "methods": ["password"], "user": {"id": user, "name": user, "domain": domain},
            "project": {"id": "p-0", "name": f"project-{user}", "domain": domain},
            "roles": [{"id": role, "name": role}], "catalog": catalog,
            "issued_at": "2020-01-01T00:00:00.000000Z", "expires_at": "2099-01-01T00:00:00.000000Z",
        }  # fmt: skip

    def _send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        text = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        own = {"Content-Type": "application/json", "Content-Length": str(len(text))}
        ids = {"X-Openstack-Request-Id": "req-none", "X-Compute-Request-Id": "req-none"}
        for name, value in {**own, **ids, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)


@contextmanager
def stub() -> Iterator[str]:
    """Its root URL."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Stub) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
