"""/volumes/{id}/metadata and /snapshots/{id}/metadata: the same six calls on either noun."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.volume.wire import Metadata
from trilith.store.tx import Reader, Tx


class Described(Protocol):
    @property
    def metadata(self) -> dict[str, str]: ...


class MetadataBody(msgspec.Struct):
    metadata: Metadata


class MetaBody(msgspec.Struct):
    meta: Metadata


@dataclass(frozen=True)
class Of:
    """The metadata of one noun. one: what the path names, as the rule of that name lets the caller have it. update:
    changes it. rule: the policies' names with {verb}. noun: for the audit."""

    noun: str
    one: Callable[[Call, Reader, str], Any]
    update: Callable[[Tx, Any, Mapping[str, Any]], Described]
    rule: str

    async def _read(self, call: Call) -> dict[str, str]:
        found = await call.read(lambda r: self.one(call, r, self.rule.format(verb="get")))
        return dict(found.metadata)

    async def _change(self, call: Call, verb: str, make: Callable[[dict[str, str]], dict[str, str]]) -> dict[str, str]:
        def body(tx: Tx) -> dict[str, str]:
            found = self.one(call, tx, self.rule.format(verb=verb))
            return dict(self.update(tx, found, {"metadata": make(found.metadata)}).metadata)

        return await call.write(body, f"{self.noun}.update_metadata")

    async def index(self, call: Call) -> Any:
        """200; 404."""
        return {"metadata": await self._read(call)}

    async def add(self, call: Call) -> Any:
        """200; 400; 404."""
        new = call.body.metadata
        return {"metadata": await self._change(call, "update", lambda old: {**old, **new})}

    async def replace(self, call: Call) -> Any:
        """200; 400; 404."""
        new = call.body.metadata
        return {"metadata": await self._change(call, "update", lambda _old: dict(new))}

    async def show(self, call: Call) -> Any:
        """200; 404."""
        found, key = await self._read(call), call.params["key"]
        if key not in found:
            raise errors.Missing(f"Metadata item was not found: {key}")
        return {"meta": {key: found[key]}}

    async def set(self, call: Call) -> Any:
        """200; 400 for a body that is of another key; 404."""
        new, key = call.body.meta, call.params["key"]
        if list(new) != [key]:
            raise errors.Invalid("Request body and URI mismatch", field=key)
        await self._change(call, "update", lambda old: {**old, **new})
        return {"meta": new}

    async def drop(self, call: Call) -> Answer:
        """200; 404."""
        key = call.params["key"]

        def without(old: dict[str, str]) -> dict[str, str]:
            if key not in old:
                raise errors.Missing(f"Metadata item was not found: {key}")
            return {k: v for k, v in old.items() if k != key}

        await self._change(call, "delete", without)
        return Answer(status=200)
