"""Which URLs the cloud fetches for a tenant: never one of this machine or its link, unless the settings name it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

from trilith import errors

_LOCAL_NAMES = ("localhost", "localhost.localdomain")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Source:
    """A URL apart from the secrets in it. user, password: for HTTP's basic authentication."""

    url: str
    user: str = ""
    password: str = ""


def source(uri: str) -> Source:
    """Raises Invalid for what is no URL of http or https."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as err:
        raise errors.Invalid(f"Invalid uri: {err}.", field="uri") from err
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise errors.Invalid(f"URI does not pass filtering: {shown(uri)}", field="uri")
    place = parts.netloc.rpartition("@")[2]
    bare = urlunsplit((parts.scheme, place, parts.path, parts.query, ""))
    return Source(bare, unquote(parts.username or ""), unquote(parts.password or ""))


def shown(uri: str) -> str:
    """For people and logs: without a user, password, query or fragment, any of which may hold a secret."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "(no URL)"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def check_uri(uri: str, allow: tuple[str, ...]) -> None:
    """Raises Invalid for a URL that may not be fetched. Names are checked again by the address they lead to."""
    found = source(uri)
    parts = urlsplit(found.url)
    host, port = (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)
    try:
        address: Address = ipaddress.ip_address(host)
    except ValueError:
        if host not in _LOCAL_NAMES and not host.endswith(".localhost"):
            return
        address = ipaddress.ip_address("127.0.0.1")
    if not allowed(address, host, port, allow):
        raise errors.Invalid(
            f"URI does not pass filtering: {shown(uri)}",
            hint="The operator may allow the host in image_import_allow.",
            field="uri",
        )


def allowed(address: Address, host: str, port: int, allow: tuple[str, ...]) -> bool:
    """False for addresses of this machine or its link, unless the settings name them. allow: HOST, HOST:PORT, CIDR."""
    plain = getattr(address, "ipv4_mapped", None) or address
    for item in allow:
        if item.lower() in (host, f"{host}:{port}", f"{plain}:{port}", f"[{plain}]:{port}"):
            return True
        try:
            if plain in ipaddress.ip_network(item, strict=False):
                return True
        except ValueError:  # a name, compared above
            continue
    return not (
        plain.is_loopback or plain.is_link_local or plain.is_unspecified or plain.is_multicast or plain.is_reserved
    )
