"""The one tree of errors. Every error has a frozen code, says what happened, and tells the reader what to do next.

Codes are part of the public interface (they appear in job records, faults, `--json` output and the
`x-trilith-error` header) and never change meaning.
"""

from __future__ import annotations

import errno


class TrilithError(Exception):
    """Base of all expected failures.

    message: one sentence for the person who asked.
    hint: what to do next, or an empty string.
    field: the name of the request field at fault, where one is.
    """

    code = "bug"

    def __init__(self, message: str, *, hint: str = "", field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class Invalid(TrilithError):
    """The request can never succeed as written."""

    code = "invalid"


class Unauthenticated(TrilithError):
    """No valid token or credential came with the request."""

    code = "unauthenticated"


class Forbidden(TrilithError):
    """Who asks may not do this."""

    code = "forbidden"


class QuotaExceeded(Forbidden):
    """The project's quota does not allow it."""

    code = "quota"


class Missing(TrilithError):
    """What was named does not exist, or is not visible to who asks."""

    code = "missing"


class Conflict(TrilithError):
    """The state of things forbids it now, or another writer was first."""

    code = "conflict"


class Outrun(Conflict):
    """Another writer changed the row between this one's reading and writing."""

    code = "outrun"


class Busy(Conflict):
    """A job owns the resource. `job` is its id."""

    code = "busy"

    def __init__(self, message: str, *, job: str, hint: str = "", field: str = "") -> None:
        super().__init__(message, hint=hint, field=field)
        self.job = job


class Unsupported(TrilithError):
    """The driver, host or release lacks a capability. `capability` is its name."""

    code = "unsupported"

    def __init__(self, message: str, *, capability: str, hint: str = "", field: str = "") -> None:
        super().__init__(message, hint=hint, field=field)
        self.capability = capability


class TooLarge(Invalid):
    """A body, field or upload is over its bound."""

    code = "too_large"


class TooMany(TrilithError):
    """A rate or concurrency bound was hit; try again later."""

    code = "too_many"


class Backend(TrilithError):
    """A daemon, tool or device failed. The message carries its own words."""

    code = "backend"


class DatabaseAway(Backend):
    """The database does not answer, or cannot write (a full disk, a lock). Try again later; a change may be in."""

    code = "database"


class Deadline(Backend):
    """A step did not end within its deadline."""

    code = "deadline"


class NoValidHost(TrilithError):
    """Placement found no node. `reasons` maps a node's name to the rule that refused it, needed and had."""

    code = "no_valid_host"

    def __init__(self, message: str, *, reasons: dict[str, str], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reasons = reasons


class Bug(TrilithError):
    """A broken invariant of ours."""

    code = "bug"


def _tree(cls: type[TrilithError]) -> dict[str, type[TrilithError]]:
    found = {cls.code: cls}
    for sub in cls.__subclasses__():
        found |= _tree(sub)
    return found


#: code → class, for documentation tests and for errors that crossed the agent's wire.
BY_CODE: dict[str, type[TrilithError]] = _tree(TrilithError) | {"bug": Bug}


#: what a disk says that is full, only read or failing
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})


def of_disk(err: OSError) -> Backend | None:
    """A full, read-only or failing disk as the domain's error, naming the file; None for what is another matter."""
    if err.errno not in _DISK:
        return None
    where = f": {err.filename}" if err.filename else ""
    return Backend(f"{err.strerror}{where}.", hint="Check the space and the health of the disk; then try again.")


def from_wire(code: str, message: str, hint: str = "") -> TrilithError:
    """The error that an agent reported, as its own class again. Unknown codes become `Backend`."""
    cls = BY_CODE.get(code, Backend)
    if cls is Busy:
        return Busy(message, job="", hint=hint)
    if cls is Unsupported:
        return Unsupported(message, capability="", hint=hint)
    if cls is NoValidHost:
        return NoValidHost(message, reasons={}, hint=hint)
    return cls(message, hint=hint)
