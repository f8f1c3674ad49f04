"""The newest rows of the feed in memory: who follows it closely needs no read for each commit.

Half a dozen followers read after every commit of a server's creation; docs/decisions/0006-speed.md has what it cost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from trilith.model.record import FeedRow
from trilith.store import cursor as cursors

_ROWS = 2000


class FeedTail:
    """Rows in the order of their ids, without gaps. Belongs to one thread. Only for a feed with one writer."""

    def __init__(self, rows: int = _ROWS) -> None:
        self._rows: deque[tuple[int, FeedRow]] = deque(maxlen=rows)

    def extend(self, rows: Sequence[FeedRow]) -> None:
        """What was just committed."""
        self._rows.extend((cursors.parse(row.cursor)[1], row) for row in rows)

    def clear(self) -> None:
        """Forget all: rows were purged, and old cursors must be told so."""
        self._rows.clear()

    def after(self, cursor: str, limit: int) -> list[FeedRow] | None:
        """At most `limit` rows behind the cursor; None where older rows than the known ones might be among them."""
        after = cursors.parse(cursor)[1]
        if not self._rows or after < self._rows[0][0] - 1:
            return None
        found = []
        for id, row in reversed(self._rows):
            if id <= after:
                break
            found.append(row)
        found.reverse()
        return found[:limit]
