"""Control groups by their files, on a tree of plain ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from trilith.drivers.lxc import cgroup
from trilith.errors import Conflict

_MIB = 1 << 20


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids\n")
    group = tmp_path / "one"
    group.mkdir()
    values = {"cpu.max": "max 100000", "memory.max": "max", "memory.high": "max", "memory.swap.max": "max"}
    for name, value in (values | {"pids.max": "max", "memory.current": str(200 * _MIB)}).items():
        (group / name).write_text(value)
    return tmp_path


def test_v2_is_found_with_its_controllers(tree: Path) -> None:
    layout = cgroup.detect(tree)
    assert (layout.version, layout.missing(), layout.freezer, layout.swap) == (2, [], True, True)
    assert layout.key() == "lxc.cgroup2"


def test_v2_limits_are_written(tree: Path) -> None:
    cgroup.detect(tree).apply("one", cgroup.Limits(vcpus=2, memory_mib=256, processes_max=50))
    found = {path.name: path.read_text() for path in (tree / "one").iterdir()}
    assert found["cpu.max"] == "200000 100000"
    assert found["memory.max"] == str(256 * _MIB)
    assert found["memory.swap.max"] == "0"
    assert found["pids.max"] == "50"
    assert found["memory.high"] == "max"


def test_v2_does_not_kill_by_a_limit_below_what_is_used(tree: Path) -> None:
    """The kernel would take a smaller memory.max, and kill until it holds; v1 refuses it."""
    with pytest.raises(Conflict, match="uses 200 MiB"):
        cgroup.detect(tree).apply("one", cgroup.Limits(vcpus=2, memory_mib=100, processes_max=50))
    assert (tree / "one" / "memory.max").read_text() == "max"
    assert (tree / "one" / "memory.high").read_text() == "max"
    assert (tree / "one" / "cpu.max").read_text() == "max 100000", "all or nothing"
