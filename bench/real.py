"""A real cloud in a network namespace of its own: the host's interfaces and daemons are left alone."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo.process import Up

from bench import machine
from bench.client import Api
from bench.plan import Plan

_CLONE_NEWNET = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """While entered, this thread, its later threads and all processes it starts are in the namespace."""

    def __init__(self, plan: Plan) -> None:
        self.name = f"trilith-bench-{os.getpid()}"
        self.path = Path("/run/netns") / self.name
        self._home = -1

    def __enter__(self) -> Namespace:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        with self.path.open() as handle:
            self._set(handle.fileno())
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return self

    def __exit__(self, *_why: object) -> None:
        self._set(self._home)
        os.close(self._home)
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def _set(self, descriptor: int) -> None:
        if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def processes(self) -> list[int]:
        """All in the namespace but this very program."""
        return [pid for pid in machine.in_namespace(self.path) if pid != os.getpid()]

    def ready(self, facts: Mapping[str, Any], timeout: float = 90.0) -> dict[str, Any]:
        """Wait until the node offers its pillars; what the API says of it."""
        api = Api(facts)
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            for node in api.call("GET", "/trilith/v1/nodes")["nodes"]:
                if node["alive"] and node["enabled"] and node["pillars"]:
                    found: dict[str, Any] = node
                    return found
            time.sleep(0.02)
        raise RuntimeError("the node did not come up")


def real_up(plan: Plan, name: str, **settings: str) -> Up:
    """settings: those that differ from what is shipped, by their names in upper case."""
    own = {"NODE_NAME": "bench", "CONTAINER_POOL_GIB": "8", "ADMIN_PASSWORD": plan.password} | settings
    env = {f"TRILITH_{key}": value for key, value in own.items()}
    return Up(plan.folder / name, listen=plan.listen(), args=("--clouds-yaml", "none"), env=env)
