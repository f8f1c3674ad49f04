"""Where image data may lie: the state directory's own store, others that the operator configured, and URLs.

A store is a directory of files named by their SHA-256. One kind has none: it holds URLs of data that others serve.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trilith import errors
from trilith.model.image import LOCAL

_ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9_-]{1,64})(:(?P<weight>-?\d{1,6}))?(=(?P<place>.+))?$")


@dataclass(frozen=True, slots=True)
class ImageStore:
    """directory: None for a store of URLs, which nothing is written to. weight: the higher one is read first."""

    name: str
    directory: Path | None
    weight: int = 0

    @property
    def read_only(self) -> bool:
        return self.directory is None

    @property
    def files(self) -> Path:
        """Raises Bug for a store of URLs."""
        if self.directory is None:
            raise errors.Bug(f"The store {self.name} has no files.")
        return self.directory


class Stores:
    """settings: NAME[:WEIGHT]=DIRECTORY, NAME[:WEIGHT]=http, or local:WEIGHT. local: directory of the default store.

    Raises Invalid for a setting that cannot be read.
    """

    def __init__(self, settings: tuple[str, ...], local: Path) -> None:
        found = {LOCAL: ImageStore(LOCAL, local)}
        for entry in settings:
            made = _parse(entry, local)
            if made.name in found and made.name != LOCAL:
                raise _bad(entry, "the name is there twice")
            found[made.name] = made
        self.all = tuple(found.values())
        self.local = found[LOCAL]
        self._by_name = found
        #: copies of data from elsewhere
        self.cache = local / "cache"

    def get(self, name: str) -> ImageStore | None:
        return self._by_name.get(name)

    @property
    def writable(self) -> tuple[ImageStore, ...]:
        return tuple(s for s in self.all if not s.read_only)

    @property
    def web(self) -> ImageStore | None:
        """The store of URLs, where one is configured."""
        return next((s for s in self.all if s.read_only), None)

    @property
    def by_weight(self) -> tuple[ImageStore, ...]:
        return tuple(sorted(self.all, key=lambda s: -s.weight))

    def ordered(self, names: Iterable[str]) -> list[str]:
        """As images show them: by weight, those no longer configured last."""
        wanted = list(dict.fromkeys(names))
        return sorted(wanted, key=lambda n: -self._by_name[n].weight if n in self._by_name else 1 << 30)

    def find(self, sha256: str) -> Path | None:
        """The file of this blob, wherever it lies: the cache first, it is the nearest. Blocking."""
        for directory in (self.cache, *(s.files for s in self.by_weight if not s.read_only)):
            path = directory / sha256
            if sha256 and path.is_file():
                return path
        return None


def _parse(entry: str, local: Path) -> ImageStore:
    match = _ENTRY.match(entry.strip())
    if match is None:
        raise _bad(entry, "NAME[:WEIGHT]=DIRECTORY or NAME[:WEIGHT]=http is wanted")
    name, place, weight = match["name"], match["place"] or "", int(match["weight"] or 0)
    if name == LOCAL:
        if place:
            raise _bad(entry, f"the directory of {LOCAL} is in the state directory")
        return ImageStore(LOCAL, local, weight)
    if place == "http":
        return ImageStore(name, None, weight)
    if not place.startswith("/"):
        raise _bad(entry, "the directory must be an absolute path")
    return ImageStore(name, Path(place), weight)


def _bad(entry: str, why: str) -> errors.Invalid:
    return errors.Invalid(f"image_stores: {entry!r}: {why}.", field="image_stores")
