"""A light look at an image's bytes while they pass: is it what it says, and does it point outside of itself?

The storage driver inspects again, with more, before any tool opens the image.
"""

from __future__ import annotations

from typing import Any

from trilith import errors

#: declared disk format → what the content may be found to be
_ACCEPTED: dict[str, frozenset[str]] = {
    "raw": frozenset({"raw", "gpt"}),
    "gpt": frozenset({"gpt"}),
    "iso": frozenset({"iso", "gpt"}),
    "luks": frozenset({"luks"}),
    "vhd": frozenset({"vhd"}),
    "vhdx": frozenset({"vhdx"}),
    "vmdk": frozenset({"vmdk"}),
    "vdi": frozenset({"vdi"}),
    "qcow2": frozenset({"qcow2"}),
}
_OPAQUE = frozenset({"raw", "gpt"})
#: beginnings of archives: (offset, bytes)
_TAR = ((257, b"ustar"), (0, b"\x1f\x8b"), (0, b"\xfd7zXZ\x00"), (0, b"\x28\xb5\x2f\xfd"), (0, b"BZh"))
_SQUASHFS = ((0, b"hsqs"),)
#: both versions of the header of Parallels' images (docs/interop/parallels.txt of QEMU)
_PLOOP = ((0, b"WithoutFreeSpace"), (0, b"WithouFreSpacExt"))
_MARKED = {"root-tar": _TAR, "squashfs": _SQUASHFS, "ploop": _PLOOP}
_HEAD = 512


class _Source:
    """A file-like object that hands over what it was given: the inspector pulls, we push."""

    def __init__(self) -> None:
        self.pending = b""

    def read(self, size: int) -> bytes:
        data, self.pending = self.pending, b""
        return data

    def close(self) -> None:
        return None


class Inspection:
    """declared: disk_format ("" for any). enforce: refuse a mismatch; unsafe content is refused always."""

    def __init__(self, declared: str, *, enforce: bool = True, container: str = "bare") -> None:
        from oslo_utils.imageutils import format_inspector  # 40 ms of import that only uploads pay

        self._library = format_inspector
        self._declared = declared
        # a wrapped disk (docker, ova, compressed) is not the disk itself
        self._enforce = enforce and bool(declared) and container in ("bare", "")
        self._source = _Source()
        self._wrapper: Any = format_inspector.InspectWrapper(self._source)
        self._head = b""
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Raises Invalid for content that is broken beyond reading."""
        if not data:
            return
        self._size += len(data)
        if len(self._head) < _HEAD:
            self._head += data[: _HEAD - len(self._head)]
        self._source.pending = data
        try:
            self._wrapper.read(len(data))
        except self._library.ImageFormatError as err:
            raise errors.Invalid(f"The image's content cannot be read: {err}.") from err

    def finish(self) -> int:
        """The virtual size in bytes, -1 where unknown. Raises Invalid when the content is refused."""
        self._wrapper.close()
        found = list(self._wrapper.formats or [])
        names = {str(f) for f in found}
        for inspector in found:
            try:
                inspector.safety_check()
            except self._library.SafetyCheckFailed as err:
                reasons = "; ".join(f"{name}: {why}" for name, why in err.failures.items())
                # gpt's check looks at boot code of what is opaque to everybody: not a reason to refuse raw bytes
                if str(inspector) in _OPAQUE:
                    continue
                raise errors.Invalid(
                    f"The image is not safe as {inspector}: {reasons}.",
                    hint="Images may not refer to other files; convert it to one that stands alone.",
                ) from err
        if self._enforce:
            self._match(names)
        if self._declared in ("root-tar", "squashfs"):
            return -1
        if not names - _OPAQUE:
            return self._size
        sizes = [int(f.virtual_size) for f in found if str(f) not in _OPAQUE]
        return max(sizes) if sizes and max(sizes) > 0 else self._size

    def _match(self, names: set[str]) -> None:
        declared = self._declared
        if declared in _MARKED:
            marks = _MARKED[declared]
            if not any(self._head[at : at + len(mark)] == mark for at, mark in marks):
                raise errors.Invalid(
                    f"Image content did not match disk_format: it is no {declared}.", field="disk_format"
                )
            return
        accepted = _ACCEPTED.get(declared, _OPAQUE)
        if declared in names and names <= accepted | _OPAQUE:
            return
        if not names <= accepted or (declared in _ACCEPTED and declared not in names and declared != "raw"):
            found = ", ".join(sorted(names)) or "nothing known"
            raise errors.Invalid(
                f"Image content did not match disk_format: {declared} was declared, {found} was found.",
                field="disk_format",
            )
