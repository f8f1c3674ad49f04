"""Which failures of a database say that it is away, full or locked, and not that a statement of ours is wrong."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy as sa

from trilith import errors

#: classes of SQLSTATE: connection, no such database, refused log-in, out of resources (a full disk too), ended by the
#: operator or starting up, the system's own failures, corruption (PostgreSQL, appendix A)
_POSTGRES_CLASSES = ("08", "3D", "28", "53", "57", "58", "XX")
#: a standby took over, and this one only reads; a lock was not had
_POSTGRES_STATES = ("25006", "55P03")
#: primary result codes (sqlite.org/rescode.html)
_SQLITE = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOTADB,
}
_AGAIN = "The request can be repeated when it is back."
_SPACE = "Check the space and permissions of the state directory; the request can be repeated then."


def of_sqlite(err: BaseException) -> errors.DatabaseAway | None:
    """The same failure as the domain's; None for what is another matter."""
    cause = err.orig if isinstance(err, sa.exc.DBAPIError) else err
    code = getattr(cause, "sqlite_errorcode", None)
    if not isinstance(cause, sqlite3.Error) or code is None or code & 0xFF not in _SQLITE:
        return None
    return errors.DatabaseAway(f"The database cannot be used: {cause}.", hint=_SPACE)


def of_postgres(err: BaseException) -> errors.DatabaseAway | None:
    """As of_sqlite. The statement and its values stay out of the message: they may hold secrets."""
    import asyncpg

    if isinstance(err, sa.exc.TimeoutError):
        return errors.DatabaseAway("The database is busy: no connection came free in time.", hint=_AGAIN)
    cause: BaseException | None = err
    if isinstance(err, sa.exc.DBAPIError):
        cause = err.orig.__cause__ or err.orig if err.orig is not None else None
    match cause:
        case asyncpg.PostgresError():
            state = str(getattr(cause, "sqlstate", "") or "")
            away = state[:2] in _POSTGRES_CLASSES or state in _POSTGRES_STATES
        case asyncpg.InterfaceError():
            away = not isinstance(cause, ValueError)  # a value that fits no column is our own fault
        case asyncpg.InternalClientError():
            away = True  # asked after the server's last word, before its end of the stream was seen
        case _:
            away = isinstance(cause, OSError)
    if not away:
        return None
    words = "connecting takes too long" if isinstance(cause, TimeoutError) else str(cause) or type(cause).__name__
    return errors.DatabaseAway(f"The database does not answer: {words}.", hint=_AGAIN)


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Raises DatabaseAway when the block did not end by then."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError as err:
        if not limit.expired():
            raise
        raise errors.DatabaseAway(
            f"The database did not answer within {seconds:.0f} s.", hint=f"{_AGAIN} A change may be in."
        ) from err
