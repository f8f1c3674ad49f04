"""A `trilith up` of one's own: started, waited for, ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

TRILITH = str(Path(sys.executable).parent / "trilith")


class Up:
    """The foreground process of a cloud. facts: its one line of JSON (url, user, password, project, pid)."""

    def __init__(self, state: Path, *, listen: str, env: Mapping[str, str] | None = None, args: tuple[str, ...] = (),
                 prefix: tuple[str, ...] = ()) -> None:  # fmt: skip
        self.state = state
        self.argv = [*prefix, TRILITH, "up", "--state", str(state), "--listen", listen, "--json", *args]
        self.env = os.environ | dict(env or {})
        self.prefix = prefix
        self.log: IO[bytes] | None = None
        self.process: subprocess.Popen[str] | None = None
        self.facts: dict[str, Any] = {}

    def start(self) -> dict[str, Any]:
        """Raises RuntimeError with the end of the log when it does not come up."""
        self.state.mkdir(parents=True, exist_ok=True)
        self.log = (self.state / "up.log").open("ab")
        # a session of its own: Ctrl-C of who started it must leave it there to clean up with
        self.process = subprocess.Popen(
            self.argv, stdout=subprocess.PIPE, stderr=self.log, text=True, env=self.env, start_new_session=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise RuntimeError(f"trilith up ended ({self.process.returncode}):\n{self.tail()}")
        self.facts = json.loads(line)
        return self.facts

    def tail(self, size: int = 3000) -> str:
        return (self.state / "up.log").read_text(errors="replace")[-size:]

    def stop(self) -> int:
        """Ctrl-C, and its exit status."""
        return self._end(signal.SIGINT)

    def kill(self) -> int:
        return self._end(signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        assert self.process is not None
        return self.process.wait(timeout)

    def _end(self, number: int) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        if self.log is not None:
            self.log.close()
        self.process = None
        return code

    def down(self) -> str:
        """`trilith down --guests`: what it said. Raises RuntimeError."""
        argv = [*self.prefix, TRILITH, "down", "--guests", "--yes", "--state", str(self.state)]
        done = subprocess.run(argv, capture_output=True, text=True, env=self.env, timeout=180, check=False)
        if done.returncode:
            raise RuntimeError(f"trilith down: {done.stderr[-2000:]}")
        return done.stdout


def connect(facts: Mapping[str, Any]) -> Any:
    """An openstacksdk connection as the admin."""
    import openstack

    return openstack.connect(
        auth_url=facts["url"],
        username=facts["user"],
        password=facts["password"],
        project_name=facts["project"],
        user_domain_name="Default",
        project_domain_name="Default",
        region_name="RegionOne",
        load_yaml_config=False,
        load_envvars=False,
    )
