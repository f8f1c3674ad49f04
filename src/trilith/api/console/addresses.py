"""The URL that a console's token goes into, made from public_url, and the place of noVNC's files on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from trilith.model.console import ConsoleKind

if TYPE_CHECKING:
    from trilith.config import Settings

PREFIX = "/console"
PAGE = "vnc.html"
#: websocket of a kind, below the prefix
SOCKETS = {ConsoleKind.NOVNC: "/websockify", ConsoleKind.SERIAL: "/serial"}
INSTALL = "apt-get install novnc, or run scripts/setup.sh, which fetches its files alone."


def novnc(settings: Settings) -> Path | None:
    """The directory with noVNC's page: the setting's, the distribution's, or scripts/setup.sh's. Looks at the disk."""
    given = Path(settings.novnc) if settings.novnc else None
    places = (given,) if given else (Path("/usr/share/novnc"), Path(sys.prefix, "share", "novnc"))
    return next((place for place in places if (place / PAGE).is_file()), None)


def url_of(settings: Settings, kind: ConsoleKind, token: str) -> str:
    """For a browser (noVNC), or a websocket client (serial)."""
    public = urlsplit(settings.url)
    secure = public.scheme == "https"
    if kind is ConsoleKind.SERIAL:
        return f"{'wss' if secure else 'ws'}://{public.netloc}{socket_path(settings, kind, token)}"
    # host and port are said, as releases of noVNC differ in what they take a path to be relative to without
    host = f"[{public.hostname}]" if ":" in (public.hostname or "") else public.hostname
    query = {"path": socket_path(settings, kind, token).lstrip("/"), "host": host}
    if public.port is not None:
        query["port"] = str(public.port)
    query |= {"encrypt": "1" if secure else "0", "autoconnect": "1", "resize": "scale"}
    return f"{settings.url}{PREFIX}/{PAGE}?{urlencode(query)}"


def socket_path(settings: Settings, kind: ConsoleKind, token: str) -> str:
    """What a websocket client asks for at the host of public_url."""
    return f"{urlsplit(settings.url).path}{PREFIX}{SOCKETS[kind]}?token={token}"
