"""What steps may use: the store, the nodes, the network's northbound side, and the blobs of images."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from trilith.cluster.links import Links
from trilith.commands.adviser import Adviser
from trilith.commands.image_stores import Stores
from trilith.commands.image_uploads import FailedUploads
from trilith.drivers.contract import NetworkDriver
from trilith.jobs.sent_plans import SentPlans
from trilith.store.contract import Store

if TYPE_CHECKING:
    from trilith.config import Settings


class Converter(Protocol):
    async def __call__(self, source: Path, target: Path, disk_format: str, wanted: str) -> None:
        """Make `target` of `source`. Formats are the image API's. Raises Invalid, Backend, Deadline."""
        ...


@dataclass(frozen=True)
class Services:
    """adviser: which pillars a server may have. convert: None where images stay as they come."""

    store: Store
    links: Links
    network: NetworkDriver
    settings: Settings
    cloud_id: str
    adviser: Adviser
    convert: Converter | None = None
    sent: SentPlans = field(default_factory=SentPlans)
    uploads: FailedUploads = field(default_factory=FailedUploads)

    @property
    def blobs(self) -> Path:
        """Directory of uploaded blobs, a file a SHA-256: the default store of images."""
        return self.settings.state / "images"

    @cached_property
    def stores(self) -> Stores:
        """All of them. Raises Invalid for a setting that cannot be read."""
        return Stores(self.settings.image_stores, self.blobs)

    def blob(self, sha256: str) -> Path:
        """The file of a blob, wherever it lies; where it lies nowhere, its place in the default store. Blocking."""
        return self.stores.find(sha256) or self.blobs / sha256
