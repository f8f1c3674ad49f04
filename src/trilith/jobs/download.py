"""Fetching a URL that a tenant gave: bounded, and never from this machine or its link unless the settings allow it.

The address is checked on the very connection that is used, so a name that changes its mind between look and use
(DNS rebinding) gains nothing; redirections go through the same check.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import ipaddress
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from trilith import errors
from trilith.commands.image_sources import Source, allowed, check_uri, shown, source

T = TypeVar("T")

#: seconds without a byte
_STALL = 30.0
_CHUNK = 1024 * 1024


#: what may be reached; None for a URL of the operator's own, which is not filtered and not led elsewhere
Allow = tuple[str, ...] | None


async def download(
    uri: str, write: Callable[[bytes], None], *, allow: Allow, headers: Mapping[str, str] | None = None
) -> None:
    """All of it into `write`, which is called in a thread of its own and may raise. Raises Invalid, Backend.

    A user and password in the URL go out by HTTP's basic authentication, to its own host only.
    """
    if allow is not None:
        check_uri(uri, allow)
    stop = threading.Event()
    try:
        await _apart(lambda: _fetch(source(uri), write, allow, stop, dict(headers or {})))
    finally:
        stop.set()


async def probe(uri: str, *, allow: tuple[str, ...]) -> int:
    """Size in bytes that the server gives for it, -1 where it gives none. Raises Invalid, Backend."""
    check_uri(uri, allow)

    def ask() -> int:
        with _errors_of(uri), _open(source(uri), allow, {}, method="HEAD") as response:
            length = response.headers.get("Content-Length", "")
            return int(length) if length.isdigit() else -1

    return await _apart(ask)


async def _apart(work: Callable[[], T]) -> T:
    """In a thread of its own: the process's pool has a handful, and a slow source must not take them from everybody
    else. A caller that is cancelled leaves it behind, for its next byte or _STALL to end; so does the process's end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(done: Callable[[], None]) -> None:
        if not future.done():
            done()

    def body() -> None:
        try:
            value = work()
            done = partial(future.set_result, value)
        except Exception as err:  # noqa: BLE001 (handed to the caller whole)
            done = partial(future.set_exception, err)
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
            loop.call_soon_threadsafe(settle, done)

    threading.Thread(target=body, name="download", daemon=True).start()
    return await future


def _open(found: Source, allow: Allow, headers: dict[str, str], method: str = "GET") -> Any:
    opener = urllib.request.OpenerDirector()
    opener.add_handler(_Http(allow))
    opener.add_handler(_Https(allow))
    if allow is not None:
        opener.add_handler(_Redirect(allow))
    opener.add_handler(urllib.request.HTTPErrorProcessor())
    opener.add_handler(urllib.request.HTTPDefaultErrorHandler())
    request = urllib.request.Request(found.url, method=method)
    request.add_header("User-Agent", "trilith")
    request.add_header("Accept-Encoding", "identity")
    secrets = dict(headers)
    if found.user:
        pair = f"{found.user}:{found.password}".encode()
        secrets["Authorization"] = "Basic " + base64.b64encode(pair).decode()
    for name, value in secrets.items():
        request.add_unredirected_header(name, value)  # for this host, not for where it may lead
    return opener.open(request, timeout=_STALL)


@contextmanager
def _errors_of(uri: str) -> Iterator[None]:
    try:
        yield
    except (urllib.error.URLError, http.client.HTTPException, OSError) as err:
        reason = getattr(err, "reason", None) or err
        raise errors.Backend(f"{shown(uri)} cannot be fetched: {reason}.") from err


def _fetch(
    found: Source, write: Callable[[bytes], None], allow: Allow, stop: threading.Event, headers: dict[str, str]
) -> None:
    with _errors_of(found.url), _open(found, allow, headers) as response:
        length = response.headers.get("Content-Length")
        got = 0
        while chunk := response.read1(_CHUNK):
            if stop.is_set():
                return
            got += len(chunk)
            write(chunk)
        if length is not None and length.isdigit() and got != int(length):
            raise errors.Backend(f"{shown(found.url)}: the connection ended after {got} of {length} bytes.")


def _connect(host: str, port: int, timeout: Any, allow: Allow) -> socket.socket:
    """To the first address that answers and is allowed. Raises OSError."""
    problem: OSError = OSError(f"{host} has no address")
    for family, kind, proto, _, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        address = ipaddress.ip_address(str(where[0]).partition("%")[0])
        if allow is not None and not allowed(address, host.lower(), port, allow):
            problem = OSError(f"{host} leads to {where[0]}, which does not pass filtering")
            continue
        made = socket.socket(family, kind, proto)
        try:
            made.settimeout(timeout if isinstance(timeout, int | float) else _STALL)
            made.connect(where)
        except OSError as err:
            made.close()
            problem = err
            continue
        return made
    raise problem


class _Http(urllib.request.HTTPHandler):
    def __init__(self, allow: Allow) -> None:
        super().__init__()
        self._allow = allow

    def http_open(self, req: urllib.request.Request) -> Any:
        allow = self._allow

        class Connection(http.client.HTTPConnection):
            def connect(self) -> None:
                self.sock = _connect(self.host, self.port, self.timeout, allow)

        return self.do_open(Connection, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, allow: Allow) -> None:
        super().__init__()
        self._allow = allow

    def https_open(self, req: urllib.request.Request) -> Any:
        allow = self._allow
        context = ssl.create_default_context()

        class Connection(http.client.HTTPSConnection):
            def connect(self) -> None:
                plain = _connect(self.host, self.port, self.timeout, allow)
                self.sock = context.wrap_socket(plain, server_hostname=self.host)

        return self.do_open(Connection, req)


class _Redirect(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def __init__(self, allow: tuple[str, ...]) -> None:
        super().__init__()
        self._allow = allow

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_uri(newurl, self._allow)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
