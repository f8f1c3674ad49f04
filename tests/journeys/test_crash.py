"""kill -9 at every step of every server job: before the step, after its effect, after its record.

After a restart each job has ended, the server is whole in one of the states that make sense, and nothing is left over.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.crash_child import NAME
from trilith.jobs.kinds import KINDS

ROOT = Path(__file__).parents[2]
MOMENTS = ("before", "effect", "record")

#: action → (its job kind, what must be done before)
ACTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "create": ("server.create", ()),
    "delete": ("server.delete", ("create",)),
    "resize": ("server.resize", ("create",)),
    "confirm": ("server.confirm_resize", ("create", "resize")),
    "revert": ("server.revert_resize", ("create", "resize")),
    "rebuild": ("server.rebuild", ("create",)),
    "snapshot": ("server.snapshot", ("create",)),
    "backup": ("server.backup", ("create",)),
    "stop": ("server.stop", ("create",)),
    "migrate": ("server.migrate", ("create",)),
    "confirm-move": ("server.confirm_resize", ("create", "migrate")),
    "revert-move": ("server.revert_resize", ("create", "migrate")),
    "live": ("server.live_migrate", ("create-vm",)),
    "shelve": ("server.shelve", ("create",)),
    "offload": ("server.shelve_offload", ("create",)),
    "unshelve": ("server.unshelve", ("create", "shelve")),
    "rescue": ("server.rescue", ("create",)),
    "unrescue": ("server.unrescue", ("create", "rescue")),
    "password": ("server.password", ("create",)),
    "evacuate": ("server.evacuate", ("create",)),
    "inject": ("server.inject_network", ("create",)),
    "attach": ("server.attach_port", ("create",)),
    "detach": ("server.detach_port", ("create",)),
}
#: action → what the child is asked for, where that is another
ASKED = {"confirm-move": "confirm", "revert-move": "revert", "offload": "shelve"}
#: action → the server's state after it, and its guests' powers; active and one that runs for the others
AFTER: dict[str, tuple[str, list[str]]] = {
    "resize": ("resized", ["running"]),
    "migrate": ("resized", ["running", "shutdown"]),
    "stop": ("stopped", ["shutdown"]),
    "shelve": ("shelved_offloaded", []),
    "offload": ("shelved_offloaded", []),
    "rescue": ("rescued", ["running"]),
}
POINTS = [
    (action, step.name, moment)
    for action, (kind, _) in ACTIONS.items()
    for step in KINDS[kind].steps
    for moment in MOMENTS
]


def child(state: Path, action: str, crash_at: str = "") -> tuple[int, dict[str, Any]]:
    """Exit status, and what the child said when it came to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.journeys.crash_child", str(state), action, crash_at],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"server"')]
    if not crash_at:
        assert done.returncode == 0, done.stderr[-3000:]
    return done.returncode, json.loads(lines[-1]) if lines else {}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Path]:
    """State directories in which the steps before have been done, to be copied."""
    made: dict[tuple[str, ...], Path] = {}
    for _, before in ACTIONS.values():
        if before in made:
            continue
        state = tmp_path_factory.mktemp("before") / "state"
        if before[:-1] in made:
            shutil.copytree(made[before[:-1]], state, ignore=shutil.ignore_patterns("*.sock"))
        child(state, before[-1] if before else "nothing")
        made[before] = state
    return made


def whole(action: str, found: dict[str, Any]) -> list[str]:
    """What is wrong, in words."""
    wrong: list[str] = []

    def expect(what: str, is_: Any, *wanted: Any) -> None:
        if is_ not in wanted:
            wrong.append(f"{what}: {is_!r}, not {' or '.join(repr(w) for w in wanted)}")

    server = found["server"]
    expect("open jobs", [k for k, s in found["jobs"].items() if s not in ("done", "failed", "cancelled")], [])
    if action == "delete":
        expect("server", server, None)
        expect("guests", found["guests"], {})
        for what, empty in {
            "ports": 0, "disks": [], "kept": [], "plugged": {}, "used": 0, "id_ranges": 0, "allocations": [],
            "server_blobs": 0,
        }.items():  # fmt: skip
            expect(what, found[what], empty)
        expect("quota", set(found["quota"].values()), {0})
        return wrong
    expect("task", server["task"], "")
    expect("job", server["job"], "")
    expect("fault", server["fault"], "")
    ports = {"attach": 2, "detach": 0}.get(action, 1)
    expect("ports", found["ports"], ports)
    expect("addresses of ports", found["server_addresses"], ports)
    state, powers = AFTER.get(action, ("active", ["running"]))
    expect("plugged", found["plugged"], {server["node"]: ports} if powers and ports else {})
    expect("id ranges", found["id_ranges"], 0 if action == "live" else 1)
    expect("incoming", found["incoming"], [])
    expect("state", server["state"], state)
    expect("guests", sorted(found["guests"].values()), powers)
    expect("old node", bool(server["old_node"]), action == "migrate")
    expect("rescue", server["rescue"], action == "rescue")
    if powers:
        expect("power where it is", found["guests"].get(server["node"]), powers[0])
    expect("disks of a rescue", [d for d in found["disks"] if d.endswith(".rescue")] != [], action == "rescue")
    flavor = "m1.micro" if action in ("resize", "confirm") else "m1.nano"
    expect("flavor", server["flavor"], flavor)
    expect("image", server["image"], "tiny-alt" if action == "rebuild" else "tiny")
    vcpus = 2 if flavor == "m1.micro" else 1
    expect("cores", found["quota"]["cores"], vcpus)
    # a move that waits for its confirmation holds what it needs on both nodes
    held = {"migrate": 2 * vcpus, "shelve": 0, "offload": 0}
    expect("used", found["used"], held.get(action, vcpus))
    moves = {
        "migrate": ["finished"],
        "confirm-move": ["confirmed"],
        "revert-move": ["reverted"],
        "live": ["completed"],
        "evacuate": ["done"],
        "resize": ["finished"],
        "confirm": ["confirmed"],
        "revert": ["reverted"],
    }
    expect("migrations", found["migrations"], moves.get(action, []))
    expect("blobs of migrations", found["blobs"], 1 if action == "migrate" else 0)
    expect("blobs of the server", found["server_blobs"], 2 if action == "migrate" else 1)
    expect("shelved image", f"{NAME}-shelved" in found["images"], action in ("shelve", "offload"))
    if action != "resize":
        expect("kept roots", found["kept"], [])
    if action in ("snapshot", "backup"):
        expect("image state", found["images"]["copy"], "active")
    return wrong


def crash_and_recover(state: Path, action: str, step: str, moment: str) -> list[str]:
    kind = ACTIONS[action][0]
    status, _ = child(state, ASKED.get(action, action), f"{kind}:{step}:{moment}")
    if status != -9:
        return [f"the process was not killed at {step}:{moment} (status {status})"]
    # what is left on a lost node goes when it reports again
    _, found = child(state, "reports" if action == "evacuate" else "nothing")
    return whole(action, found)


@pytest.mark.journey
@pytest.mark.timeout(600)
@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_killed_anywhere_it_ends_whole(action: str, prepared: dict[tuple[str, ...], Path], tmp_path: Path) -> None:
    points = [(step, moment) for a, step, moment in POINTS if a == action]

    def one(point: tuple[str, str]) -> tuple[str, list[str]]:
        step, moment = point
        state = tmp_path / f"{step}-{moment}"
        shutil.copytree(prepared[ACTIONS[action][1]], state, ignore=shutil.ignore_patterns("*.sock"))
        return f"{step}:{moment}", crash_and_recover(state, action, step, moment)

    with ThreadPoolExecutor(2) as pool:
        results = dict(pool.map(one, points))
    wrong = {point: problems for point, problems in results.items() if problems}
    assert not wrong, json.dumps(wrong, indent=1)
