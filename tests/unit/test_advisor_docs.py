"""docs/advisor.md and docs/advisor-rules.md say what is so."""

from __future__ import annotations

import re
from pathlib import Path

from docs.advisor_rules import render

from tests.golden.advisor.cases import EVERYWHERE, TEXT, rules
from trilith.model.figures import Figures
from trilith.placement.advisor.engine import advise
from trilith.placement.advisor.rules_file import load_rules
from trilith.placement.advisor.workload import Compliance, Team, Workload
from trilith.placement.advisor.workload_file import workload_of_yaml

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "advisor.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)


def test_the_tables_are_made_from_the_rules() -> None:
    assert (DOCS / "advisor-rules.md").read_text() == render(rules()), "run: python -m docs.advisor_rules"


def test_the_example_of_a_workload_is_one() -> None:
    assert workload_of_yaml(EXAMPLES[0]) == Workload(
        title="payment service",
        compliance=Compliance.FINANCE,
        hardware_isolation=True,
        tenants=3,
        start_within_ms=5000,
        memory_per_guest_mib=2048,
        packet_rate_pps=200_000,
        team=Team.SKILLED,
    )


def test_the_example_of_an_operators_file_is_one() -> None:
    ours = load_rules(TEXT, EXAMPLES[1])
    assert ours.edition == "2026-11, ours 3"
    assert len(ours.operator_rules) == 6
    assert next(p for p in ours.preferences if p.name == "table-network-sdn").weight == 0.5
    assert next(c for c in ours.constraints if c.name == "gpus").when  # what is not changed stays


def test_the_example_of_a_conflict_is_what_is_answered() -> None:
    workload = Workload(own_kernel=True, hardware_isolation=True, start_within_ms=50)
    conflict = advise(workload, EVERYWHERE, Figures(), rules()).conflict
    assert conflict is not None
    told = f"{conflict.text[0].upper()}{conflict.text[1:]}.\n" + "".join(f"  {g.text}\n" for g in conflict.giving_up)
    assert told in PAGE
