"""How Nova shows a server's state: status, vm_state, task_state, power_state."""

from __future__ import annotations

from trilith.model.guest import PowerState
from trilith.model.server import Server, ServerState

_S = ServerState
_REBUILD = {"rebuilding": "REBUILD"}
_RESIZE = {"resize_prep": "RESIZE"}
_MIGRATE = {"migrating": "MIGRATING"}

#: vm_state → (status, task_state → status while that task runs); Nova's _STATE_MAP
STATUSES: dict[ServerState, tuple[str, dict[str, str]]] = {
    _S.ACTIVE: (
        "ACTIVE",
        {
            "rebooting": "REBOOT",
            "rebooting_hard": "HARD_REBOOT",
            "updating_password": "PASSWORD",
            **_REBUILD,
            **_RESIZE,
            **_MIGRATE,
        },
    ),
    _S.BUILDING: ("BUILD", {}),
    _S.STOPPED: ("SHUTOFF", {**_RESIZE, **_REBUILD}),
    _S.RESIZED: ("VERIFY_RESIZE", {"resize_reverting": "REVERT_RESIZE"}),
    _S.PAUSED: ("PAUSED", _MIGRATE),
    _S.SUSPENDED: ("SUSPENDED", {}),
    _S.RESCUED: ("RESCUE", {}),
    _S.ERROR: ("ERROR", _REBUILD),
    _S.DELETED: ("DELETED", {}),
    _S.SOFT_DELETED: ("SOFT_DELETED", {}),
    _S.SHELVED: ("SHELVED", {}),
    _S.SHELVED_OFFLOADED: ("SHELVED_OFFLOADED", {}),
}

#: tasks of ours that are no task_state in Nova
_SILENT = frozenset({"attaching"})

#: Nova's power_state numbers
POWER = {
    PowerState.UNKNOWN: 0,
    PowerState.RUNNING: 1,
    PowerState.PAUSED: 3,
    PowerState.SHUTDOWN: 4,
    PowerState.CRASHED: 6,
    PowerState.SUSPENDED: 7,
}

PROGRESS_STATUSES = frozenset({"ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING"})
FAULT_STATUSES = frozenset({"ERROR", "DELETED"})


def vm_state(server: Server) -> str:
    return "deleted" if server.deleted_at else str(server.state)


def task_state(server: Server) -> str | None:
    if server.deleted_at or server.task in _SILENT:
        return None
    return server.task or None


def status(server: Server) -> str:
    if server.deleted_at:
        return "DELETED"
    plain, by_task = STATUSES[server.state]
    return by_task.get(server.task, plain)


def states_of(statuses: list[str]) -> tuple[set[ServerState], set[str]]:
    """The vm_states and the tasks ("default" for the plain one) that show as one of the statuses."""
    wanted = {s.lower() for s in statuses}
    states: set[ServerState] = set()
    tasks: set[str] = set()
    for state, (plain, by_task) in STATUSES.items():
        if plain.lower() in wanted:
            states.add(state)
            tasks.add("default")
        for task, shown in by_task.items():
            if shown.lower() in wanted:
                states.add(state)
                tasks.add(task)
    return states, tasks
