"""The feed's newest rows in memory: what it can't know it does not answer."""

from __future__ import annotations

from trilith.model.record import Change, FeedRow
from trilith.store.feed_tail import FeedTail


def row(id: int) -> FeedRow:
    return FeedRow(
        cursor=f"0-{id}", at=1.0, noun="server", change=Change.UPDATED, id="s", project_id="p", revision=id, version=1
    )


def test_it_answers_for_what_it_has_seen_from_the_start() -> None:
    tail = FeedTail(3)
    assert tail.after("0-9", 5) is None, "nothing is known yet"
    tail.extend([row(10), row(11)])
    assert tail.after("0-9", 5) == [row(10), row(11)]
    assert tail.after("0-9", 1) == [row(10)]
    assert tail.after("0-11", 5) == []
    assert tail.after("0-8", 5) is None, "9 may be in the table"


def test_the_oldest_go_and_are_not_answered_for() -> None:
    tail = FeedTail(3)
    tail.extend([row(n) for n in range(1, 6)])
    assert tail.after("0-2", 5) == [row(3), row(4), row(5)]
    assert tail.after("0-1", 5) is None
    assert tail.after("", 5) is None
    tail.clear()
    assert tail.after("0-4", 5) is None
