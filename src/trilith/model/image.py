"""Images: one record, one uploaded blob; what it is turned into on nodes is derived and counted by reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from trilith.model.record import Record
from trilith.model.states import table


class ImageState(StrEnum):
    QUEUED = "queued"
    UPLOADING = "uploading"
    IMPORTING = "importing"
    SAVING = "saving"
    ACTIVE = "active"
    DEACTIVATED = "deactivated"
    DELETED = "deleted"


_S = ImageState
IMAGE_TABLE = table(
    "image",
    {
        (_S.QUEUED, "upload"): _S.SAVING,
        (_S.QUEUED, "stage"): _S.UPLOADING,
        (_S.UPLOADING, "import"): _S.IMPORTING,
        (_S.QUEUED, "import"): _S.IMPORTING,
        (_S.QUEUED, "locate"): _S.ACTIVE,
        (_S.QUEUED, "snapshot"): _S.SAVING,
        (_S.SAVING, "activate"): _S.ACTIVE,
        (_S.IMPORTING, "activate"): _S.ACTIVE,
        (_S.SAVING, "retry"): _S.QUEUED,
        (_S.IMPORTING, "retry"): _S.QUEUED,
        (_S.UPLOADING, "retry"): _S.QUEUED,
        (_S.ACTIVE, "deactivate"): _S.DEACTIVATED,
        (_S.DEACTIVATED, "deactivate"): _S.DEACTIVATED,
        (_S.DEACTIVATED, "reactivate"): _S.ACTIVE,
        (_S.ACTIVE, "reactivate"): _S.ACTIVE,
        **{(state, "delete"): _S.DELETED for state in _S if state is not _S.DELETED},
    },
)

DISK_FORMATS = (
    "raw",
    "qcow2",
    "vmdk",
    "vdi",
    "vhd",
    "vhdx",
    "iso",
    "ami",
    "ari",
    "aki",
    "ploop",
    "gpt",
    "luks",
    "root-tar",
    "squashfs",
)
CONTAINER_FORMATS = ("bare", "ovf", "ova", "docker", "ami", "ari", "aki", "compressed")


#: the store in the state directory
LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A URL under which somebody else serves an image's data."""

    url: str
    store: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image(Record):
    """checksum: MD5, hash_value: by hash_algo (both as Glance shows them); sha256 keys the derived artefacts.

    stores: where its data lies as files; locations: as URLs. imported: it has been through an import, whose outcome
    importing_to and failed_import tell.

    uploader: the node whose process receives the data now ("" for none): what it left half-way goes back to queued
    when it starts again. message: why the last upload or import failed.
    """

    name: str = ""
    owner: str = ""
    state: ImageState = ImageState.QUEUED
    visibility: str = "shared"  # public | private | shared | community
    hidden: bool = False
    protected: bool = False
    disk_format: str = ""
    container_format: str = ""
    min_disk: int = 0  # GiB
    min_ram: int = 0  # MiB
    size: int = -1  # bytes
    virtual_size: int = -1  # bytes
    checksum: str = ""
    hash_algo: str = ""
    hash_value: str = ""
    sha256: str = ""
    stores: tuple[str, ...] = ()
    locations: tuple[Location, ...] = ()
    imported: bool = False
    importing_to: tuple[str, ...] = ()
    failed_import: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    properties: dict[str, str] = field(default_factory=dict)
    job_id: str = ""
    uploader: str = ""
    message: str = ""

    @property
    def project_id(self) -> str:
        """The owner, by the name that the feed knows a project by."""
        return self.owner


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMember(Record):
    image_id: str
    member_id: str
    status: str = "pending"  # pending | accepted | rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobReference(Record):
    """Who needs a blob: an image record, a server's root disk, a snapshot whose kernel comes from it.

    store: where an image needs it; "" for who needs it anywhere.
    """

    sha256: str
    holder_kind: str  # image | server | kernel
    holder_id: str
    store: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedImage(Record):
    """A copy of an image's data that a node keeps near. hits: downloads served. Times: seconds since the epoch."""

    image_id: str
    node: str
    state: str = "queued"  # queued | cached
    sha256: str = ""
    size: int = 0  # bytes
    hits: int = 0
    last_accessed: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobFacts:
    """What was found while a blob's bytes passed by. size, virtual_size: bytes, -1 where unknown."""

    sha256: str
    checksum: str
    hash_value: str
    size: int
    virtual_size: int = -1
