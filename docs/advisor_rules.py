"""Makes docs/advisor-rules.md from the advisor's shipped rules: python -m docs.advisor_rules."""

from __future__ import annotations

from pathlib import Path

from trilith.model.guest import Pillar
from trilith.placement.advisor import quantity
from trilith.placement.advisor.demands import BY_NAME, DEMANDS
from trilith.placement.advisor.rules import Matcher, Preference, Rules, When
from trilith.placement.advisor.rules_file import SHIPPED, load_rules

RULES = Path(__file__).parents[1] / "src" / "trilith" / "placement" / "advisor" / SHIPPED


def render(rules: Rules) -> str:
    return "\n".join(
        [
            "# The advisor's shipped rules",
            "",
            f"Made from `src/trilith/placement/advisor/{SHIPPED}` (edition {rules.edition}) by "
            "`python -m docs.advisor_rules`; a test compares them. How they are read: [advisor](advisor.md).",
            "",
            "## Demands",
            "",
            "A value has its unit with it, or the field's name is used, which says it.",
            "",
            "| demand | field | it may be |",
            "| --- | --- | --- |",
            *(f"| `{d.name}` | `{d.field}` | {d.allowed} |" for d in DEMANDS),
            "",
            "## Hard constraints",
            "",
            "| constraint | where | refuses | needs of a node | source |",
            "| --- | --- | --- | --- | --- |",
            *(
                f"| `{c.name}` | {_when(c.when)} | "
                + (
                    "<br>".join(f"{p}: {w.en}" for p, w in c.refuses.items())
                    or (f"`{c.limit.figure}` over `{c.limit.demand}`" if c.limit else "")
                )
                + " | "
                + "<br>".join(
                    f"{p}: "
                    + ", ".join(
                        [
                            *(["no emulation"] if n.hardware else []),
                            *([" or ".join(f"`{t}`" for t in n.traits)] if n.traits else []),
                            *([" or ".join(f"`{r}`" for r in n.resources)] if n.resources else []),
                            *([" or ".join(f"`{a}`" for a in n.capabilities)] if n.capabilities else []),
                        ]
                    )
                    for p, n in c.needs.items()
                )
                + f" | {c.source} |"
                for c in rules.constraints
            ),
            "",
            "## Preferences",
            "",
            "Values from 0 to 1 for KVM, Xen and LXC; `f(h)` is the figure f, worth one half at h. An asterisk: a row",
            "of the decision table, whose figure counts where it was measured on two pillars at least.",
            "",
            "| preference | where | weight | KVM | Xen | LXC | figure | because |",
            "| --- | --- | ---: | ---: | ---: | ---: | --- | --- |",
            *(_preference(p) for p in rules.preferences),
            "",
            "## Figures until they are measured",
            "",
            "| figure | pillar | value | lowest published | source |",
            "| --- | --- | ---: | ---: | --- |",
            *(
                f"| `{f.name}` | {f.pillar} | {quantity.show(f.value, f.unit)} | "
                f"{quantity.show(f.low, f.unit) if f.low else 'none'} | {f.source} |"
                for f in rules.defaults.figures
            ),
            "",
            "## What gets it",
            "",
            "Beside `trilith:pillar` in the flavor or `img_hv_type` in the image, and the traits constraints need.",
            "",
            "| where | pillars | extra specs | image properties | note |",
            "| --- | --- | --- | --- | --- |",
            *(
                f"| {_when(r.when)} | {', '.join(r.pillars) or 'any'} | {_pairs(dict(r.extra_specs))} | "
                f"{_pairs(dict(r.image_properties))} | {r.note.en} |"
                for r in rules.recipes
            ),
            "",
        ]
    )


def _preference(p: Preference) -> str:
    values = " | ".join(f"{p.values[pillar]:g}" if p.values else "" for pillar in (Pillar.KVM, Pillar.XEN, Pillar.LXC))
    half = p.half_at_demand or (quantity.show(p.half_at, "") if p.half_at else "")
    figure = f"`{p.figure}({half})`" if p.figure else ""
    because = "<br>".join([p.words.en, *(f"{e.pillar} {e.value:g} with {' or '.join(e.traits)}" for e in p.evidence)])
    name = f"`{p.name}`{'*' if p.row.en else ''}"
    return f"| {name} | {_when(p.when) or 'always'} | {p.weight:g} | {values} | {figure} | {because} |"


def _when(when: When) -> str:
    return " and ".join(_matcher(m) for m in when)


def _matcher(m: Matcher) -> str:
    demand = BY_NAME[m.demand]
    if m.op == "any":
        return f"`{m.demand}`"
    if m.op == "in":
        return f"`{m.demand}` {' or '.join(sorted(m.value))}"
    if demand.flag:
        return f"`{m.demand}`" if m.value else f"`{m.demand}` false"
    if demand.vocabulary:
        return f"`{m.demand}` {m.value}"
    return f"`{m.demand}` {m.op} {quantity.show(m.value, demand.unit)}"


def _pairs(found: dict[str, str]) -> str:
    return ", ".join(f"`{k}={v}`" for k, v in found.items())


if __name__ == "__main__":
    Path(__file__).with_name("advisor-rules.md").write_text(render(load_rules(RULES.read_text())))
