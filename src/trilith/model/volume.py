"""Block storage: volumes, their types and snapshots, and the pools that hold them (Cinder's own nouns)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from trilith.model.record import Record
from trilith.model.states import table


class VolumeState(StrEnum):
    CREATING = "creating"
    DOWNLOADING = "downloading"
    AVAILABLE = "available"
    IN_USE = "in-use"
    EXTENDING = "extending"
    REVERTING = "reverting"
    DELETING = "deleting"
    ERROR = "error"
    ERROR_DELETING = "error_deleting"
    ERROR_EXTENDING = "error_extending"
    DELETED = "deleted"


class SnapshotState(StrEnum):
    CREATING = "creating"
    AVAILABLE = "available"
    DELETING = "deleting"
    ERROR = "error"
    ERROR_DELETING = "error_deleting"
    DELETED = "deleted"


_V = VolumeState
_LOST = (_V.ERROR, _V.ERROR_DELETING, _V.ERROR_EXTENDING)
VOLUME_TABLE = table(
    "volume",
    {
        (_V.CREATING, "download"): _V.DOWNLOADING,
        (_V.CREATING, "made"): _V.AVAILABLE,
        (_V.DOWNLOADING, "made"): _V.AVAILABLE,
        (_V.CREATING, "fail"): _V.ERROR,
        (_V.DOWNLOADING, "fail"): _V.ERROR,
        (_V.AVAILABLE, "extend"): _V.EXTENDING,
        (_V.EXTENDING, "extended"): _V.AVAILABLE,
        (_V.EXTENDING, "fail"): _V.ERROR_EXTENDING,
        (_V.AVAILABLE, "revert"): _V.REVERTING,
        (_V.REVERTING, "reverted"): _V.AVAILABLE,
        (_V.REVERTING, "fail"): _V.ERROR,
        **{(state, "delete"): _V.DELETING for state in (_V.AVAILABLE, *_LOST)},
        **{(state, "force_delete"): _V.DELETING for state in _V if state not in (_V.DELETED, _V.IN_USE)},
        (_V.DELETING, "deleted"): _V.DELETED,
        (_V.DELETING, "fail"): _V.ERROR_DELETING,
        # os-reset_status: what an administrator says it is
        **{(a, f"reset_{b}"): b for a in _V for b in _V if _V.DELETED not in (a, b)},
    },
)

_S = SnapshotState
SNAPSHOT_TABLE = table(
    "volume snapshot",
    {
        (_S.CREATING, "made"): _S.AVAILABLE,
        (_S.CREATING, "fail"): _S.ERROR,
        **{(state, "delete"): _S.DELETING for state in (_S.AVAILABLE, _S.ERROR, _S.ERROR_DELETING)},
        **{(state, "force_delete"): _S.DELETING for state in _S if state is not _S.DELETED},
        (_S.DELETING, "deleted"): _S.DELETED,
        (_S.DELETING, "fail"): _S.ERROR_DELETING,
        **{(a, f"reset_{b}"): b for a in _S for b in _S if _S.DELETED not in (a, b)},
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeType(Record):
    """extra_specs: what its volumes ask of a pool. projects: who may use one that is not public."""

    name: str
    description: str | None = None
    public: bool = True
    extra_specs: dict[str, str] = field(default_factory=dict)
    projects: tuple[str, ...] = ()
    default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumePool(Record):
    """A pool on a node: id is NODE@BACKEND#POOL, as Cinder names it. total, free: GiB, as the node last said. promised:
    sum of its volumes' sizes, kept by conditional updates in their transactions. capabilities: names of the driver's
    true ones. absent: the node says no more that it has it."""

    node: str
    driver: str
    zone: str = "nova"
    total: int = 0
    free: int = 0
    promised: int = 0
    shared: bool = False
    enabled: bool = True
    absent: bool = False
    capabilities: tuple[str, ...] = ()

    @property
    def backend(self) -> str:
        return self.id.partition("@")[2].partition("#")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Record):
    """size: GiB. pool: "" until placement chose one. job_id: of the job that owns it. message: what went wrong, for
    people. reason: why this pool."""

    project_id: str
    user_id: str
    size: int
    name: str = ""
    description: str | None = None
    state: VolumeState = VolumeState.CREATING
    type_id: str = ""
    zone: str = "nova"
    pool: str = ""
    bootable: bool = False
    multiattach: bool = False
    read_only: bool = False
    source_volume_id: str = ""
    snapshot_id: str = ""
    image_id: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    image_metadata: dict[str, str] = field(default_factory=dict)
    job_id: str = ""
    message: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSnapshot(Record):
    """size: GiB of the volume when it was taken. progress: percent."""

    project_id: str
    user_id: str
    volume_id: str
    size: int
    name: str = ""
    description: str | None = None
    state: SnapshotState = SnapshotState.CREATING
    progress: int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    job_id: str = ""
    message: str = ""
