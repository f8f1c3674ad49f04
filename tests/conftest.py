"""Shared rules of the test run: a test that needs what this host lacks is skipped by name; under CI it fails."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

# guests inherit which signals are ignored, and a shell that starts this in the background ignores some
for _signal in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_signal) == signal.SIG_IGN:
        signal.signal(_signal, signal.default_int_handler if _signal == signal.SIGINT else signal.SIG_DFL)


def _root() -> str:
    return "" if os.geteuid() == 0 else "needs root"


def _tools(*names: str) -> Callable[[], str]:
    def missing() -> str:
        absent = [n for n in names if shutil.which(n, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None]
        return f"needs {', '.join(absent)}" if absent else ""

    return missing


def _postgres() -> str:
    return "" if list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) else "needs the postgresql package"


#: marker → why it cannot run here ("" when it can)
NEEDS: dict[str, Callable[[], str]] = {
    "root": _root,
    "ovn": _tools("ovs-vswitchd", "ovn-northd", "ovn-controller", "ovsdb-server"),
    "lxc": _tools("lxc-start", "lxc-attach"),
    "libvirt": _tools("libvirtd", "qemu-system-x86_64"),
    "postgres": _postgres,
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name, why in NEEDS.items():
        if item.get_closest_marker(name) is None:
            continue
        reason = why()
        if reason and os.environ.get("CI") == "true":
            pytest.fail(f"{item.nodeid}: {reason}; under CI this may not be skipped")
        if reason:
            pytest.skip(reason)
