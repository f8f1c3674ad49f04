"""/trilith/v1/figures: what the pillars cost on each node, as `trilith benchmark pillars` measured it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer, Route
from trilith.api.http.times import seconds_z
from trilith.commands import figures
from trilith.model.figures import UNITS, FigureName, MeasuredHost
from trilith.model.guest import Pillar
from trilith.model.pillar_figures import GuestKind, Measured, PillarFigures, Spread

_Text = Annotated[str, msgspec.Meta(max_length=300)]
_Number = Annotated[float, msgspec.Meta(ge=0, le=1e15)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]


class SpreadView(msgspec.Struct, forbid_unknown_fields=True):
    """median, p10 and p90 of so many samples, in the figure's unit."""

    median: _Number
    p10: _Number
    p90: _Number
    samples: _Count


class MeasuredView(msgspec.Struct):
    """unit: fixed by the name. bare_process: the same on the host in the same run; ratio: times that."""

    name: FigureName
    unit: str
    guest: SpreadView
    bare_process: SpreadView | None
    ratio: float | None
    how: str


class HostView(msgspec.Struct, forbid_unknown_fields=True):
    """memory_mib: MiB. virtualization: what the machine runs in itself, "" where nothing says so. version: of the
    Trilith that measured. load: threads that ran or wanted to before it began, mean of a minute."""

    name: _Text
    cpu: _Text = ""
    threads: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    memory_mib: Annotated[int, msgspec.Meta(ge=0, le=2**40)] = 0
    kernel: _Text = ""
    virtualization: _Text = ""
    version: _Text = ""
    load: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = 0.0


class FiguresView(msgspec.Struct):
    """about: the guests in words. left_out: figure → why it was not measured."""

    node: str
    pillar: Pillar
    guest: GuestKind
    emulated: bool
    about: str
    host: HostView
    measured: list[MeasuredView]
    left_out: dict[str, str]
    measured_at: str


class FiguresList(msgspec.Struct):
    figures: list[FiguresView]


class MeasuredGiven(msgspec.Struct, forbid_unknown_fields=True):
    name: FigureName
    guest: SpreadView
    bare_process: SpreadView | None = None
    how: _Text = ""


class FiguresGiven(msgspec.Struct, forbid_unknown_fields=True):
    """What was measured in guests of one kind; it takes the place of what is kept of them."""

    guest: GuestKind
    emulated: bool
    host: HostView
    measured: Annotated[list[MeasuredGiven], msgspec.Meta(min_length=1, max_length=len(FigureName))]
    about: _Text = ""
    left_out: dict[FigureName, _Text] = {}


async def list_figures(call: Call) -> FiguresList:
    """200, by node and pillar; of one node with `node`. 403."""
    rows = await call.read(lambda reader: figures.kept(reader, call.one("node")))
    return FiguresList([_view(row) for row in rows])


async def keep(call: Call) -> FiguresView:
    """200. 400 for a pillar that the node has not, and where p10, median and p90 are not in order; 403; 404 for the
    node."""
    given: FiguresGiven = call.body
    pillar = _pillar(call.params["pillar"])
    measured = tuple(
        Measured(
            name=one.name,
            guest=_spread(one.guest),
            bare_process=_spread(one.bare_process) if one.bare_process is not None else None,
            how=one.how,
        )
        for one in given.measured
    )
    row = await call.write(
        lambda tx: figures.keep(
            tx,
            node=call.params["node"],
            pillar=pillar,
            guest=given.guest,
            emulated=given.emulated,
            about=given.about,
            host=msgspec.convert(given.host, MeasuredHost, from_attributes=True),
            measured=measured,
            left_out={str(name): why for name, why in given.left_out.items()},
        ),
        "figures.keep",
    )
    return _view(row)


async def forget(call: Call) -> Answer:
    """204: nothing of the node is kept, whether anything was or not. 403."""
    await call.write(lambda tx: figures.forget(tx, call.params["node"]), "figures.forget")
    return Answer(status=204)


def _pillar(text: str) -> Pillar:
    try:
        return Pillar(text)
    except ValueError:
        raise errors.Invalid(
            f"There is no pillar {text!r}.", hint=f"There are: {', '.join(Pillar)}.", field="pillar"
        ) from None


def _spread(view: SpreadView) -> Spread:
    return Spread(value=view.median, low=view.p10, high=view.p90, samples=view.samples)


def _view(row: PillarFigures) -> FiguresView:
    def spread(one: Spread) -> SpreadView:
        return SpreadView(median=one.value, p10=one.low, p90=one.high, samples=one.samples)

    return FiguresView(
        node=row.node,
        pillar=row.pillar,
        guest=row.guest,
        emulated=row.emulated,
        about=row.about,
        host=msgspec.convert(row.host, HostView, from_attributes=True),
        measured=[
            MeasuredView(
                name=one.name,
                unit=UNITS[one.name],
                guest=spread(one.guest),
                bare_process=spread(one.bare_process) if one.bare_process is not None else None,
                ratio=round(one.ratio, 3) if one.ratio is not None else None,
                how=one.how,
            )
            for one in row.measured
        ],
        left_out=row.left_out,
        measured_at=seconds_z(row.measured_at),
    )


FIGURE_ROUTES = (
    Route("GET", "/figures", list_figures, "trilith:figures:list", response=FiguresList, query=("node",)),
    Route(
        "PUT", "/figures/{node}/{pillar}", keep, "trilith:figures:keep", body=FiguresGiven, response=FiguresView,
    ),
    Route("DELETE", "/figures/{node}", forget, "trilith:figures:forget", ok=204),
)  # fmt: skip
