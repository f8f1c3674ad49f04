"""The client of /trilith/v1: what has no OpenStack name. The session is the sdk's, with its token."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from trilith import errors

#: seconds between two looks where there is no stream of events
_LOOK = 0.5
#: seconds without a word on the stream before it is opened again
_SILENCE = 60.0
FINAL = ("done", "failed", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """cut: which of the two had more than the cloud gives."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    cut: tuple[str, ...] = ()


class Native:
    """base: URL without a slash at its end. Raises errors of ours; `absent` is None for what a server lacks."""

    def __init__(self, session: Any, base: str) -> None:
        self._session = session
        self.base = base
        self.url = f"{base}/trilith/v1"

    # ---- reading

    def servers(self, *, all_projects: bool = False) -> dict[str, dict[str, Any]]:
        """By id; empty where the cloud does not tell."""
        params = {"all_projects": "1"} if all_projects else {}
        servers: dict[str, dict[str, Any]] = {}
        while True:
            found = self._optional("GET", "/servers", params=params) or {}
            servers |= {str(s.get("id")): s for s in found.get("servers", [])}
            if not found.get("next"):
                return servers
            params["marker"] = str(found["next"])

    def server(self, server_id: str) -> dict[str, Any]:
        return self._optional("GET", f"/servers/{quote(server_id)}") or {}

    def nodes(self) -> list[dict[str, Any]]:
        return list((self._optional("GET", "/nodes") or {}).get("nodes", []))

    def jobs(self, **wanted: str) -> list[dict[str, Any]]:
        """Newest first. wanted: resource_id, state, limit."""
        params = {k: v for k, v in wanted.items() if v}
        return list(self._call("GET", "/jobs", params=params).get("jobs", []))

    def job(self, job_id: str) -> dict[str, Any]:
        """With its steps."""
        found = self._call("GET", f"/jobs/{quote(job_id)}")
        inner = found.get("job", found)
        if "steps" in found and "steps" not in inner:
            inner = {**inner, "steps": found["steps"]}
        return dict(inner)

    def jobs_of(self, resource_id: str) -> list[dict[str, Any]]:
        """Newest first; none where the cloud has no list of jobs."""
        found = self._optional("GET", "/jobs", params={"resource_id": resource_id}) or {}
        return [j for j in found.get("jobs", []) if j.get("resource_id") == resource_id]

    def figures(self, node: str = "") -> list[dict[str, Any]]:
        """What pillars cost, as it was measured: of one node, or all."""
        return list(self._call("GET", "/figures", params={"node": node} if node else {}).get("figures", []))

    # ---- asking

    def advise(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._call("POST", "/advice", json=request)

    def explain(self, request: dict[str, Any]) -> dict[str, Any]:
        """Raises what the request for the server would."""
        return self._call("POST", "/explain", json=request)

    # ---- doing

    def keep_figures(self, node: str, pillar: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._call("PUT", f"/figures/{quote(node, safe='')}/{quote(pillar)}", json=body)

    def forget_figures(self, node: str) -> None:
        self._call("DELETE", f"/figures/{quote(node, safe='')}")

    def cancel(self, job_id: str) -> None:
        self._call("POST", f"/jobs/{quote(job_id)}/cancel")

    def execute(self, server_id: str, argv: list[str], *, timeout: float) -> Executed:
        said = self._call(
            "POST", f"/servers/{quote(server_id)}/exec", json={"argv": argv, "timeout": timeout}, timeout=timeout + 30
        )
        return Executed(
            exit_code=int(said["exit_code"]),
            stdout=base64.b64decode(said.get("stdout", "")),
            stderr=base64.b64decode(said.get("stderr", "")),
            cut=tuple(said.get("cut") or ()),
        )

    # ---- following

    def follow(self, job_id: str, *, timeout: float) -> Iterator[dict[str, Any]]:
        """The job at each change, by server-sent events, until it is final. Raises Deadline after `timeout` seconds."""
        until = time.monotonic() + timeout
        seen = ""
        for _ in self._ticks(job_id, until):
            job = self.job(job_id)
            state = json.dumps(job, sort_keys=True, default=str)
            if state != seen:
                seen = state
                yield job
            if job.get("state") in FINAL:
                return
        raise errors.Deadline(
            f"Job {job_id} is not done after {timeout:.0f} s.", hint=f"It goes on: trilith jobs show {job_id} --follow"
        )

    def _ticks(self, job_id: str, until: float) -> Iterator[None]:
        """Whenever the job may have changed, and at the start."""
        while time.monotonic() < until:
            response = self._stream(until, noun="job")
            yield None  # after the stream is open, so that no change falls between
            if response is None:
                time.sleep(_LOOK)
                continue
            with response:
                for said in _lines(response, until):
                    if job_id in said:
                        yield None

    def events(self, *, last: str = "") -> Iterator[dict[str, Any]]:
        """Each event of the feed from now on (or after `last`), as it comes: id, event, data."""
        while True:
            response = self._stream(time.monotonic() + 1e9, last=last)
            if response is None:
                raise errors.Unsupported("This cloud has no stream of events.", capability="events")
            with response:
                for event in parse_events(_lines(response, time.monotonic() + 1e9)):
                    last = str(event.get("id") or last)
                    yield event

    def _stream(self, until: float, *, last: str = "", noun: str = "") -> Any:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        silence = max(1.0, min(_SILENCE, until - time.monotonic()))
        response = self._session.request(
            f"{self.url}/events",
            "GET",
            params={"noun": noun} if noun else {},
            headers=headers,
            stream=True,
            raise_exc=False,
            log=False,
            timeout=silence,
            authenticated=True,
        )
        if response.status_code == 404:
            response.close()
            return None
        if response.status_code >= 400:
            raise _failure(response)
        return response

    # ---- the wire

    def websocket(self, path: str) -> str:
        """The URL of a stream: ws for http, wss for https."""
        scheme, _, rest = self.url.partition("://")
        return f"{'wss' if scheme == 'https' else 'ws'}://{rest}{path}"

    def token(self) -> str:
        return str(self._session.get_token())

    @property
    def ca_file(self) -> str | bool:
        """What the sdk verifies with: a file, True for the system's own, False for nothing."""
        verify = self._session.verify
        return verify if isinstance(verify, (str, bool)) else os.fspath(verify)

    def _optional(self, method: str, path: str, **more: Any) -> dict[str, Any] | None:
        try:
            return self._call(method, path, **more)
        except errors.Missing:
            return None

    def _call(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        response = self._session.request(f"{self.url}{path}", method, raise_exc=False, authenticated=True, **more)
        if response.status_code >= 400:
            raise _failure(response)
        if not response.content:
            return {}
        try:
            found = response.json()
        except ValueError as err:
            raise errors.Backend(f"{self.url}{path} did not answer with JSON.", hint="Is this Trilith?") from err
        return found if isinstance(found, dict) else {"items": found}


def _failure(response: Any) -> errors.TrilithError:
    """Its body as this API writes errors: {"error": our code, "message", "hint"}; else by the status."""
    from trilith.cli.client import from_status

    try:
        body = response.json()
    except ValueError:
        return from_status(response.status_code, response.text[:300] or response.reason or "")
    if not isinstance(body, dict):
        return from_status(response.status_code, str(body)[:300])
    words = str(body.get("message", ""))
    if isinstance(body.get("error"), str) and body["error"] in errors.BY_CODE:
        return errors.from_wire(body["error"], words, str(body.get("hint", "")))
    return from_status(response.status_code, words)


def _lines(response: Any, until: float) -> Iterator[str]:
    """Lines of a stream until it ends, falls silent, or the time is over."""
    from requests import exceptions as wire

    try:
        # chunk_size None: what the server flushed is read at once, not when a buffer is full
        for raw in response.iter_lines(chunk_size=None):
            yield raw.decode(errors="replace")
            if time.monotonic() > until:
                return
    except (wire.ConnectionError, wire.ChunkedEncodingError, wire.Timeout):
        return  # a stream that broke is opened again by who reads it


def parse_events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Server-sent events (WHATWG HTML, 9.2.6): id, event and data; data is read as JSON where it is."""
    fields: dict[str, str] = {}
    for text in lines:
        if text == "":
            if "data" in fields:
                yield _event(fields)
            fields = {}
        elif not text.startswith(":"):
            name, _, value = text.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value


def _event(fields: dict[str, str]) -> dict[str, Any]:
    try:
        data: Any = json.loads(fields["data"])
    except ValueError:
        data = fields["data"]
    return {"id": fields.get("id", ""), "event": fields.get("event", "message"), "data": data}
