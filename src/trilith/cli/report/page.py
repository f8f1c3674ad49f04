"""The page: the advice's data and words into one template. Everything that a user or a guest wrote is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from trilith import errors
from trilith.cli.report import charts, words
from trilith.model.guest import Pillar
from trilith.placement.advisor.answer import Answer

if TYPE_CHECKING:
    from jinja2 import Template

_NAMES = {Pillar.KVM: "KVM", Pillar.XEN: "Xen", Pillar.LXC: "LXC"}


def render(answer: Answer, language: str = "en") -> str:
    """One HTML document. language: en or zh. Raises Invalid for another."""
    if language not in words.LANGUAGES:
        raise errors.Invalid(
            f"There is no report in {language!r}.", hint=f"Allowed: {', '.join(words.LANGUAGES)}.", field="language"
        )
    chinese = language == "zh"

    def pick(pair: tuple[str, str]) -> str:
        return pair[chinese]

    def text(of: Any, name: str = "text") -> Any:
        """The Chinese form beside an English one, where there is one."""
        return (chinese and getattr(of, f"{name}_zh", "")) or getattr(of, name)

    def t(key: str) -> str:
        return pick(words.WORDS[key])

    def word(table: str, key: str) -> str:
        tables: dict[str, Mapping[Any, tuple[str, str]]] = {
            "figure": words.FIGURES, "cost": words.COSTS, "evidence": words.EVIDENCE,
            "availability": words.AVAILABILITY, "asked": words.ASKED,
        }  # fmt: skip
        return pick(tables[table][key])

    advice = answer.advice
    shown = {d.name: pick((d.words, d.words_zh)) for d in answer.demands}
    return _template().render(
        answer=answer,
        advice=advice,
        language="zh-CN" if chinese else "en",
        t=t,
        word=word,
        text=text,
        named=lambda pillar: _NAMES[pillar],
        number=number,
        wanted=lambda names: [shown.get(n, n) for n in names],
        shown=lambda demand: pick((demand.words, demand.words_zh)),
        colours=charts.colours(advice),
        ranking=charts.ranking(advice),
        flips=charts.flips(advice.sensitivity),
        amounts=charts.amounts(advice.costs),
    )


def number(value: float) -> str:
    """Three digits that count, without an exponent: 0.0123, 1.5, 1234."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("trilith.cli.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("advice.html.jinja")
