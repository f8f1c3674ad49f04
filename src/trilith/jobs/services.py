"""What steps may use: the store, the nodes, the network's northbound side, and the blobs of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trilith.cluster.links import Links
from trilith.drivers.contract import NetworkDriver
from trilith.store.contract import Store

if TYPE_CHECKING:
    from trilith.config import Settings


@dataclass(frozen=True)
class Services:
    store: Store
    links: Links
    network: NetworkDriver
    settings: Settings
    cloud_id: str

    @property
    def blobs(self) -> Path:
        """Directory of uploaded blobs, a file a SHA-256."""
        return self.settings.state / "images"
