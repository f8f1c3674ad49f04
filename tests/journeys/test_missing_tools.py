"""A host without one of the programs that guests are made with: the fault names it, nothing is left, and with the
program there the next try works. Runs in a mount namespace of its own, where programs can be hidden from this cloud
alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.harness import Cloud, cloud, run
from trilith.images import BuiltImage

INSIDE = os.environ.get("TRILITH_TEST_MOUNTNS") == "1"
pytestmark = [pytest.mark.root, pytest.mark.ovn, pytest.mark.lxc, pytest.mark.libvirt, pytest.mark.journey]
inside = pytest.mark.skipif(not INSIDE, reason="runs in the namespace that test_in_a_namespace_of_its_own makes")


@pytest.mark.skipif(INSIDE, reason="is in it already")
@pytest.mark.timeout(420)
def test_in_a_namespace_of_its_own(tmp_path: Path, tiny_image: BuiltImage) -> None:
    # "slave": what is mounted inside stays inside
    argv = ["unshare", "--mount", "--propagation", "slave", "--", sys.executable, "-m", "pytest", "-x", __file__]
    argv += ["-p", "no:cacheprovider", f"--basetemp={tmp_path / 'inside'}"]
    done = subprocess.run(
        argv,
        env=os.environ | {"TRILITH_TEST_MOUNTNS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@contextlib.contextmanager
def hidden(program: str, folder: Path) -> Iterator[None]:
    """`program` is not installed, for all that runs in this mount namespace: a layer over its directory has a
    whiteout of its name (Linux, Documentation/filesystems/overlayfs.rst)."""
    found = shutil.which(program)
    assert found, f"{program} is not there to be hidden"
    place = Path(found).parent.resolve()
    upper, work = folder / f"{program}.upper", folder / f"{program}.work"
    for path in (upper, work):
        path.mkdir()
    os.mknod(upper / program, stat.S_IFCHR, os.makedev(0, 0))
    run("mount", "-t", "overlay", "-o", f"lowerdir={place},upperdir={upper},workdir={work}", "overlay", str(place))
    try:
        assert shutil.which(program) is None
        yield
    finally:
        run("umount", "--lazy", str(place))  # lazy: what was started meanwhile may run on


@pytest.fixture(scope="module")
def real(tiny_image: BuiltImage) -> Iterator[Cloud]:
    with cloud(tiny_image) as running:
        yield running


@inside
@pytest.mark.parametrize(
    ("pillar", "program"),
    # mke2fs first: it is asked for once an image. (QEMU is not here: our libvirtd has mounts of its own.)
    [("lxc", "lxc-start"), ("kvm", "mke2fs"), ("kvm", "qemu-img")],
)
def test_the_fault_names_the_program_and_the_next_try_works(
    real: Cloud, tmp_path: Path, pillar: str, program: str
) -> None:
    with hidden(program, tmp_path):
        server = real.order("without", pillar)
        fault = real.failure(server)
        print(f"{program}: {fault[:400]}")
        assert program in fault
        real.delete(server)
        assert real.traces(server.id) == []
    works = real.boot("with", pillar)
    real.delete(works)
