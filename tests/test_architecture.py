"""The five rules of the house, each a short test (docs/architecture.md)."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from trilith import errors
from trilith.config import Settings
from trilith.model.states import TABLES

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "trilith"
FILES = sorted(SRC.rglob("*.py"))

#: room → rooms that it may import (its own, errors and model are always allowed where listed)
MAY: dict[str, set[str]] = {
    "model": {"errors"},
    "placement": {"errors", "model"},
    "store": {"errors", "model"},
    "drivers": {"errors", "model", "drivers"},
    "images": {"errors", "model"},
    "jobs": {"errors", "model", "store", "jobs", "placement", "commands", "cluster", "agent", "reconcile", "config",
             "drivers.contract"},
    "commands": {"errors", "model", "store", "placement", "jobs", "config"},
    "api": {"errors", "model", "store", "commands", "config", "jobs.services", "agent.calls"},
    "reconcile": {"errors", "model", "store", "commands", "jobs", "agent.calls", "drivers.contract", "config"},
    "cluster": {"errors", "model", "store", "agent.wire", "config"},
    "agent": {"errors", "model", "drivers", "config"},
}  # fmt: skip


def room(path: Path) -> str:
    relative = path.relative_to(SRC)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@cache
def imports(path: Path) -> frozenset[str]:
    """Dotted names below `trilith` that a file imports anywhere, inside functions too; not for type checking only."""
    tree = ast.parse(path.read_text())
    guarded: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            guarded |= {child for statement in node.body for child in ast.walk(statement)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in guarded:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "trilith":
            base = node.module.removeprefix("trilith").lstrip(".")
            found |= {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("trilith.") for a in node.names if a.name.startswith("trilith.")}
    return frozenset(found)


@pytest.mark.parametrize("name", sorted(MAY))
def test_rooms_import_only_what_they_may(name: str) -> None:
    allowed = MAY[name] | {name}
    wrong = [
        f"{path.relative_to(SRC)} imports {target}"
        for path in FILES
        if room(path) == name
        for target in imports(path)
        if not any(target == a or target.startswith(a + ".") for a in allowed)
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_that_the_agent_reaches_reaches_the_store() -> None:
    modules = {str(p.relative_to(SRC).with_suffix("")).replace("/", ".").removesuffix(".__init__"): p for p in FILES}
    seen: set[str] = set()
    todo = [m for m in modules if m.startswith("agent.")]
    while todo:
        module = todo.pop()
        if module in seen or module not in modules:
            continue
        seen.add(module)
        for target in imports(modules[module]):
            todo += [target, target.rpartition(".")[0]]
    assert not [m for m in seen if m.startswith("store")]


def test_drivers_import_only_the_contract_and_their_own_package() -> None:
    wrong = []
    for path in FILES:
        if room(path) != "drivers" or path.parent == SRC / "drivers":
            continue
        own = "drivers." + path.relative_to(SRC / "drivers").parts[0]
        for target in imports(path):
            shared = ("drivers.contract", "drivers.volume_contract")
            foreign = target.startswith("drivers.") and not target.startswith((own, *shared))
            wrong += [f"{path.relative_to(SRC)} imports {target}"] if foreign else []
    assert not wrong, "\n".join(wrong)


_IO = {"socket", "subprocess", "asyncio", "httpx", "sqlalchemy", "os", "pathlib", "shutil", "threading"}


@pytest.mark.parametrize("name", ["model", "placement", "insight"])
def test_pure_rooms_do_no_io(name: str) -> None:
    wrong = []
    for path in FILES:
        if room(path) != name:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                wrong += [f"{path.name}: {a.name}" for a in node.names if a.name.split(".")[0] in _IO]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in _IO:
                wrong.append(f"{path.name}: {node.module}")
    assert not wrong


def test_no_file_is_over_600_lines() -> None:
    long = {str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text().splitlines())) > 600}
    assert not long


def test_protocols_have_at_most_20_methods() -> None:
    tree = ast.parse((SRC / "drivers" / "contract.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(b) for b in node.bases):
            methods = [
                n
                for n in node.body
                if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
                and not any("property" in ast.unparse(d) for d in n.decorator_list)
            ]
            assert len(methods) <= 20, f"{node.name}: {len(methods)}"


def test_a_state_is_written_only_by_its_table() -> None:
    """`state=` with a literal state in a change is found; creation and `**end(...)`/`**move(...)` are the ways."""
    pattern = re.compile(r"tx\.change\([^)]*?\bstate=(Server|Image|Job)State\.", re.S)
    wrong = [str(p.relative_to(SRC)) for p in FILES if pattern.search(p.read_text())]
    assert not wrong, wrong


def test_nobody_asks_for_a_driver_by_name() -> None:
    pattern = re.compile(r"""if [^\n]*\bdriver\w*(\.name)?\s*(==|!=|in)\s*[\[(]?["'](xen|kvm|lxc|libvirt)""")
    wrong = [str(p.relative_to(SRC)) for p in FILES if pattern.search(p.read_text())]
    assert not wrong


def test_no_module_is_named_for_nothing() -> None:
    vague = {"utils", "helpers", "common", "manager", "util", "helper", "misc"}
    assert not [str(p) for p in FILES if p.stem in vague]


def documented(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def test_every_setting_is_documented() -> None:
    text = documented("settings.md")
    assert not [f for f in Settings.__dataclass_fields__ if f"`{f}`" not in text]


def test_every_error_code_is_documented() -> None:
    text = documented("errors.md")
    assert not [code for code in errors.BY_CODE if f"`{code}`" not in text]


def test_every_job_kind_is_documented() -> None:
    from trilith.jobs.kinds import KINDS

    text = documented("jobs.md")
    assert not [kind for kind in KINDS if f"`{kind}`" not in text]


def test_every_node_call_is_documented() -> None:
    from trilith.agent.calls import CALLS

    text = documented("jobs.md")
    assert not [call for call in CALLS if f"`{call}`" not in text]


def test_every_capability_is_documented() -> None:
    from trilith.drivers.contract import ComputeCapabilities, StorageCapabilities

    text = documented("capabilities.md")
    fields = [*ComputeCapabilities.__dataclass_fields__, *StorageCapabilities.__dataclass_fields__]
    assert not [f for f in fields if f"`{f}`" not in text]


def test_the_diagrams_of_states_are_made_from_the_tables() -> None:
    from docs.states import render

    assert documented("states.md") == render(TABLES), "run: python -m docs.states"
