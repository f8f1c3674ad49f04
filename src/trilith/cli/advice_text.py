"""An advice as lines for a terminal, in English or Chinese."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trilith.cli.report import words
from trilith.cli.report.page import number
from trilith.model.guest import Pillar
from trilith.placement.advisor.advice import Ranked
from trilith.placement.advisor.answer import Answer

_NAMES = {Pillar.KVM: "KVM", Pillar.XEN: "Xen", Pillar.LXC: "LXC"}
#: contributions of a pillar, and flip points, that are shown: the rest is in --json and --report
_MOST = 4


def lines(answer: Answer, language: str = "en") -> Iterator[str]:
    """The answer first; then the ranking, what is refused, what would change it, what it costs, how to get it."""
    chinese = language == "zh"
    advice = answer.advice

    def t(key: str) -> str:
        return words.WORDS[key][chinese]

    def text(of: Any, name: str = "text") -> Any:
        return (chinese and getattr(of, f"{name}_zh", "")) or getattr(of, name)

    yield text(advice, "summary")
    if answer.demands:
        yield f"{t('demands')}: {', '.join(d.words_zh if chinese else d.words for d in answer.demands)}"
    if answer.asked.observed is not None:
        seen = answer.asked.observed
        share = f"{seen.cpu_share:.1%}" if seen.cpu_share is not None else t("unknown")
        memory = seen.memory_mib or t("unknown")
        yield f"{t('observed')}: CPU {share}, {memory} {t('of')} {seen.memory_of_mib} MiB"
    if answer.asked.named is not None:
        yield f"{t('is_named')} {_NAMES[answer.asked.named]}"
    yield ""
    yield t("ranking")
    for place, ranked in enumerate(advice.ranking, 1):
        state = words.AVAILABILITY[ranked.available_here][chinese]
        yield f"  {place}. {_NAMES[ranked.pillar]:<4} {ranked.score:3.0f}  {state}"
        yield from (f"        {line}" for line in _parts(ranked, chinese))
        for missing in ranked.missing:
            yield f"        – {text(missing)}"
    for refused in advice.refused:
        reasons = "; ".join(text(r) for r in refused.refusals)
        yield f"  –  {_NAMES[refused.pillar]:<4}      {t('refused')}: {reasons}"
    if advice.conflict is not None:
        yield ""
        yield f"{t('conflict')}: {text(advice.conflict)}"
        yield from (f"  {text(way)}" for way in advice.conflict.giving_up)
    changes = [text(p) for p in advice.sensitivity[:_MOST]] + [text(f) for f in advice.figure_flips[:_MOST]]
    changes += [text(w) for w in advice.without]
    yield ""
    yield f"{t('change')}:" if changes else t("change_none")
    yield from (f"  {line}" for line in changes)
    if advice.overrides:
        yield ""
        yield f"{t('overrides')}:"
        yield from (f"  {text(one)}" for one in advice.overrides)
    yield ""
    yield f"{t('costs')}:"
    for cost in advice.costs:
        for figure, counted in ((cost.figure, True), (cost.bare, False), (cost.emulated, False)):
            if figure is None:
                continue
            kind = words.FIGURES[figure.name][chinese]
            how = t("measured") if figure.measured else t("claimed")
            if not counted:
                how = t("emulated") if figure.emulated else t("bare")
            yield f"  {_NAMES[cost.pillar]:<4} {kind}: {number(figure.value)} {figure.unit} ({how})"
    if advice.gets is not None:
        yield ""
        yield f"{t('gets')}: {_NAMES[advice.gets.pillar]}"
        for key, values in (
            ("extra_specs", advice.gets.extra_specs),
            ("image_properties", advice.gets.image_properties),
        ):
            if values:
                yield f"  {t(key)}: {' '.join(f'{k}={v}' for k, v in values.items())}"
        if advice.gets.traits:
            yield f"  {t('traits')}: {', '.join(advice.gets.traits)}"
        yield from (f"  {note}" for note in text(advice.gets, "notes"))


def _parts(ranked: Ranked, chinese: bool) -> Iterator[str]:
    """What brought most of a pillar's points."""
    for part in ranked.contributions[:_MOST]:
        if part.share >= 0.5:
            told = (chinese and part.text_zh) or part.text
            yield f"{part.share:4.1f}  {part.rule}: {told}"
    yield from (ranked.warnings_zh if chinese and ranked.warnings_zh else ranked.warnings)
