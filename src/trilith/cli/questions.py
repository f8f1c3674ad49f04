"""The advisor's questions at a terminal, a room of them at a time, which may be passed over whole."""

from __future__ import annotations

from typing import Any

import typer

from trilith.cli import screen
from trilith.placement.advisor.demands import BY_NAME, Demand
from trilith.placement.advisor.quantity import NotAllowed

_YES = {"y": True, "yes": True, "true": True, "是": True, "n": False, "no": False, "false": False, "否": False}

#: a heading in both languages → the demands under it, in the order of asking
ROOMS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("What it is, and how large", "用途与规模", ("application", "site", "nodes", "servers")),
    (
        "Isolation",
        "隔离与合规",
        ("tenants", "shared_kernel_allowed", "hardware_isolation", "compliance", "confidential_computing"),
    ),
    (
        "Kernel and machine",
        "内核与机器",
        ("operating_system", "own_kernel", "kernel_modules", "nested_virtualization", "firmware", "tpm"),
    ),
    (
        "Speed and density",
        "速度与密度",
        ("start_within", "latency", "network", "packet_rate", "memory_per_guest", "guests_per_node"),
    ),
    ("State and moving", "状态与迁移", ("stateful", "live_migration", "cross_cloud_migration")),
    ("Devices", "设备", ("gpus", "virtual_functions")),
    ("People", "人员", ("team", "operating_effort")),
)

_WORDS = {
    "title": ("What is it called?", "工作负载的名称？"),
    "room": ("Does it demand anything here?", "此类是否有需求？"),
    "flag": ("yes or no", "是 或 否"),
    "enter": ("Enter passes over a question.", "按回车跳过问题。"),
}


def ask(language: str = "en") -> dict[str, Any]:
    """The demands as fields of /trilith/v1/advice. Questions go to stderr: the answer alone is on stdout."""
    chinese = language == "zh"
    typer.echo(_WORDS["enter"][chinese], err=True)
    found: dict[str, Any] = {}
    if title := _line(_WORDS["title"][chinese]):
        found["title"] = title[:200]
    for heading, heading_zh, names in ROOMS:
        words = ", ".join(_about(BY_NAME[n], chinese) for n in names)
        typer.echo(f"\n{heading_zh if chinese else heading}: {words}", err=True)
        if not _YES.get(_line(f"{_WORDS['room'][chinese]} [y/N]").lower(), False):
            continue
        for name in names:
            value = _answer(BY_NAME[name], chinese)
            if value is not None:
                found[name] = value
    return found


def _answer(demand: Demand, chinese: bool) -> Any:
    """Asked again until it is allowed, or passed over."""
    allowed = _WORDS["flag"][chinese] if demand.flag else demand.allowed
    while True:
        text = _line(f"  {_about(demand, chinese)} ({allowed})")
        if not text:
            return None
        given: Any = text
        if demand.flag:
            given = _YES.get(text.lower(), text)
        elif demand.vocabulary is None and text.isascii() and text.isdigit():
            given = int(text)
        try:
            demand.parse(given)
        except NotAllowed as error:
            typer.echo(f"  {screen.printable(error.message)}: {error.allowed}", err=True)
            continue
        return given


def _about(demand: Demand, chinese: bool) -> str:
    """What the demand is called where it has no value yet."""
    return (demand.words_zh if chinese else demand.words).format("…").strip()


def _line(question: str) -> str:
    answer: str = typer.prompt(question, default="", show_default=False, err=True)
    return answer.strip()
