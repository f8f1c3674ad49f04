"""Where a volume goes: hard rules first, each refusal in words, then the pool with most room. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from trilith import errors

#: extra specs of a volume type that are not asked of a pool (Cinder's own names)
_NOT_ASKED = ("multiattach", "replication_enabled")
_CAPABILITIES = "capabilities:"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolCandidate:
    """total, free, promised: GiB. capabilities: names of what it can do. ratio: how often a thin pool's size may be
    promised."""

    name: str
    backend: str
    driver: str
    zone: str
    total: int
    free: int
    promised: int
    capabilities: frozenset[str] = frozenset()
    ratio: float = 1.0
    enabled: bool = True
    alive: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeDemand:
    """pool: the only one that it can be in, as that of its source; "" for any. specs: its type's extra specs."""

    size: int
    zone: str = ""
    pool: str = ""
    specs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolDecision:
    pool: str
    reason: str
    passed_over: dict[str, str]


def choose_pool(demand: VolumeDemand, pools: list[PoolCandidate]) -> PoolDecision:
    """Raises NoValidHost with the reason for each pool."""
    refused = {p.name: why for p in pools if (why := _refusal(demand, p))}
    fitting = sorted((p for p in pools if p.name not in refused), key=lambda p: (-_left(p), p.name))
    if not fitting:
        detail = "; ".join(f"{n}: {r}" for n, r in sorted(refused.items())) or "the cloud has no pools"
        raise errors.NoValidHost(f"No valid backend was found. {detail}", reasons=refused)
    best = fitting[0]
    for other in fitting[1:]:
        refused[other.name] = f"fits, but has {_left(other):.0f} GiB left against {_left(best):.0f}"
    return PoolDecision(pool=best.name, reason=f"{best.name} ({_left(best):.0f} GiB left)", passed_over=refused)


def _left(pool: PoolCandidate) -> float:
    """GiB that may still be promised."""
    return pool.total * (pool.ratio if "thin" in pool.capabilities else 1.0) - pool.promised


def _refusal(demand: VolumeDemand, pool: PoolCandidate) -> str:
    if demand.pool and pool.name != demand.pool:
        return f"the volume must be where its source is, in {demand.pool}"
    if not pool.enabled:
        return "out of service (disabled)"
    if not pool.alive:
        return "its node is not connected"
    if demand.zone and pool.zone != demand.zone:
        return f"availability zone: needed {demand.zone}, is in {pool.zone}"
    for key, value in sorted(demand.specs.items()):
        if why := _unlike(key.removeprefix(_CAPABILITIES), value, pool):
            return why
    if demand.size > _left(pool):
        return f"room: needed {demand.size} GiB, had {_left(pool):.0f}"
    return ""


def _unlike(key: str, value: str, pool: PoolCandidate) -> str:
    """Why the pool is not what an extra spec asks for. Scoped keys of other drivers ask nothing, as in Cinder."""
    if key in _NOT_ASKED or ":" in key:
        return ""
    if key == "volume_backend_name":
        return "" if value == pool.backend else f"volume_backend_name: needed {value}, is {pool.backend}"
    wanted = value.removeprefix("<is>").strip().lower()
    if wanted not in ("true", "false"):
        return f"{key}: needed {value}, which no pool says of itself"
    has = key in pool.capabilities
    return "" if has is (wanted == "true") else f"{key}: needed {wanted}, is {str(has).lower()}"
