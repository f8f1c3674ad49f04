"""Fetching a URL that a tenant gave: bounded, and never from this machine or its link unless the settings allow it.

The address is checked on the very connection that is used, so a name that changes its mind between look and use
(DNS rebinding) gains nothing; redirections go through the same check.
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from trilith import errors
from trilith.commands.images import allowed, check_uri

#: seconds without a byte
_STALL = 30.0
_CHUNK = 1024 * 1024


async def download(uri: str, write: Callable[[bytes], None], *, allow: tuple[str, ...]) -> None:
    """All of it into `write`, which is called in a thread and may raise. Raises Invalid, Backend."""
    check_uri(uri, allow)
    stop = threading.Event()
    try:
        await asyncio.to_thread(_fetch, uri, write, allow, stop)
    finally:
        stop.set()


def _fetch(uri: str, write: Callable[[bytes], None], allow: tuple[str, ...], stop: threading.Event) -> None:
    opener = urllib.request.OpenerDirector()
    for handler in (
        _Http(allow),
        _Https(allow),
        _Redirect(allow),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    request = urllib.request.Request(uri, headers={"User-Agent": "trilith", "Accept-Encoding": "identity"})
    try:
        with opener.open(request, timeout=_STALL) as response:
            length = response.headers.get("Content-Length")
            got = 0
            while chunk := response.read(_CHUNK):
                if stop.is_set():
                    return
                got += len(chunk)
                write(chunk)
            if length is not None and length.isdigit() and got != int(length):
                raise errors.Backend(f"{uri}: the connection ended after {got} of {length} bytes.")
    except (urllib.error.URLError, http.client.HTTPException, OSError) as err:
        reason = getattr(err, "reason", None) or err
        raise errors.Backend(f"{uri} cannot be fetched: {reason}.") from err


def _connect(host: str, port: int, timeout: Any, allow: tuple[str, ...]) -> socket.socket:
    """To the first address that answers and is allowed. Raises OSError."""
    problem: OSError = OSError(f"{host} has no address")
    for family, kind, proto, _, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if not allowed(ipaddress.ip_address(str(where[0]).partition("%")[0]), host.lower(), allow):
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
    def __init__(self, allow: tuple[str, ...]) -> None:
        super().__init__()
        self._allow = allow

    def http_open(self, req: urllib.request.Request) -> Any:
        allow = self._allow

        class Connection(http.client.HTTPConnection):
            def connect(self) -> None:
                self.sock = _connect(self.host, self.port, self.timeout, allow)

        return self.do_open(Connection, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, allow: tuple[str, ...]) -> None:
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
