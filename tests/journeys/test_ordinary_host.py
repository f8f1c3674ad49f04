"""Trilith on a host as its users have one: Debian 12, systemd as PID 1, cgroup v2 alone, openvswitch.ko, AppArmor.

The host is a machine of QEMU without KVM, with this repository at /opt/trilith; what is tested runs inside of it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator

import pytest

from tests.journeys.ordinary_host.image import built
from tests.journeys.ordinary_host.machine import Machine, machine

pytestmark = [pytest.mark.soak, pytest.mark.root, pytest.mark.timeout(3600)]

TOOLS = ("mmdebstrap", "qemu-system-x86_64", "qemu-img", "mkfs.ext4", "ssh", "ssh-keygen")


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    if os.geteuid():
        pytest.skip("needs root")
    missing = [name for name in TOOLS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    if sys.version_info[:2] != (3, 11):
        pytest.skip("needs Python 3.11, as Debian 12 has it: the environment's compiled parts go to that host")
    with machine(built()) as made:
        print(f"\nordinary host: a log-in after {made.wait():.0f} s")
        yield made


def test_the_cloud_as_a_service_and_a_container_of_it(host: Machine) -> None:
    """The steps are the tests of ordinary_host/inside.py."""
    print(host.pytest("-s", "-x", "tests/journeys/ordinary_host/inside.py", timeout=3300))


def test_limits_hold_on_cgroup_v2(host: Machine) -> None:
    """The driver's own tests of its limits, which the other journeys run on whatever this machine has."""
    print(host.pytest("tests/journeys/test_lxc_limits.py", timeout=1800))
