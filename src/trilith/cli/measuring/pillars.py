"""The measurement itself: which guests of which pillars, in which order, and what each figure is made of."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trilith import errors
from trilith.cli.client import Cloud
from trilith.cli.measuring import host, program
from trilith.cli.measuring.guests import BARE_LINE, BARE_MIB, IMAGE, LINUX_MIB, TINY_LINE, Guest, Guests
from trilith.cli.measuring.program import OWN, SERVES, Rounds
from trilith.cli.screen import Steps
from trilith.model.figures import FigureName, MeasuredHost
from trilith.model.guest import Pillar
from trilith.model.pillar_figures import GuestKind, Measured, Spread

#: seconds for a guest to start, and for one that measures to end; under emulation many times as many
_START, _MEASURE, _EMULATED = 60.0, 300.0, 6.0
#: guests of a kind that run at once when it is looked at what they hold: what they share counts as it does in use
TOGETHER = 4
#: seconds after the last has started
_SETTLED = 1.0
_BARE = "a guest without an operating system has none"
NOT_HERE = "not on this host"
ONLY_EMULATED = "Linux runs only under emulation here, which says nothing about {pillar}; --emulated measures it anyway"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Guests of one kind. emulated: by QEMU alone."""

    pillar: Pillar
    guest: GuestKind
    emulated: bool = False

    @property
    def words(self) -> str:
        how = " under emulation" if self.emulated else ""
        return f"{self.pillar}, bare guests" if self.guest is GuestKind.BARE else f"{self.pillar}{how}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """targets: what is measured. not_here: pillar → why nothing of it is, or not Linux."""

    node: str
    targets: tuple[Target, ...]
    not_here: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    target: Target
    about: str
    host: MeasuredHost
    measured: tuple[Measured, ...]
    left_out: dict[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """As PUT /trilith/v1/figures/{node}/{pillar} takes it."""

        def spread(one: Spread) -> dict[str, Any]:
            return {"median": one.value, "p10": one.low, "p90": one.high, "samples": one.samples}

        rows = [
            {"name": str(one.name), "guest": spread(one.guest), "how": one.how}
            | ({"bare_process": spread(one.bare_process)} if one.bare_process is not None else {})
            for one in self.measured
        ]
        names = ("name", "cpu", "threads", "memory_mib", "kernel", "virtualization", "version", "load")
        return {
            "guest": str(self.target.guest), "emulated": self.target.emulated, "about": self.about,
            "host": {name: getattr(self.host, name) for name in names}, "measured": rows, "left_out": self.left_out,
        }  # fmt: skip


def plan(node: dict[str, Any], *, only: Sequence[Pillar] = (), emulated: bool = False) -> Plan:
    """What of this node can be measured. node: as /trilith/v1/nodes shows it. Raises Unsupported when nothing can."""
    name = str(node["name"])
    if node["simulated"]:
        raise errors.Unsupported(
            f"The node {name} is simulated: its guests do not exist, so there is nothing to measure.",
            capability=program.CAPABILITY,
        )
    if not (node["alive"] and node["enabled"]):
        raise errors.Conflict(f"The node {name} takes no servers now.", hint="trilith doctor; trilith top --once")
    targets: list[Target] = []
    not_here: dict[str, str] = {}
    for pillar in Pillar:
        if only and pillar not in only:
            continue
        if pillar not in node["pillars"]:
            not_here[str(pillar)] = NOT_HERE
            continue
        slow = pillar is Pillar.KVM and "CUSTOM_KVM_LINUX" not in node["traits"]
        if pillar is Pillar.KVM and "CUSTOM_KVM_BARE" in node["traits"]:
            targets.append(Target(pillar=pillar, guest=GuestKind.BARE))
        if not slow or emulated:
            targets.append(Target(pillar=pillar, guest=GuestKind.LINUX, emulated=slow))
        if slow:
            not_here[str(pillar)] = ONLY_EMULATED.format(pillar=pillar)
    if not targets:
        why = "; ".join(f"{pillar}: {why}" for pillar, why in not_here.items())
        raise errors.Unsupported(f"There is nothing to measure on {name}: {why}.", capability=program.CAPABILITY)
    return Plan(node=name, targets=tuple(targets), not_here=not_here)


@contextlib.contextmanager
def one_at_a_time(state: Path) -> Iterator[Path]:
    """A directory on the disk of the guests, while no other measurement runs on this host. Raises Conflict."""
    folder = state / "benchmark"
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise errors.Conflict("Another measurement runs on this host.", hint="Wait for its end.") from None
        for left in folder.iterdir():  # of one that was killed
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            yield Path(work)
    finally:
        os.close(lock)


def measure(
    cloud: Cloud, planned: Plan, state: Path, rounds: Rounds, steps: Steps, keep: Callable[[Result], None]
) -> list[Result]:
    """All of the plan; each result is handed to `keep` as soon as it is there. What was made is gone on return, and
    when it raises. state: the cloud's directory on this machine."""
    results: list[Result] = []
    with one_at_a_time(state) as folder:
        built = program.build(folder)
        guests = Guests(cloud, planned.node, state / "node")
        facts = host.facts(planned.node)
        if facts.busy:
            steps.note(f"This machine is busy (load {facts.load:.1f} on {facts.threads} threads), and that shows.")
        steps.step("removing what an earlier run left")
        guests.sweep()
        if any(target.guest is GuestKind.LINUX for target in planned.targets):
            guests.tiny()  # before anything is made
        try:
            for target in planned.targets:
                run = _Run(guests, target, rounds, built, folder, steps)
                result = run.bare(facts) if target.guest is GuestKind.BARE else run.linux(facts)
                keep(result)
                results.append(result)
        finally:
            steps.drop()
            steps.step("removing the guests")
            guests.sweep()
    return results


@dataclass(frozen=True, slots=True)
class _Run:
    guests: Guests
    target: Target
    rounds: Rounds
    built: Path
    folder: Path
    steps: Steps

    @property
    def _slower(self) -> float:
        return _EMULATED if self.target.emulated else 1.0

    def bare(self, facts: MeasuredHost) -> Result:
        image = self.guests.bare()
        flavor = self.guests.flavor(self.target.pillar, BARE_MIB, 0)
        took, held = self._starts(image, flavor, BARE_LINE, b"")
        hello = host.bare_process_start(self.built, self.rounds)
        measured = [
            _measured(FigureName.START_TO_FIRST_ANSWER, host.spread(took), hello),
            _measured(FigureName.MEMORY, host.spread([total for total, _own in held])),
            _measured(FigureName.MEMORY_OVERHEAD, host.spread([total for total, _own in held])),
        ]
        there = {one.name for one in measured}
        left_out = {str(name): _BARE for name in FigureName if name not in there}
        left_out[FigureName.MEMORY_OVERHEAD_SHARE] = "a share of 4 MiB says nothing"
        return Result(
            target=self.target, about=f"guests of {BARE_MIB} MiB without an operating system, under real KVM",
            host=facts, measured=tuple(measured), left_out=left_out,
        )  # fmt: skip

    def linux(self, facts: MeasuredHost) -> Result:
        image = self.guests.tiny()
        flavor = self.guests.flavor(self.target.pillar, LINUX_MIB, 1)
        quiet = program.quiet_script()
        took, held = self._starts(image, flavor, TINY_LINE, quiet)
        self.steps.step(f"{self.target.words}: the same as a bare process")
        base = host.bare_process(self.built, self.rounds, self.folder)
        self.steps.step(f"{self.target.words}: inside of a guest")
        over = [total - own for total, own in held]
        measured = [
            _measured(FigureName.START_TO_FIRST_ANSWER, host.spread(took), base[FigureName.START_TO_FIRST_ANSWER]),
            _measured(FigureName.MEMORY, host.spread([total for total, _own in held])),
            _measured(FigureName.MEMORY_OVERHEAD, host.spread([max(0.0, mib) for mib in over])),
            _measured(FigureName.MEMORY_OVERHEAD_SHARE, host.spread([max(0.0, m) / LINUX_MIB * 100 for m in over])),
        ]
        inside, left_out = self._inside(image, flavor)
        measured += [_measured(name, spread, base.get(name)) for name, spread in inside.items()]
        return Result(
            target=self.target, about=f"{IMAGE}, 1 vCPU, {LINUX_MIB} MiB, one port", host=facts,
            measured=tuple(measured), left_out=left_out,
        )  # fmt: skip

    def _starts(
        self, image: str, flavor: str, line: re.Pattern[bytes], user_data: bytes
    ) -> tuple[list[float], list[tuple[float, float]]]:
        """Milliseconds to the first answer of guests one after the other, of which the first is not counted: it lays
        out the image. And MiB held, and of the guest's own, of the last ones, which run at once."""
        took: list[float] = []
        running: list[Guest] = []
        for number in range(self.rounds.guests + 1):
            what = f"guest {number} of {self.rounds.guests}" if number else "a first guest, which lays out the image"
            self.steps.step(f"{self.target.words}: {what}")
            guest = self.guests.order(image, flavor, user_data=user_data)
            seconds = guest.says(line.search, "answer", timeout=_START * self._slower)
            guest.active()
            running.append(guest)
            if number:
                took.append(seconds * 1e3)
            if number == 0 or len(running) > TOGETHER:
                self.guests.remove(running.pop(0))
        self.steps.step(f"{self.target.words}: what {len(running)} guests hold")
        time.sleep(_SETTLED)
        held = [(host.memory_of(guest.id), self._own(guest) if user_data else 0.0) for guest in running]
        self.guests.remove(*running)
        return took, held

    def _own(self, guest: Guest) -> float:
        """MiB of the guest's own processes, as it says next."""
        before = len(OWN.findall(guest.said()))
        wait = _START * self._slower
        guest.says(lambda text: len(OWN.findall(text)) > before, "tell what it holds", timeout=wait, look=0.05)
        kib = int(OWN.findall(guest.said())[-1])
        if not kib:
            raise errors.Backend("A guest could not tell what its own processes hold.")
        return kib / 1024

    def _inside(self, image: str, flavor: str) -> tuple[dict[FigureName, Spread], dict[str, str]]:
        serving = program.serving_script(self.built)
        with self.guests.running(image, flavor, user_data=serving) as peer:
            peer.says(SERVES.search, "serve", timeout=_START * self._slower, look=0.05)
            commands = self.rounds.commands(program.guest_folder(), peer.address())
            script = program.measuring_script(self.built, list(commands.values()))
            with self.guests.running(image, flavor, user_data=script) as guest:
                # rarely: whoever looks takes time from who is measured
                words_of_all = [words[0] for words in commands.values()]
                guest.says(
                    lambda said: program.complete(said, words_of_all),
                    "end its measurements", timeout=_MEASURE * self._slower, look=0.25,
                )  # fmt: skip
                text = guest.said().decode(errors="replace")
        found: dict[FigureName, Spread] = {}
        left_out: dict[str, str] = {}
        for name, words in commands.items():
            try:
                found[name] = self.rounds.spread(name, program.read(text, words[0]))
            except errors.Backend as err:
                left_out[str(name)] = err.message
                self.steps.note(f"{self.target.words}: {name} was not measured: {err.message}")
        return found, left_out


def _measured(name: FigureName, guest: Spread, bare_process: Spread | None = None) -> Measured:
    return Measured(name=name, guest=guest, bare_process=bare_process, how=program.HOW[name])
