"""This repository and its virtual environment as a file system, to be mounted at /opt/trilith of the host."""

from __future__ import annotations

import compileall
import shutil
import sys
from pathlib import Path

from demo import pictures

from tests.journeys.ordinary_host.image import run

ROOT = Path(__file__).parents[3]
PLACE = "/opt/trilith"
_PARTS = ("src", "tests", "demo", "bench", "deploy", "scripts", "docs", "Makefile", "pyproject.toml", "README.md")
#: of the environment, what only a developer at a desk uses
_NOT = ("mypy", "mypyc", "ruff", "pip", "schemathesis", "hypothesis", "*.mypyc*", "osc_placement")
_MIB = 2048


def packed(work: Path, *, key: str) -> Path:
    """A raw disk with it, and with the cloud's image `tiny`, built. key: who may log in as root."""
    image, _ = pictures.built("tiny")
    tree, disk = work / "repository", work / "repository.raw"
    skip = shutil.ignore_patterns(".mypy_cache", ".pytest_cache", ".ruff_cache")
    for name in _PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, symlinks=True, ignore=skip)
        else:
            tree.mkdir(exist_ok=True)
            shutil.copy2(source, tree / name)
    _environment(tree / ".venv")
    kept = tree / image.path.parent.relative_to(ROOT)
    kept.mkdir(parents=True)
    for path in image.path.parent.glob("tiny.*"):
        shutil.copy2(path, kept)
    login = tree / ".login"
    login.mkdir(mode=0o700)
    (login / "authorized_keys").write_text(key + "\n")
    # byte code is made where the processor is a real one
    for name in ("src", "tests", "demo"):
        compileall.compile_dir(tree / name, stripdir=str(tree), prependdir=PLACE, quiet=2)
    with disk.open("wb") as file:
        file.truncate(_MIB << 20)
    run("chown", "-R", "root:root", str(tree), timeout=60)
    run("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-d", str(tree), str(disk), timeout=300)
    shutil.rmtree(tree)
    return disk


def _environment(made: Path) -> None:
    """The running one, as if it had been made at its new place."""
    here = Path(sys.prefix)
    packages = Path("lib") / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    shutil.copytree(here / packages, made / packages, symlinks=True, ignore=shutil.ignore_patterns(*_NOT))
    for old in (made / packages).glob("__editable__.trilith*"):
        old.unlink()
    (made / packages / "trilith.pth").write_text(f"{PLACE}/src\n")
    (made / "bin").mkdir()
    for name in ("python", "python3"):
        (made / "bin" / name).symlink_to("/usr/bin/python3")
    for script in (here / "bin").iterdir():
        text = script.read_bytes() if script.is_file() and not script.is_symlink() else b""
        if text.startswith(b"#!" + str(here).encode()):
            moved = made / "bin" / script.name
            moved.write_bytes(f"#!{PLACE}/.venv/bin/python3\n".encode() + text.partition(b"\n")[2])
            moved.chmod(0o755)
    version = ".".join(map(str, sys.version_info[:3]))
    (made / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}\n")
    (made / ".trilith-kvm").touch()  # scripts/setup.sh finds it done
