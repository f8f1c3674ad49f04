"""The advisor of this cloud: its rules, the figures of its nodes, and which pillars it lets a server have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from trilith import errors
from trilith.commands import figures
from trilith.model.figures import Figure, FigureName, Figures
from trilith.model.guest import Pillar
from trilith.model.server import Server
from trilith.placement.advisor import wording
from trilith.placement.advisor.advice import Availability
from trilith.placement.advisor.engine import Engine, Verdict
from trilith.placement.advisor.feasibility import active, needs_of
from trilith.placement.advisor.here import PillarsHere
from trilith.placement.advisor.request import workload_of_request
from trilith.placement.advisor.rules import Need, Rules
from trilith.placement.advisor.rules_file import SHIPPED, load_rules
from trilith.placement.advisor.workload import Workload
from trilith.placement.choose import forms_allow, wanted_pillar
from trilith.store.tx import Reader

#: bytes of an operator's file
_LARGEST = 512 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PillarChoice:
    """order: those that the server may be on, best first. why: what speaks for each, in words. needs: what a node must
    have to be it. named: image or flavor names it."""

    order: tuple[Pillar, ...]
    why: Mapping[Pillar, str]
    needs: Mapping[Pillar, tuple[Need, ...]] = field(default_factory=dict)
    named: bool = False


def read_rules(path: str) -> Rules:
    """The shipped rules with the operator's file over them; "" for none. Blocking. Raises Invalid, with the line."""
    text = ""
    if path:
        try:
            raw = Path(path).read_bytes()
            if len(raw) > _LARGEST:
                raise errors.TooLarge(f"advisor_rules: {path} is over {_LARGEST} bytes.", field="advisor_rules")
            text = raw.decode()
        except OSError as err:
            raise errors.Invalid(f"advisor_rules: {path}: {err.strerror}", field="advisor_rules") from err
        except UnicodeDecodeError as err:
            raise errors.Invalid(f"advisor_rules: {path} is not UTF-8: {err.reason}.", field="advisor_rules") from err
    shipped = resources.files("trilith.placement.advisor").joinpath(SHIPPED).read_text("utf-8")
    return load_rules(shipped, text, path or "the operator's rules")


class Adviser:
    """rules_file: where the operator's are from, "" for none. The figures are kept until somebody says `forget`."""

    def __init__(self, rules: Rules, rules_file: str = "") -> None:
        self.rules = rules
        self.rules_file = rules_file
        self._engine: Engine | None = None

    def forget(self) -> None:
        """The figures have changed."""
        self._engine = None

    def engine(self, reader: Reader) -> Engine:
        """With the figures of now; reads them only where they are not known."""
        engine = self._engine
        if engine is None:
            engine = self._engine = Engine(self.rules, middle(figures.of_nodes(reader)))
        return engine

    def pillars_for(self, reader: Reader, server: Server, here: PillarsHere, *, keep: bool = False) -> PillarChoice:
        """For a server that is to be made, or that has its pillar already. Raises Invalid where what its flavor demands
        is met by no pillar that its image has a form for. keep: not for the pillar that it has; figures and rules that
        came after it must not hold it where it is."""
        named = server.pillar or wanted_pillar(server.image_properties, server.flavor.extra_specs)
        forms = forms_allow(server.image_format, server.image_properties)
        workload = workload_of_request(server.flavor, server.image_properties)
        verdict = self.engine(reader).verdict(workload, here)
        constraints = active(self.rules, verdict.demanded)
        needs = {p: needs_of(constraints, verdict.standings[p]) for p in Pillar}
        if named is not None and named not in forms:
            return PillarChoice(order=(named,), why={}, needs=needs, named=True)  # placement says that it has no form
        wanted = (named,) if named is not None else forms
        fitting = tuple(p for p in verdict.order if p in wanted)
        if not fitting and keep and named is not None:
            fitting = (named,)
        if not fitting:
            raise _contradiction(verdict, workload, wanted, named)
        # what would only be emulated comes after what is not
        order = tuple(sorted(fitting, key=lambda p: p not in verdict.tier))
        why = {p: _why(verdict, p, wanted) for p in order}
        return PillarChoice(order=order, why=why, needs=needs, named=named is not None)


def middle(nodes: Mapping[str, Figures]) -> Figures:
    """Of several nodes' figures the middle one of each, as it was measured there: nothing is averaged, so that each has
    a node and a day that it is from. Of an even number the worse of the two is not taken, but the lower number."""
    kinds: dict[tuple[FigureName, Pillar, bool, bool], list[Figure]] = {}
    for found in nodes.values():
        for one in found.figures:
            kinds.setdefault((one.name, one.pillar, one.emulated, one.bare), []).append(one)
    chosen = tuple(sorted(some, key=lambda f: f.value)[(len(some) - 1) // 2] for some in kinds.values())
    latest = max(nodes.values(), key=lambda f: f.measured_at, default=Figures())
    return Figures(figures=chosen, host=latest.host, measured_at=latest.measured_at)


def _why(verdict: Verdict, pillar: Pillar, wanted: tuple[Pillar, ...]) -> str:
    """What speaks for a pillar against the next best that this cloud has and the image has a form for; and which of
    these the demands refuse."""
    words = f"advised: {verdict.scored.scores[pillar]:.0f} points"
    here = [p for p in verdict.order if p in wanted and verdict.standings[p].available is not Availability.NO]
    other = next((p for p in here if p is not pillar), None)
    if other is not None:
        words += f", {other} {verdict.scored.scores[other]:.0f}"
        gains = {
            rule.name: rule.weight * (worths[pillar].value - worths[other].value)
            for rule, worths in verdict.scored.rules
        }
        best = max(gains, key=lambda name: gains[name], default="")
        if best and gains[best] > 0:
            words += f"; most for {best}"
    for one in wanted:
        if blocks := verdict.standings[one].blocks:
            names = dict.fromkeys(b.constraint.name for b in blocks if b.constraint)
            words += f"; {one} refused by {', '.join(names)}"
    return words


def _contradiction(
    verdict: Verdict, workload: Workload, wanted: tuple[Pillar, ...], named: Pillar | None
) -> errors.Invalid:
    """No pillar of those that may be meets the demands: each with its reason."""
    reasons = [f"{p}: {wording.refusal(block, workload).en}" for p in wanted for block in verdict.standings[p].blocks]
    whose = f"on {named}, which image or flavor names" if named else "on any pillar that the image has a form for"
    return errors.Invalid(
        f"What the flavor demands cannot be met {whose}. {'; '.join(reasons)}.",
        hint="`trilith advise` says which demands are in conflict, and what giving up each would bring.",
        field="flavorRef",
    )
