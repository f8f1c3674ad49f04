"""A PostgreSQL of the distribution's package, started by the tests in a directory of their own, never the host's."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path


class PostgresServer:
    """Listens on a unix socket only. Runs as `postgres` when the tests run as root, which initdb refuses to."""

    def __init__(self) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="trilith-pg-"))
        self.bin = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self._count = 0

    def start(self) -> None:
        if self._as:
            shutil.chown(self.dir, "postgres", "postgres")
        self._run("initdb", "-D", str(self.dir / "data"), "-U", "trilith", "-A", "trust", "--no-sync", "-E", "UTF8")
        self.again()

    def again(self) -> None:
        """Start it, the first time or after `halt`."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self.dir} -c max_connections=60"
        self._run("pg_ctl", "-D", str(self.dir / "data"), "-w", "-o", options, "-l", str(self.dir / "log"), "start")

    def halt(self, mode: str = "immediate") -> None:
        """End it, its data stays. mode: pg_ctl's; immediate is a crash, fast breaks into transactions."""
        self._run("pg_ctl", "-D", str(self.dir / "data"), "-w", "-m", mode, "stop")

    def freeze(self) -> None:
        """It takes connections and questions, and answers none."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def ask(self, question: str) -> str:
        """Of the server's own database."""
        argv = ["psql", "-h", str(self.dir), "-U", "trilith", "-d", "postgres", "-At", "-c", question]
        return self._run(*argv).strip()

    def _signal(self, number: signal.Signals) -> None:
        leader = int((self.dir / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
        for pid in (leader, *map(int, children)):
            os.kill(pid, number)

    def stop(self) -> None:
        """Also of one that is frozen."""
        if (self.dir / "data" / "postmaster.pid").exists():
            self.thaw()
        subprocess.run(
            [*self._as, str(self.bin / "pg_ctl"), "-D", str(self.dir / "data"), "-m", "immediate", "stop"],
            check=False,
            capture_output=True,
        )
        shutil.rmtree(self.dir, ignore_errors=True)

    def database(self) -> str:
        """A new empty database; its dsn."""
        self._count += 1
        name = f"t{os.getpid()}_{self._count}"
        self._run("createdb", "-h", str(self.dir), "-U", "trilith", name)
        return f"postgresql://trilith@/{name}?host={self.dir}"

    def _run(self, tool: str, *args: str) -> str:
        done = subprocess.run([*self._as, str(self.bin / tool), *args], capture_output=True, text=True, cwd="/")
        if done.returncode:
            raise RuntimeError(f"{tool}: {done.stderr}")
        return done.stdout
