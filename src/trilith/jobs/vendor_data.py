"""Vendor data: what the operator tells every server beside what its user does (vendor_data.json, vendor_data2.json).

Asked for once, when a server is laid out or rebuilt, and kept with it: a target that is away later changes nothing.
Source: Nova's user guide on vendordata, for the request that a target gets and where its answer is shown.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import structlog

from trilith import errors
from trilith.commands import boot_data, server_details
from trilith.commands.boot_data import Vendor
from trilith.config import Settings
from trilith.jobs.services import Services
from trilith.model.server import Server
from trilith.store.tx import Reader

log = structlog.get_logger("vendor-data")

#: bytes of the file, and of one target's answer
_MOST = 1024 * 1024


async def gather(services: Services, server_id: str) -> None:
    """Ask, and keep the answers. Nothing is done in a cloud without vendor data.

    Raises Backend for a target that does not answer, where the settings say that it must; Invalid for a bad file.
    """
    settings = services.settings
    if not settings.vendordata_file and not settings.vendordata_targets:
        return

    def about(reader: Reader) -> dict[str, Any]:
        return _question(reader, reader.get(Server, server_id))

    question = msgspec.json.encode(await services.store.read(about))
    static = await asyncio.to_thread(_read_file, settings.vendordata_file) if settings.vendordata_file else {}
    targets = [_target(text) for text in settings.vendordata_targets]
    answers = await asyncio.gather(*(_ask(settings, name, url, question) for name, url in targets))
    dynamic: dict[str, Any] = {"static": static} if static else {}
    dynamic |= {name: answer for (name, _), answer in zip(targets, answers, strict=True)}
    vendor = Vendor(static=static, dynamic=dynamic)
    await services.store.write(lambda tx: boot_data.keep_vendor(tx, server_id, vendor))


def _question(reader: Reader, server: Server) -> dict[str, Any]:
    user_data = (
        reader.sealer.open(server.user_data, context=f"server.user_data:{server.id}") if server.user_data else b""
    )
    return {
        "project-id": server.project_id,
        "instance-id": server.id,
        "image-id": server.image_id,
        "user-data": base64.b64encode(user_data).decode() if user_data else None,
        "hostname": server.hostname,
        "metadata": server.metadata,
        "boot-roles": server.system_metadata.get(server_details.BOOT_ROLES, ""),
    }


def _read_file(path: str) -> dict[str, Any]:
    try:
        raw = Path(path).read_bytes()
        if len(raw) > _MOST:
            raise errors.Invalid(f"vendordata_file {path} is over {_MOST} bytes.")
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as err:
        raise errors.Invalid(f"vendordata_file {path}: {err}.", hint="It must hold one JSON object.") from err


def _target(text: str) -> tuple[str, str]:
    """Raises Invalid for what is no NAME@URL."""
    name, at, url = text.partition("@")
    if not at or not name or not url.startswith(("http://", "https://")):
        raise errors.Invalid(f"vendordata_targets: {text!r} is no NAME@http://…", field="vendordata_targets")
    return name.strip(), url.strip()


async def _ask(settings: Settings, name: str, url: str, question: bytes) -> Any:
    try:
        return await asyncio.to_thread(_post, url, question, settings.vendordata_timeout)
    except (OSError, http.client.HTTPException, msgspec.DecodeError, ValueError) as err:
        if settings.vendordata_required:
            raise errors.Backend(f"Vendor data of {name} ({url}): {err}.", hint="See vendordata_required.") from err
        log.warning("vendor data is left out", target=name, url=url, error=str(err))
        return {}


def _post(url: str, question: bytes, timeout: float) -> Any:
    request = urllib.request.Request(
        url,
        data=question,
        headers={"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "trilith"},
    )
    with urllib.request.urlopen(request, timeout=timeout) as response:
        raw = response.read(_MOST + 1)
    if len(raw) > _MOST:
        raise ValueError(f"the answer is over {_MOST} bytes")
    return msgspec.json.decode(raw)
