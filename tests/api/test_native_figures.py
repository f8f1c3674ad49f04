"""/trilith/v1/figures: kept by an administrator, shown with its ratio, refused where it says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import ApiCloud

V1 = "/trilith/v1"
PATH = f"{V1}/figures/sim-1/lxc"
SPREAD = {"median": 250.0, "p10": 240.0, "p90": 300.0, "samples": 5}
HOST = {"name": "sim-1", "cpu": "a cpu", "threads": 2, "memory_mib": 1024, "kernel": "6.1", "load": 0.25}
BODY: dict[str, Any] = {
    "guest": "linux",
    "emulated": False,
    "about": "tiny, 1 vCPU, 256 MiB",
    "host": HOST,
    "measured": [
        {"name": "start_to_first_answer", "guest": SPREAD, "bare_process": SPREAD | {"median": 244.0}, "how": "console"}
    ],
    "left_out": {"disk_throughput": "not asked for"},
}


async def test_kept_shown_and_forgotten(cloud: ApiCloud) -> None:
    admin = await cloud.token()
    assert (await cloud.call("GET", f"{V1}/figures", admin)).json() == {"figures": []}
    made = await cloud.call("PUT", PATH, admin, json=BODY)
    assert made.status_code == 200
    shown = made.json()
    assert (shown["node"], shown["pillar"], shown["left_out"]) == ("sim-1", "lxc", BODY["left_out"])
    assert shown["measured_at"].endswith("Z")
    one = shown["measured"][0]
    assert (one["unit"], one["guest"], one["ratio"]) == ("ms", SPREAD, 1.025)
    assert (await cloud.call("GET", f"{V1}/figures?node=sim-1", admin)).json() == {"figures": [shown]}
    assert (await cloud.call("GET", f"{V1}/figures?node=sim-2", admin)).json() == {"figures": []}
    for _ in range(2):
        assert (await cloud.call("DELETE", f"{V1}/figures/sim-1", admin)).status_code == 204
    assert (await cloud.call("GET", f"{V1}/figures", admin)).json() == {"figures": []}


@pytest.mark.parametrize(
    ("path", "changes", "status", "words"),
    [
        (f"{V1}/figures/none/lxc", {}, 404, "no node none"),
        (f"{V1}/figures/sim-1/docker", {}, 400, "There are: kvm, xen, lxc"),
        (PATH, {"measured": []}, 400, "measured"),
        (PATH, {"guest": "windows"}, 400, "guest"),
        (PATH, {"host": HOST | {"secret": "x"}}, 400, "secret"),
        (PATH, {"left_out": {"speed": "none"}}, 400, "left_out"),
        (PATH, {"measured": [{"name": "speed", "guest": SPREAD}]}, 400, "name"),
        (PATH, {"measured": [{"name": "system_call", "guest": SPREAD | {"p10": 251.0}}]}, 400, "not in order"),
        (PATH, {"measured": [{"name": "system_call", "guest": SPREAD | {"samples": 0}}]}, 400, "samples"),
        (PATH, {"measured": [{"name": "system_call", "guest": SPREAD}] * 2}, 400, "twice"),
    ],
)
async def test_bad_input_is_told(cloud: ApiCloud, path: str, changes: dict[str, Any], status: int, words: str) -> None:
    answer = await cloud.call("PUT", path, await cloud.token(), json=BODY | changes)
    assert answer.status_code == status
    assert words in answer.text


async def test_only_an_administrator(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    for method, path in (("GET", f"{V1}/figures"), ("PUT", PATH), ("DELETE", f"{V1}/figures/sim-1")):
        json = {"json": BODY} if method == "PUT" else {}
        assert (await cloud.call(method, path, alice, **json)).status_code == 403
