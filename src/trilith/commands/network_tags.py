"""Tags of network nouns: a short list of texts on the row itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trilith.commands.network_faults import BadRequest, TagNotFound
from trilith.store.tx import Tx

#: Neutron's own bounds
MAX_LENGTH = 255
MAX_TAGS = 50


def replace_all(tx: Tx, record: Any, tags: Iterable[str]) -> Any:
    """Each once. Raises BadRequest for too long or too many ones."""
    wanted = tuple(dict.fromkeys(tags))
    for tag in wanted:
        if not 0 < len(tag) <= MAX_LENGTH:
            raise BadRequest(f"Invalid input for tags. Reason: '{tag[:60]}' is not 1 to {MAX_LENGTH} long.")
    if len(wanted) > MAX_TAGS:
        raise BadRequest(f"Invalid input for tags. Reason: more than {MAX_TAGS}.")
    return record if wanted == record.tags else tx.change(record, tags=wanted)


def add(tx: Tx, record: Any, tag: str) -> Any:
    return replace_all(tx, record, (*record.tags, tag))


def remove(tx: Tx, record: Any, tag: str) -> Any:
    """Raises TagNotFound."""
    if tag not in record.tags:
        raise TagNotFound(f"Tag {tag} could not be found.")
    return tx.change(record, tags=tuple(t for t in record.tags if t != tag))
