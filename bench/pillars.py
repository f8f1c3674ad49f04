"""What each pillar of this host costs: `trilith benchmark pillars`, in a cloud of the benchmark's own."""

from __future__ import annotations

from demo import pictures
from demo.process import connect

from bench.plan import Plan
from bench.real import Namespace, real_up
from bench.table import Row, Table, figure
from trilith.cli import probe_kernel
from trilith.cli.client import Cloud
from trilith.cli.measuring.pillars import Result, measure, plan
from trilith.cli.measuring.program import Rounds
from trilith.cli.screen import Steps
from trilith.model.figures import UNITS
from trilith.model.pillar_figures import Spread

SECTION = "pillars"


def run(table: Table, plans: Plan) -> None:
    tiny = pictures.built("tiny")[0]  # before: the namespace has no way out
    with Namespace(plans) as namespace:
        up = real_up(plans, "p")
        # the probe of what KVM can do here boots this kernel, so it must lie there before the node looks
        probe_kernel.hand_over(tiny.path, up.state / "node" / "probe-kernel")
        facts = up.start()
        try:
            node = namespace.ready(facts)
            sdk = connect(facts)
            try:
                pictures.upload(sdk, tiny)
                cloud = Cloud(sdk, "bench")
                planned = plan(node)
                rounds = Rounds.quick() if plans.quick else Rounds()

                def keep(result: Result) -> None:
                    target = result.target
                    cloud.native.keep_figures(planned.node, str(target.pillar), result.body())
                    _rows(table, result)

                measure(cloud, planned, up.state, rounds, Steps(None), keep)
                for pillar, why in planned.not_here.items():
                    table.skip(f"{SECTION}: {pillar}", why)
            finally:
                sdk.close()
        finally:
            up.stop()
            up.down()


def _rows(table: Table, result: Result) -> None:
    for one in result.measured:
        note = result.about
        if one.bare_process is not None and one.ratio is not None:
            base = one.bare_process
            note = f"bare process {figure(base.value)} ({_range(base)}), × {one.ratio:.3g}"
        table.add(
            Row(SECTION, f"{result.target.words}: {str(one.name).replace('_', ' ')}", one.guest.value, UNITS[one.name],
                spread=_range(one.guest), count=one.guest.samples, note=note)
        )  # fmt: skip
    for why in sorted(set(result.left_out.values())):
        names = ", ".join(name.replace("_", " ") for name, said in result.left_out.items() if said == why)
        table.skip(f"{SECTION}: {result.target.words}: {names}", why)


def _range(spread: Spread) -> str:
    return f"p10..p90 {figure(spread.low)}..{figure(spread.high)}"
