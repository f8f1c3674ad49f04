"""What a server is given at its birth: the files of its personality, and the operator's vendor data. Kept sealed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from trilith import errors
from trilith.commands import quota
from trilith.model.instance import InjectedFile
from trilith.model.server import BootData, Server
from trilith.store.tx import Reader, Tx

_FILES, _PATH, _CONTENT = "injected_files", "injected_file_path_bytes", "injected_file_content_bytes"


class Vendor(msgspec.Struct, frozen=True):
    """static: vendor_data.json. dynamic: vendor_data2.json, by the name of who said it."""

    static: dict[str, Any] = {}
    dynamic: dict[str, Any] = {}


def check_files(reader: Reader, project_id: str, files: Sequence[InjectedFile]) -> None:
    """Raises QuotaExceeded by Nova's three limits: how many, and of each the bytes of its path and its content."""
    bounds = quota.limits(reader, project_id, (_FILES, _PATH, _CONTENT))
    if 0 <= bounds[_FILES] < len(files):
        raise errors.QuotaExceeded(
            f"Personality file limit exceeded: {len(files)} given, {bounds[_FILES]} allowed.", field="personality"
        )
    for file in files:
        if 0 <= bounds[_PATH] < len(file.path.encode()):
            raise errors.QuotaExceeded(
                f"Personality file path exceeds maximum: {bounds[_PATH]} bytes.", field="personality"
            )
        if 0 <= bounds[_CONTENT] < len(file.content):
            raise errors.QuotaExceeded(
                f"Personality file content exceeds maximum: {bounds[_CONTENT]} bytes.", field="personality"
            )


def keep_files(tx: Tx, server: Server, files: Sequence[InjectedFile]) -> None:
    """In place of those of before."""
    found = tx.find(BootData, server.id)
    sealed = tx.sealer.seal(msgspec.json.encode(list(files)), context=_context(server.id, "files")) if files else ""
    if found is not None:
        tx.change(found, files=sealed)
    elif sealed:
        tx.add(BootData(id=server.id, files=sealed))


def keep_vendor(tx: Tx, server_id: str, vendor: Vendor) -> None:
    """In place of that of before."""
    found = tx.find(BootData, server_id)
    given = vendor.static or vendor.dynamic
    sealed = tx.sealer.seal(msgspec.json.encode(vendor), context=_context(server_id, "vendor")) if given else ""
    if found is not None:
        if found.vendor or sealed:
            tx.change(found, vendor=sealed)
    elif sealed:
        tx.add(BootData(id=server_id, vendor=sealed))


def read(reader: Reader, server_id: str) -> tuple[tuple[InjectedFile, ...], Vendor]:
    found = reader.find(BootData, server_id)
    if found is None:
        return (), Vendor()
    files: tuple[InjectedFile, ...] = ()
    vendor = Vendor()
    if found.files:
        opened = reader.sealer.open(found.files, context=_context(server_id, "files"))
        files = tuple(msgspec.json.decode(opened, type=list[InjectedFile]))
    if found.vendor:
        vendor = msgspec.json.decode(
            reader.sealer.open(found.vendor, context=_context(server_id, "vendor")), type=Vendor
        )
    return files, vendor


def forget(tx: Tx, server_id: str) -> None:
    """With its server. Absent is success."""
    found = tx.find(BootData, server_id)
    if found is not None:
        tx.remove(found)


def _context(server_id: str, what: str) -> str:
    return f"server.{what}:{server_id}"
