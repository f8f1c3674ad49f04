"""The host itself: QEMU without KVM, reached by ssh."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from demo.ssh import make_key

from tests.journeys.ordinary_host.image import HostImage, run
from tests.journeys.ordinary_host.repository import PLACE, packed

#: seconds; an emulated processor is 10 to 20 times slower than a real one, and others may want the real one
BOOT = 600.0
_CMDLINE = "root=/dev/vda rw console=ttyS0,115200 net.ifnames=0 mitigations=off panic=-1 quiet systemd.show_status=1"


class Machine:
    """A running host. `ssh` runs a command as its root."""

    def __init__(self, folder: Path, image: HostImage, repository: Path, key: Path) -> None:
        self.folder, self.key = folder, key
        self.serial = folder / "serial.log"
        disk = folder / "disk.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(image.disk), "-F", "qcow2", str(disk), timeout=30)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        drives = []
        for path, form in ((disk, "qcow2"), (repository, "raw")):
            drives += ["-drive", f"file={path},format={form},if=virtio,cache=unsafe,discard=unmap"]
        argv = [
            *("nice", "-n", "5", "qemu-system-x86_64", "-name", "ordinary", "-nodefaults", "-no-user-config"),
            # an old model: no nested virtualisation, and nothing that QEMU emulates wrongly
            *("-machine", "pc", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "Nehalem", "-smp", "2"),
            *("-m", "4096", "-display", "none", "-no-reboot", "-device", "virtio-rng-pci"),
            *("-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", _CMDLINE),
            *("-netdev", f"user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22"),
            *("-device", "virtio-net-pci,netdev=n0,romfile="),
            *("-serial", f"file:{self.serial}", "-monitor", "none"),
            *drives,
        ]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def wait(self, timeout: float = BOOT) -> float:
        """Until it lets us in; seconds."""
        began = time.monotonic()
        while True:
            if self.process.poll() is not None:
                assert self.process.stderr is not None
                raise RuntimeError(f"QEMU ended: {self.process.stderr.read()[-2000:]}\n{self.console()}")
            with contextlib.suppress(RuntimeError):
                self.ssh("systemctl is-system-running --wait || true", timeout=timeout / 2)
                return time.monotonic() - began
            if time.monotonic() - began > timeout:
                raise RuntimeError(f"no log-in within {timeout:.0f} s; its console:\n{self.console()}")
            time.sleep(1)

    def console(self) -> str:
        text = self.serial.read_text(errors="replace") if self.serial.exists() else ""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)[-3000:]

    def ssh(self, command: str, *, timeout: float) -> str:
        """Standard output. Raises RuntimeError with what it said otherwise."""
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes")
        options += ("IdentitiesOnly=yes", "ConnectTimeout=60", "ServerAliveInterval=30")
        argv = ["ssh", "-i", str(self.key), "-p", str(self.port)]
        for option in options:
            argv += ["-o", option]
        try:
            done = subprocess.run(
                [*argv, "root@127.0.0.1", command],
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as late:
            so_far = (late.stdout or b"").decode(errors="replace")[-12000:]
            raise RuntimeError(f"{command}: not within {timeout:.0f} s; it said\n{so_far}") from late
        if done.returncode:
            said = f"{done.stdout[-12000:]}\n{done.stderr[-4000:]}"
            raise RuntimeError(f"{command}: {done.returncode}\n{said}")
        return done.stdout

    def pytest(self, *what: str, timeout: float) -> str:
        """pytest inside; only the plugins that these tests use, the rest takes a minute to load here."""
        env = "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PYTHONUNBUFFERED=1 LANG=C.UTF-8"
        plugins = "-p pytest_asyncio.plugin -p pytest_timeout -p no:cacheprovider"
        argv = f"{env} .venv/bin/python -m pytest {plugins} -v -rA --tb=short --timeout={timeout:.0f} {' '.join(what)}"
        return self.ssh(f"cd {PLACE} && {argv}", timeout=timeout)

    def end(self) -> None:
        self.process.kill()
        self.process.wait(30)
        if self.process.stderr is not None:
            self.process.stderr.close()


@contextlib.contextmanager
def machine(image: HostImage) -> Iterator[Machine]:
    """Started, not waited for; gone afterwards with all it wrote."""
    folder = Path(tempfile.mkdtemp(prefix="toh-"))
    made: Machine | None = None
    try:
        key, public = make_key(folder)
        made = Machine(folder, image, packed(folder, key=public), key)
        yield made
    finally:
        if made is not None:
            made.end()
        shutil.rmtree(folder, ignore_errors=True)
