"""The sentences of an advice, in English and Chinese, made of what was reckoned. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from trilith.model.figures import MORE_IS_BETTER, UNITS, Figure, FigureName, Figures
from trilith.model.guest import Pillar
from trilith.placement.advisor import quantity
from trilith.placement.advisor.advice import Availability, Evidence, FlipPoint
from trilith.placement.advisor.breakeven import Threshold
from trilith.placement.advisor.demands import Value, in_words
from trilith.placement.advisor.feasibility import Block, Standing
from trilith.placement.advisor.rules import NO_WORDS, Constraint, Need, Preference, Words
from trilith.placement.advisor.score import Worth
from trilith.placement.advisor.sensitivity import Flip
from trilith.placement.advisor.workload import Workload

NAMES = {Pillar.KVM: "KVM", Pillar.XEN: "Xen", Pillar.LXC: "LXC"}


#: figures as people call them
FIGURES: dict[FigureName, Words] = {
    FigureName.START_TO_FIRST_ANSWER: Words("start to first answer", "启动到首次应答"),
    FigureName.MEMORY: Words("memory of a started guest", "启动后占用内存"),
    FigureName.MEMORY_OVERHEAD: Words("memory overhead", "内存开销"),
    FigureName.MEMORY_OVERHEAD_SHARE: Words("memory overhead (share)", "内存开销占比"),
    FigureName.SCHEDULING_LATENCY: Words("scheduling latency", "调度延迟"),
    FigureName.SYSTEM_CALL: Words("system call", "系统调用"),
    FigureName.DISK_WRITE_LATENCY: Words("disk write latency", "磁盘写延迟"),
    FigureName.DISK_THROUGHPUT: Words("disk throughput", "磁盘吞吐"),
    FigureName.NETWORK_ROUND_TRIP: Words("network round trip", "网络往返时间"),
    FigureName.NETWORK_THROUGHPUT: Words("network throughput", "网络吞吐"),
}


def amount(figure: Figure) -> str:
    return quantity.show(figure.value, figure.unit)


def figure_words(figure: Figure) -> Words:
    """The value with where it is from."""
    if figure.emulated:
        return Words(
            f"{amount(figure)} under emulation ({figure.source})", f"仿真下 {amount(figure)}（{figure.source}）"
        )
    if figure.bare:
        return Words(
            f"{amount(figure)} in a guest without an operating system, a floor ({figure.source})",
            f"无操作系统的客户机中 {amount(figure)}，为下限（{figure.source}）",
        )
    return Words(f"{amount(figure)} ({figure.source})", f"{amount(figure)}（{figure.source}）")


def refusal(block: Block, workload: Workload) -> Words:
    name = NAMES[block.pillar]
    if block.constraint is None:
        return Words(f"this cloud has no node in service that runs {name}", f"本云没有可用的 {name} 节点")
    demands = in_words(workload, block.demands)
    demands_zh = in_words(workload, block.demands, chinese=True)
    if block.figure is not None:
        figure = figure_words(block.figure)
        low, low_zh = "", ""
        if not block.figure.measured:
            least = quantity.show(block.figure.low, block.figure.unit)
            low, low_zh = f", and the lowest published is {least}", f"，已发表的最低值为 {least}"
        return Words(
            f"{demands}: the {FIGURES[block.figure.name].en} of {name} is {figure.en}{low}",
            f"{demands_zh}：{name} 的{FIGURES[block.figure.name].zh}为 {figure.zh}{low_zh}",
        )
    if block.need is not None:
        words = block.need.words
        missing = lacks(block.need)
        return Words(
            f"{demands}: no {name} node of this cloud has what it needs, {words.en}{missing.en}",
            f"{demands_zh}：本云没有满足条件的 {name} 节点，{words.zh or words.en}{missing.zh}",
        )
    words = block.constraint.refuses.get(block.pillar, NO_WORDS)
    return Words(f"{demands}: {words.en}", f"{demands_zh}：{words.zh or words.en}")


def lacks(need: Need) -> Words:
    """What of it a node must have, in brackets."""
    parts, parts_zh = [], []
    if need.hardware:
        parts.append("hardware virtualization")
        parts_zh.append("硬件虚拟化")
    if need.traits:
        parts.append("the trait " + " or ".join(need.traits))
        parts_zh.append("特征 " + " 或 ".join(need.traits))
    if need.resources:
        parts.append("the resource class " + " or ".join(need.resources))
        parts_zh.append("资源类 " + " 或 ".join(need.resources))
    if need.capabilities:
        parts.append("the capability " + " or ".join(need.capabilities))
        parts_zh.append("能力 " + " 或 ".join(need.capabilities))
    return Words(f" ({' and '.join(parts)})", f"（{'、'.join(parts_zh)}）")


def contribution(rule: Preference, worth: Worth) -> Words:
    if worth.trait is not None:
        return worth.trait.words
    if worth.figure is not None:
        figure = figure_words(worth.figure)
        return Words(f"{rule.words.en}: {figure.en}", f"{rule.words.zh or rule.words.en}：{figure.zh}")
    if worth.evidence is Evidence.NONE:
        return Words(
            f"{rule.words.en}: no figure is known, so the worst of the known is taken",
            f"{rule.words.zh or rule.words.en}：没有已知数据，按已知最差值计",
        )
    return rule.words


def warnings(
    pillar: Pillar, state: Standing, known: Figures, demanded: Mapping[str, Value], constraints: list[Constraint]
) -> list[Words]:
    """What is no refusal and should be known before one decides."""
    found = []
    name = NAMES[pillar]
    if state.available is Availability.EMULATED:
        found.append(
            Words(
                f"here {name} runs under emulation only, much slower; no figure of it stands for {name}",
                f"本云的 {name} 仅以仿真运行，速度慢得多；其数据不代表 {name}",
            )
        )
    for constraint in constraints:
        if constraint.limit is None:
            continue
        figure = known.of(constraint.limit.figure, pillar)
        limit = float(demanded[constraint.limit.demand])
        if figure is None:
            found.append(
                Words(
                    f"nobody knows the {FIGURES[constraint.limit.figure].en} of {name}: measure it "
                    "(trilith benchmark pillars)",
                    f"{name} 的{FIGURES[constraint.limit.figure].zh}未知：请测量（trilith benchmark pillars）",
                )
            )
        elif not figure.measured and figure.value > limit:
            told = figure_words(figure)
            found.append(
                Words(
                    f"the {FIGURES[figure.name].en} of {name} is claimed to be {told.en}, over what is demanded: "
                    "measure it here (trilith benchmark pillars)",
                    f"{name} 的{FIGURES[figure.name].zh}据称为 {told.zh}，超出需求："
                    "请在本云测量（trilith benchmark pillars）",
                )
            )
        elif figure.measured and figure.high > limit:
            high = quantity.show(figure.high, figure.unit)
            found.append(
                Words(
                    f"one of ten is over it: the {FIGURES[figure.name].en} of {name} has its 90th percentile at {high}",
                    f"约十分之一超出需求：{name} 的{FIGURES[figure.name].zh}第 90 百分位为 {high}",
                )
            )
    return found


def override(rule: Preference, pillar: Pillar, prior: float, worth: Worth) -> Words:
    told = contribution(rule, worth)
    return Words(
        f"the table's row ({rule.row.en}) gives {NAMES[pillar]} {prior:g}; {told.en}: {worth.value:.2f}",
        f"决策表（{rule.row.zh or rule.row.en}）给 {NAMES[pillar]} {prior:g}；{told.zh or told.en}：{worth.value:.2f}",
    )


def overruled(rule: Preference, block: Block, workload: Workload) -> Words:
    told = refusal(block, workload)
    return Words(
        f"the table's row ({rule.row.en}) speaks for {NAMES[block.pillar]}, which a hard constraint refuses: {told.en}",
        f"决策表（{rule.row.zh or rule.row.en}）倾向 {NAMES[block.pillar]}，但硬约束将其排除：{told.zh}",
    )


def flip(found: Flip, now: Pillar) -> Words:
    name, weight, at = found.rule.name, found.rule.weight, found.flips_at
    winner = NAMES[found.winner]
    return Words(
        f"with the weight of {name} {found.direction} {at:.2f} instead of {weight:g} "
        f"({found.change:+.2f}, {found.share:.0%}), {winner} would win over {NAMES[now]}",
        f"若 {name} 的权重由 {weight:g} 变为{'低于' if found.direction == 'below' else '高于'} {at:.2f}"
        f"（{found.change:+.2f}，{found.share:.0%}），则 {winner} 将胜过 {NAMES[now]}",
    )


def threshold(found: Threshold, now: Pillar | None) -> Words:
    """now: the pillar that is advised."""
    name, figure = NAMES[found.pillar], FIGURES[found.name]
    better, worse = ("over", "under") if found.name in MORE_IS_BETTER else ("under", "over")
    better_zh, worse_zh = ("高于", "低于") if found.name in MORE_IS_BETTER else ("低于", "高于")
    at = quantity.show(float(f"{found.at:.2g}"), UNITS[found.name])
    stands, stands_zh = "nobody knows it", "目前未知"
    if found.now is not None:
        how, how_zh = ("measured", "实测") if found.now.measured else ("claimed", "据称")
        stands, stands_zh = f"{how} {amount(found.now)}", f"{how_zh} {amount(found.now)}"
    if found.pillar is now:
        return Words(
            f"were the {figure.en} of {name} measured {worse} about {at} ({stands}), {name} would no longer win",
            f"若实测 {name} 的{figure.zh}{worse_zh}约 {at}（{stands_zh}），则 {name} 不再胜出",
        )
    return Words(
        f"were the {figure.en} of {name} measured {better} about {at} ({stands}), {name} would win",
        f"若实测 {name} 的{figure.zh}{better_zh}约 {at}（{stands_zh}），则 {name} 胜出",
    )


def without(workload: Workload, demand: str, choice: Pillar | None) -> Words:
    named, named_zh = in_words(workload, (demand,)), in_words(workload, (demand,), chinese=True)
    if choice is None:
        return Words(f"without {named} there would be no choice", f"去掉“{named_zh}”后将无可选支柱")
    return Words(f"without {named} it would be {NAMES[choice]}", f"去掉“{named_zh}”后将选择 {NAMES[choice]}")


def giving_up(workload: Workload, demands: tuple[str, ...], pillar: Pillar, score: float, here: Availability) -> Words:
    named, named_zh = in_words(workload, demands), in_words(workload, demands, chinese=True)
    where = {
        Availability.YES: ("", ""),
        Availability.EMULATED: (", here under emulation only", "（本云仅以仿真提供）"),
        Availability.NO: (", which this cloud has no fitting node for", "（本云没有合适的节点）"),
    }[here]
    return Words(
        f"giving up {named} makes {NAMES[pillar]} possible (score {score:.0f}){where[0]}",
        f"放弃“{named_zh}”即可使用 {NAMES[pillar]}（得分 {score:.0f}）{where[1]}",
    )


def only_here(second: Standing) -> Words:
    """Why the first is taken before a pillar that this cloud has not, or has only under emulation."""
    name = NAMES[second.pillar]
    if second.available is Availability.EMULATED:
        return Words(f"{name} runs here under emulation only", f"本云的 {name} 仅以仿真运行")
    return Words(f"this cloud has no fitting node for {name} now", f"本云目前没有合适的 {name} 节点")


def conflict(workload: Workload, sets: tuple[tuple[str, ...], ...], *, anywhere: bool) -> Words:
    what = "no pillar meets" if anywhere else "no pillar of this cloud meets"
    together = "同时" if any(len(one) > 1 for one in sets) else ""
    what_zh = f"没有支柱能{together}满足" if anywhere else f"本云没有支柱能{together}满足"
    if not sets or sets == ((),):
        return Words("this cloud has no node in service for any pillar that fits", "本云没有可用节点能运行合适的支柱")
    amount = {1: "", 2: "both "}
    named = "; nor ".join(amount.get(len(s), "all of ") + in_words(workload, s) for s in sets)
    named_zh = "；".join(in_words(workload, s, chinese=True) for s in sets)
    return Words(f"{what} {named}", f"{what_zh}：{named_zh}")


def summary(best: Pillar | None, choice: Pillar | None, score: float, here: Availability) -> Words:
    """Without a conflict's words."""
    if best is None:
        return Words("Nothing fits.", "没有合适的支柱。")
    if choice is None:
        return Words(
            f"{NAMES[best]} fits best (score {score:.0f}), and cannot be had here.",
            f"{NAMES[best]} 最合适（得分 {score:.0f}），但本云无法提供。",
        )
    slow = ", here under emulation only" if here is Availability.EMULATED else ""
    slow_zh = "（本云仅以仿真提供）" if slow else ""
    if choice is best:
        return Words(
            f"{NAMES[best]} fits best (score {score:.0f}){slow}.",
            f"{NAMES[best]} 最合适（得分 {score:.0f}）{slow_zh}。",
        )
    return Words(
        f"{NAMES[choice]} is the best that this cloud has (score {score:.0f}){slow}; {NAMES[best]} would fit better.",
        f"{NAMES[choice]} 是本云可提供的最佳选择（得分 {score:.0f}）{slow_zh}；{NAMES[best]} 更合适。",
    )


def close(point: FlipPoint) -> Words:
    return Words(f"the answer is close: {point.text}", f"结果相近：{point.text_zh}")


def joined(told: Words, more: Words) -> Words:
    """more: a sentence without its capital and its stop."""
    return Words(f"{told.en} {more.en[:1].upper()}{more.en[1:]}.", f"{told.zh}{more.zh}。")
