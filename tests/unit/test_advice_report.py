"""The page for a committee, and the terminal's lines: all of the advice, in both languages, and nothing that acts."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from trilith import errors
from trilith.cli import advise
from trilith.cli.advice_text import lines
from trilith.cli.report import charts, words
from trilith.cli.report.page import number, render
from trilith.commands.adviser import read_rules
from trilith.model.figures import UNITS, Figure, FigureName, Figures, MeasuredHost
from trilith.model.guest import Pillar
from trilith.placement.advisor.advice import Availability, CostKind, Evidence
from trilith.placement.advisor.answer import Answer, Asked, AskedBy, DemandShown, Grounds, NodeKind, Observed
from trilith.placement.advisor.demands import BY_NAME, demanded
from trilith.placement.advisor.engine import Engine
from trilith.placement.advisor.here import PillarNodes, PillarsHere
from trilith.placement.advisor.workload import Compliance, Network, Site, Team, Workload

EVIL = "</title><script>alert(1)</script>&\"'"
HERE = PillarsHere(nodes=(PillarNodes(pillar=Pillar.LXC), PillarNodes(pillar=Pillar.KVM, emulated=True)))


def figure(name: FigureName, pillar: Pillar, value: float, **more: bool) -> Figure:
    return Figure(
        name=name, pillar=pillar, value=value, unit=UNITS[name], low=value / 2, high=value * 2, samples=7,
        source=f"measured {EVIL}", **more,
    )  # fmt: skip


MEASURED = Figures(
    figures=(
        figure(FigureName.START_TO_FIRST_ANSWER, Pillar.LXC, 90),
        figure(FigureName.START_TO_FIRST_ANSWER, Pillar.KVM, 9000, emulated=True),
        figure(FigureName.START_TO_FIRST_ANSWER, Pillar.KVM, 40, bare=True),
        figure(FigureName.NETWORK_ROUND_TRIP, Pillar.LXC, 80),
        figure(FigureName.NETWORK_ROUND_TRIP, Pillar.KVM, 40),
    ),
    host=MeasuredHost(name=f"host{EVIL}", cpu="a processor", threads=2, memory_mib=1024, kernel="6.1"),
    measured_at=1.0,
)

WORKLOADS = {
    "plain": Workload(),
    "edge": Workload(title=EVIL, site=Site.EDGE, network=Network.LOW_LATENCY, start_within_ms=900, nodes=4),
    "bank": Workload(compliance=Compliance.FINANCE, hardware_isolation=True, team=Team.SKILLED, live_migration=True),
    "contradiction": Workload(own_kernel=True, hardware_isolation=True, start_within_ms=20),
}


def answer(workload: Workload) -> Answer:
    shown = tuple(
        DemandShown(
            name=n, value=v, words=BY_NAME[n].show(v), words_zh=BY_NAME[n].show(v, chinese=True)
        )
        for n, v in demanded(workload).items()
    )  # fmt: skip
    asked = Asked(
        by=AskedBy.SERVER, name=EVIL, image=EVIL, flavor=EVIL, forms=(Pillar.LXC,), runs_on=Pillar.LXC,
        observed=Observed(cpu_share=0.031, memory_mib=77, memory_of_mib=512, uptime=7200),
    )  # fmt: skip
    grounds = Grounds(
        cloud=EVIL, version="0.1.0", at="2026-01-02 03:04 UTC", nodes=2, measured=(EVIL,), host=MEASURED.host,
        measured_at="2026-01-01", rules_file=f"/etc/{EVIL}",
        kinds=(NodeKind(pillar=Pillar.LXC, count=2, emulated=False, traits=(), capabilities=("execute",)),),
    )  # fmt: skip
    return Answer(
        advice=Engine(read_rules(""), MEASURED).advise(workload, HERE), asked=asked, demands=shown, grounds=grounds
    )


class Page(HTMLParser):
    """Elements that are open, all names, attributes and text outside of the style."""

    VOID = ("meta", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.words = ""
        self.feed(text)
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data


@pytest.mark.parametrize("language", words.LANGUAGES)
@pytest.mark.parametrize("name", WORKLOADS)
def test_the_page_needs_nothing_and_what_users_wrote_does_nothing(name: str, language: str) -> None:
    text = render(answer(WORKLOADS[name]), language)
    page = Page(text)
    assert not page.names & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    assert [(n, v) for n, v in page.attributes if n.startswith("on") or n in ("src", "href", "srcset")] == []
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert EVIL in page.words
    assert "<script" not in text
    assert dict(page.attributes)["lang"] == ("zh-CN" if language == "zh" else "en")


@pytest.mark.parametrize("language", words.LANGUAGES)
def test_all_of_the_advice_is_on_the_page(language: str) -> None:
    found = answer(WORKLOADS["edge"])
    told = Page(render(found, language)).words
    chinese = language == "zh"
    advice = found.advice
    assert advice.overrides, "a machine's round trip was measured below a container's"
    for one in (*advice.overrides, *advice.sensitivity[:8], *advice.figure_flips, *advice.without):
        assert (one.text_zh if chinese else one.text) in told
    for ranked in advice.ranking:
        assert f"{ranked.score:.0f}" in told
        assert all(part.rule in told for part in ranked.contributions)
    for kind in ("measured", "claimed", "emulated", "bare"):
        assert words.WORDS[kind][chinese] in told, kind
    assert "2026-01-02 03:04 UTC" in told
    assert advice.rules_version in told
    assert "a processor" in told
    assert "trilith:pillar=lxc" in told


@pytest.mark.parametrize("language", words.LANGUAGES)
def test_a_contradiction_names_the_demands_and_what_giving_up_brings(language: str) -> None:
    found = answer(WORKLOADS["contradiction"])
    chinese = language == "zh"
    told = Page(render(found, language)).words
    conflict = found.advice.conflict
    assert conflict is not None
    assert (conflict.text_zh if chinese else conflict.text) in told
    assert words.WORDS["none"][chinese] in told
    said = "\n".join(lines(found, language))
    for way in conflict.giving_up:
        assert (way.text_zh if chinese else way.text) in said


def test_a_chinese_page_is_chinese_where_the_words_are_ours() -> None:
    """Sources of figures are quoted as they are."""
    found = answer(WORKLOADS["bank"])
    english = {pair[0] for pair in words.WORDS.values() if len(pair[0]) > 12}
    told = Page(render(found, "zh")).words
    assert not [text for text in english if text in told]


def test_every_word_of_the_template_is_there_in_both_languages() -> None:
    text = resources.files("trilith.cli.report").joinpath("advice.html.jinja").read_text("utf-8")
    used = set(re.findall(r"""\bt\(["'](\w+)["']\)""", text))
    assert used <= set(words.WORDS)
    tables = ((words.FIGURES, FigureName), (words.COSTS, CostKind), (words.EVIDENCE, Evidence),
              (words.AVAILABILITY, Availability), (words.ASKED, AskedBy))  # fmt: skip
    for table, kinds in tables:
        assert set(table) == set(kinds)
    assert all(len(pair) == 2 and all(pair) for t in (words.WORDS, *(t for t, _ in tables)) for pair in t.values())


def test_marks_stay_within_their_charts() -> None:
    for workload in WORKLOADS.values():
        advice = answer(workload).advice
        ranking = charts.ranking(advice)
        assert len(ranking.bars) == len(Pillar)
        for bar in ranking.bars:
            assert bar.x + bar.width <= ranking.width
            assert sum(s.width for s in bar.segments) == pytest.approx(bar.width if bar.segments else 0, abs=0.01)
        for flip in charts.flips(advice.sensitivity).flips:
            assert 0 <= min(flip.at, flip.to) <= max(flip.at, flip.to) <= charts.WIDTH
        for chart in charts.amounts(advice.costs):
            assert all(chart.label <= m.low <= m.high <= chart.width for m in chart.amounts)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.0123, "0.0123"), (1.5, "1.5"), (12.345, "12.3"), (1234.5, "1,234")]
)
def test_numbers_have_three_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


def test_another_language_is_refused() -> None:
    with pytest.raises(errors.Invalid, match="'fr'"):
        render(answer(WORKLOADS["plain"]), "fr")


def test_a_report_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    there = tmp_path / "report.html"
    there.write_text("before")
    advise.write_whole(there, "after")
    assert there.read_text() == "after"
    assert there.stat().st_mode & 0o044, "others may read it"
    with pytest.raises(errors.Invalid, match="cannot be written"):
        advise.write_whole(tmp_path / "nowhere" / "report.html", "x")
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(errors.Invalid):
        advise.write_whole(folder, "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "report.html"], "no temporary file stays"


def test_the_terminals_lines_have_the_answer_first() -> None:
    found = answer(WORKLOADS["edge"])
    first, *rest = lines(found)
    assert first == found.advice.summary
    told = "\n".join(rest)
    assert "CPU 3.1%, 77 of 512 MiB" in told
    assert "1. LXC" in told
    named = replace(found, asked=replace(found.asked, named=Pillar.KVM))
    assert words.WORDS["is_named"][0] in "\n".join(lines(named))
