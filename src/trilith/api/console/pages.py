"""noVNC's files as the distribution ships them: a page, its scripts and pictures. Public; they hold no secret."""

from __future__ import annotations

import asyncio
from pathlib import Path, PurePosixPath

from trilith import errors
from trilith.api.console.addresses import INSTALL, novnc
from trilith.api.http.call import Call
from trilith.api.http.route import Answer

#: what a browser needs of it; the rest of the directory is not shown
_MEDIA = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/vnd.microsoft.icon",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".ttf": "font/ttf",
    ".mp3": "audio/mpeg",
    ".oga": "audio/ogg",
}
_HEADERS = {
    "cache-control": "public, max-age=3600",
    "referrer-policy": "no-referrer",  # the page's URL holds the token
    "x-content-type-options": "nosniff",
}


async def show(call: Call) -> Answer:
    """200: one of noVNC's files. 404 for one that is not there, or where noVNC is not installed."""
    wanted = PurePosixPath(str(call.params["file"]).lstrip("/"))
    media = _MEDIA.get(wanted.suffix)
    if media is None or ".." in wanted.parts:
        raise errors.Missing("There is no such page.")
    found = await asyncio.to_thread(novnc, call.host.settings)
    if found is None:
        raise errors.Missing("noVNC is not installed on this machine.", hint=INSTALL)
    return Answer(await asyncio.to_thread(_read, found / wanted), headers=_HEADERS, media_type=media)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise errors.Missing("There is no such page.") from err
