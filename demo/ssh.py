"""Logging in as a user would: the ssh client, a key, no known hosts."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Login:
    """user@address with a private key."""

    address: str
    user: str
    key: Path

    def run(self, command: str, *, timeout: float = 30.0) -> str:
        """Standard output. Raises RuntimeError with what ssh said."""
        done = self._ssh(command, timeout)
        if done.returncode:
            raise RuntimeError(f"{self.user}@{self.address}: {command}: {done.stderr.strip()[-400:] or done.stdout}")
        return done.stdout

    def wait(self, *, timeout: float) -> None:
        """Until a log-in works: a guest's sshd starts when it likes, and says so to nobody but who asks."""
        end = time.monotonic() + timeout
        while True:
            try:
                done = self._ssh("true", 10)
            except subprocess.TimeoutExpired:
                done = None
            if done is not None and done.returncode == 0:
                return
            if time.monotonic() > end:
                raise RuntimeError(f"no log-in at {self.address} within {timeout:.0f} s: {done.stderr if done else ''}")
            time.sleep(0.2)

    def _ssh(self, command: str, timeout: float) -> subprocess.CompletedProcess[str]:
        options = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "ConnectTimeout": "5",
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
        }
        argv = ["ssh", "-i", str(self.key)]
        for name, value in options.items():
            argv += ["-o", f"{name}={value}"]
        argv += [f"{self.user}@{self.address}", command]
        return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)


def make_key(folder: Path) -> tuple[Path, str]:
    """A new ecdsa key pair: the private key's path and the public key's line."""
    folder.mkdir(parents=True, exist_ok=True)
    private = folder / "id_ecdsa"
    private.unlink(missing_ok=True)
    private.with_suffix(".pub").unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-C", "demo", "-f", str(private)], check=True)
    return private, (folder / "id_ecdsa.pub").read_text().strip()
