"""The measuring program (measure.c): compiled on this host, run here as a bare process and in guests by user data."""

from __future__ import annotations

import base64
import gzip
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trilith import errors
from trilith.model.figures import FigureName
from trilith.model.pillar_figures import Spread

SOURCE = Path(__file__).with_name("measure.c")
CAPABILITY = "benchmark.pillars"
#: small and of itself: it must run in any guest, and go into user data with room to spare
FLAGS = (
    "-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-builtin", "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables", "-Wl,--build-id=none", "-Wl,-z,norelro", "-Wl,-z,noseparate-code", "-s",
)  # fmt: skip
#: what the guests' lines on the console begin with
MARK = "trilith-benchmark:"
OWN = re.compile(rf"{MARK} own (\d+)\s".encode())
SERVES = re.compile(rf"{MARK} serves\s".encode())
END = re.compile(rf"{MARK} end\s".encode())
UDP_PORT, TCP_PORT = 7007, 7008
#: place in a guest whose files are on its root disk
_PLACE = "/var/tmp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """How much is measured. guests: started one after the other. stream_mib, send_mib: MiB a round."""

    guests: int = 10
    wake: int = 5000
    call: int = 1000
    sync: int = 300
    stream: int = 8
    stream_mib: int = 64
    rtt: int = 2000
    send: int = 8
    send_mib: int = 32

    @classmethod
    def quick(cls, guests: int = 3) -> Rounds:
        return cls(guests=guests, wake=800, call=200, sync=60, stream=3, stream_mib=16, rtt=300, send=3, send_mib=8)

    def commands(
        self, folder: str, peer: str, ports: tuple[int, int] = (UDP_PORT, TCP_PORT)
    ) -> dict[FigureName, tuple[str, ...]]:
        """Words of the program, a figure each. folder: where files are written. peer, ports: of the other end."""
        udp, tcp = (str(port) for port in ports)
        path = f"{folder}/trilith-measure.data"
        return {
            FigureName.SCHEDULING_LATENCY: ("wake", str(self.wake), "1000"),
            FigureName.SYSTEM_CALL: ("call", str(self.call), "1000"),
            FigureName.DISK_WRITE_LATENCY: ("sync", str(self.sync), path),
            FigureName.DISK_THROUGHPUT: ("stream", str(self.stream), str(self.stream_mib), path),
            FigureName.NETWORK_ROUND_TRIP: ("rtt", str(self.rtt), peer, udp),
            FigureName.NETWORK_THROUGHPUT: ("send", str(self.send), str(self.send_mib), peer, tcp),
        }

    def spread(self, name: FigureName, line: Line) -> Spread:
        """Nanoseconds in the figure's own unit; of a throughput the fast rounds are the high ones."""
        mebibytes = {FigureName.DISK_THROUGHPUT: self.stream_mib, FigureName.NETWORK_THROUGHPUT: self.send_mib}
        if name in mebibytes:
            factor = mebibytes[name] * 1e9 * (1.0 if name is FigureName.DISK_THROUGHPUT else 8 * 1.048576)
            low, value, high = (factor / max(n, 1) for n in (line.p90, line.median, line.p10))
        else:
            factor = 1.0 if name is FigureName.SYSTEM_CALL else 1e-3
            low, value, high = (factor * n for n in (line.p10, line.median, line.p90))
        return Spread(value=round(value, 3), low=round(low, 3), high=round(high, 3), samples=line.samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What the program said: nanoseconds."""

    samples: int
    p10: int
    median: int
    p90: int


HOW = {
    FigureName.START_TO_FIRST_ANSWER: "from the request to the API until the guest's first line on its console",
    FigureName.MEMORY: "PSS of its processes on the host and kernel memory of its control group, several running",
    FigureName.MEMORY_OVERHEAD: "the same, less PSS of the guest's own processes as it sees them",
    FigureName.MEMORY_OVERHEAD_SHARE: "the same, of the flavor's memory",
    FigureName.SCHEDULING_LATENCY: "clock_nanosleep(2) each millisecond, SCHED_OTHER, timer slack 1 ns",
    FigureName.SYSTEM_CALL: "getppid(2), means of 1,000 in a row",
    FigureName.DISK_WRITE_LATENCY: "pwrite(2) of 4 KiB and fdatasync(2) in a file of 1 MiB on the root disk",
    FigureName.DISK_THROUGHPUT: "1 MiB writes in a row and one fdatasync(2) on the root disk",
    FigureName.NETWORK_ROUND_TRIP: "32 bytes by UDP to another guest of this host and back; bare: over loopback",
    FigureName.NETWORK_THROUGHPUT: "TCP to another guest of this host; bare: over loopback",
}
_FIGURE = re.compile(r"^figure (\w+) (\d+) (\d+) (\d+) (\d+) (\d+)$")
_LINE = re.compile(rf"^{MARK} (figure|failed) \w+( \d+)+$")
#: times that a guest tells all, of which a console may lose the first
_TOLD = 4
_FAILED = re.compile(r"^failed (\w+) (\d+)$")


def build(folder: Path) -> Path:
    """The program in `folder`. Raises Unsupported without a compiler, Backend with its words."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise errors.Unsupported(
            "There is no C compiler on this host, and the measuring program is compiled here.",
            capability=CAPABILITY,
            hint="apt-get install gcc",
        )
    if platform.machine() != "x86_64":
        raise errors.Unsupported(
            f"The measuring program is for x86-64; this host is {platform.machine()}.", capability=CAPABILITY
        )
    path = folder / "trilith-measure"
    done = subprocess.run(
        [compiler, *FLAGS, "-o", str(path), str(SOURCE)], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise errors.Backend(f"The measuring program does not compile: {done.stderr.strip()[-300:]}")
    return path


def read(text: str, word: str) -> Line:
    """What the command `word` said, from among other lines. Raises Backend when it failed or said nothing."""
    for raw in text.splitlines():
        line = raw.strip().removeprefix(MARK).strip()
        if (found := _FIGURE.match(line)) and found[1] == word:
            samples, p10, median, p90, _most = (int(n) for n in found.groups()[1:])
            return Line(samples=samples, p10=p10, median=median, p90=p90)
        if (found := _FAILED.match(line)) and found[1] == word:
            raise errors.Backend(f"{word} failed with errno {found[2]}.")
    raise errors.Backend(f"{word} said nothing.")


def complete(text: bytes, words: Iterable[str]) -> bool:
    """Whether each command's line is there, or has been told often enough that it will never be."""
    lines = {raw.strip().removeprefix(MARK).split()[1] for raw in text.decode(errors="replace").splitlines()
             if _LINE.match(raw.strip())}  # fmt: skip
    return len(END.findall(text)) >= _TOLD or (END.search(text) is not None and lines >= set(words))


def run_here(program: Path, words: Sequence[str], *, timeout: float = 120.0) -> Line:
    """As a bare process. Raises Backend."""
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=timeout, check=False)
    return read(done.stdout, words[0])


def quiet_script() -> bytes:
    """User data of a guest that does nothing but tell, again and again, what its own processes hold (KiB, PSS)."""
    # read by the shell itself, while there are as many processes as when it is seen from outside: the sleep stands for
    # the one between two tellings
    return _script(
        None,
        "say() {\n  sleep 86400 &\n  sum=0\n  for file in /proc/[0-9]*/smaps_rollup; do\n"
        '    while read -r key value rest; do\n      if [ "$key" = Pss: ]; then sum=$((sum + value)); fi\n'
        f'    done <"$file"\n  done 2>/dev/null\n  kill $!\n  echo "{MARK} own $sum"\n}}\n',
    )


def serving_script(program: Path) -> bytes:
    """User data of a guest that is the other end of network measurements."""
    ends = f"./trilith-measure echo {UDP_PORT} &\n./trilith-measure sink {TCP_PORT} &\n"
    return _script(program, f"{ends}say() {{ echo '{MARK} serves'; }}\n")


def measuring_script(program: Path, commands: Sequence[Sequence[str]]) -> bytes:
    """User data of a guest that runs the commands, one after the other, and tells all on its console."""
    lines = [f'echo "{MARK} $(./trilith-measure {" ".join(words)})"\n' for words in commands]
    return _script(program, f"sleep 1\n{{\n{''.join(lines)}}} >said\nsay() {{ cat said; echo '{MARK} end'; }}\n")


def _script(program: Path | None, body: str) -> bytes:
    """body: defines `say`. It is said again and again: a getty that starts throws away what the terminal holds."""
    head = f"#!/bin/sh\ncd {_PLACE}\n"
    if program is not None:
        packed = base64.encodebytes(gzip.compress(program.read_bytes(), 9)).decode()
        head += f"base64 -d <<'E' | gunzip >trilith-measure && chmod 700 trilith-measure\n{packed}E\n"
    return f"{head}{body}while :; do say >/dev/console; sleep 3; done\n".encode()


def guest_folder() -> str:
    return _PLACE
