"""A request as OAuth 1.0a signs it."""

from __future__ import annotations

from trilith import errors
from trilith.api.http.call import Call
from trilith.commands.identity_oauth1 import Signed

FORM = "application/x-www-form-urlencoded"
#: bytes of a form: it holds OAuth's own parameters
_MOST = 65_536


async def signed_request(call: Call) -> Signed:
    """With its public URL. The body counts only where it is a form. Raises TooLarge."""
    path = call.request.url.path.removeprefix(call.service.prefix)
    query = call.request.url.query
    url = call.url(path) + (f"?{query}" if query else "")
    body = b""
    if call.headers.get("content-type", "").startswith(FORM) and call.route.body is None:
        async for chunk in call.stream():
            body += chunk
            if len(body) > _MOST:
                raise errors.TooLarge(f"A form may have {_MOST} bytes.")
    return Signed(url, call.request.method, body.decode("utf-8", "replace"), call.headers)
