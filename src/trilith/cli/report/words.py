"""The page's own words in both languages. What rules and figures say comes with the advice."""

from __future__ import annotations

from trilith.model.figures import FigureName
from trilith.placement.advisor.advice import Availability, CostKind, Evidence
from trilith.placement.advisor.answer import AskedBy

LANGUAGES = ("en", "zh")

#: key → English, Chinese
WORDS: dict[str, tuple[str, str]] = {
    "title": ("Which pillar, and why", "选择哪种虚拟化支柱，为什么"),
    "pillar": ("pillar", "支柱"),
    "answer": ("The answer", "结论"),
    "none": ("No pillar meets these demands", "没有任何支柱满足这些需求"),
    "best_is": ("Fits best", "最适合"),
    "choice_is": ("Best that this cloud has", "本云可用的最佳选择"),
    "not_here": (
        "The pillar that fits best has no node in this cloud that meets the demands; the choice is the best of those "
        "that have.",
        "最适合的支柱在本云中没有满足需求的节点；此处选择的是可用支柱中最好的一个。",
    ),
    "demands": ("What the workload demands", "工作负载的需求"),
    "no_demands": ("It demands nothing in particular.", "没有特别的需求。"),
    "demand": ("demand", "需求"),
    "value": ("value", "取值"),
    "name": ("name", "名称"),
    "observed": ("What the server was seen to use", "该服务器的实际用量"),
    "cpu_mean": ("mean CPU since its start, of its virtual CPUs", "自启动以来的平均 CPU 占用（相对其虚拟 CPU）"),
    "memory_now": ("memory now", "当前内存"),
    "uptime": ("running for", "已运行"),
    "hours": ("h", "小时"),
    "unknown": ("not known", "未知"),
    "of": ("of", "/"),
    "ranking": ("Ranking", "排名"),
    "ranking_note": (
        "Each bar is a score from 0 to 100; its parts are the rules that brought it, each weight times value. A dashed "
        "bar is a pillar that a hard constraint refuses, with what preferences alone would have given it.",
        "每个条形为 0 到 100 的得分，各段为各条规则的贡献（权重乘以取值）。虚线条形表示被硬约束排除的支柱，其长度为仅按偏好计算的得分。",
    ),
    "rule": ("rule", "规则"),
    "weight": ("weight", "权重"),
    "worth": ("value 0–1", "取值（0–1）"),
    "points": ("points", "得分"),
    "rests_on": ("rests on", "依据"),
    "because": ("because", "理由"),
    "score": ("score", "得分"),
    "refused": ("refused", "被排除"),
    "constraints": ("Hard constraints", "硬约束"),
    "constraints_none": ("No hard constraint refuses a pillar.", "没有硬约束排除任何支柱。"),
    "constraint": ("constraint", "约束"),
    "for_workload": ("by the workload", "由工作负载决定"),
    "for_cloud": ("by what this cloud has", "由本云条件决定"),
    "follows_from": ("follows from", "源自需求"),
    "where": ("refused", "排除原因"),
    "conflict": ("Demands in conflict", "相互冲突的需求"),
    "conflict_sets": ("Smallest sets of demands that no pillar meets together", "无法同时满足的最小需求集合"),
    "giving_up": ("What giving up would bring", "放弃某些需求的结果"),
    "give_up": ("give up", "放弃"),
    "brings": ("brings", "结果"),
    "change": ("What would change the answer", "哪些变化会改变结论"),
    "change_note": (
        "A line goes from a rule's weight (dot) to the weight from which another pillar wins (diamond); the nearest is "
        "first.",
        "每条线从规则的当前权重（圆点）到使另一支柱胜出的权重（菱形），最近的排在最前。",
    ),
    "change_none": (
        "No single weight between 0 and 10 would change the answer.",
        "在 0 到 10 之间，没有任何单一权重会改变结论。",
    ),
    "without": ("Without one demand", "去掉一项需求"),
    "overrides": ("Where evidence overrode the decision table", "证据推翻决策表之处"),
    "overrides_note": (
        "The decision table's rows are prior weights: opinions. Measurements of this cloud, what its nodes can do, and "
        "hard constraints come before them.",
        "决策表的各行是先验权重，即经验之谈。本云的实测数据、节点能力和硬约束优先于它们。",
    ),
    "overrides_none": ("Nothing overrode a row of it.", "没有任何一行被推翻。"),
    "prior": ("the table's value", "表中取值"),
    "became": ("became", "变为"),
    "by": ("by", "依据"),
    "costs": ("What each costs", "各支柱的开销"),
    "costs_note": (
        "Filled bars are measured here, hatched ones are published figures that nobody measured here; the thin line is "
        "the spread. Grey with a star: measured under emulation or without an operating system, which is not reckoned with.",
        "实心条为本机实测，斜线条为未在本机测量的公开数据，细线为离散范围。带星号的灰色条为仿真环境或无操作系统客户机中的数据，不计入评分。",
    ),
    "costs_none": ("No figure is known.", "没有已知数据。"),
    "figure": ("figure", "指标"),
    "median": ("median", "中位数"),
    "spread": ("p10 to p90, of a claim the lowest", "p10 至 p90；公开数据为最低值"),
    "the_choice": ("the choice", "选择"),
    "samples": ("samples", "样本数"),
    "source": ("source", "来源"),
    "measured": ("measured", "实测"),
    "claimed": ("published, not measured here", "公开数据，未在本机测量"),
    "emulated": ("measured under emulation: not reckoned with", "仿真环境下测得：不计入"),
    "bare": ("measured without an operating system: a floor", "在无操作系统的客户机中测得：仅为下限"),
    "figure_flips": ("What a measurement would have to show", "测量结果达到多少会改变结论"),
    "gets": ("How to get it", "如何获得"),
    "extra_specs": ("flavor extra specs", "规格（flavor）附加属性"),
    "image_properties": ("image properties", "镜像属性"),
    "traits": ("traits to require", "要求的特征（trait）"),
    "notes": ("beside it", "另外"),
    "grounds": ("What this stands on", "依据与环境"),
    "cloud": ("cloud", "云"),
    "nodes": ("nodes in service", "服务中的节点"),
    "node_kinds": ("pillars of the nodes", "节点的支柱"),
    "can": ("can", "能力"),
    "node_traits": ("traits", "特征"),
    "emulates": ("emulated", "仿真"),
    "hardware": ("with hardware", "硬件虚拟化"),
    "measured_on": ("measured on", "测量于"),
    "never": ("never: all figures are published ones", "从未测量：全部为公开数据"),
    "host": ("host of the latest measurement", "最近一次测量的主机"),
    "rules": ("rules", "规则"),
    "operator_rules": ("rules that the operator added or changed", "运营者添加或修改的规则"),
    "version": ("version", "版本"),
    "made": ("made", "生成时间"),
    "runs_on": ("runs on", "运行于"),
    "is_named": (
        "Image or flavor names a pillar, which decides where the server goes:",
        "镜像或规格已指定支柱，由其决定：",
    ),
    "forms": ("The image has a form for", "该镜像可用于"),
    "asked": ("asked about", "询问对象"),
    "warnings": ("Warnings", "警告"),
    "limits": (
        "The ranking is only as good as its weights, which are opinions where nothing was measured. Fit for the "
        "workload and availability in this cloud are told apart. docs/advisor.md says how it decides and how to override it.",
        "排名的质量取决于权重；未经测量之处，权重只是经验之谈。“是否适合工作负载”与“本云是否可用”分别给出。"
        "决策方法与覆盖规则的方式见 docs/advisor.md。",
    ),
}

FIGURES: dict[FigureName, tuple[str, str]] = {
    FigureName.START_TO_FIRST_ANSWER: ("start to first answer", "启动到首次应答"),
    FigureName.MEMORY: ("memory of a guest in all", "客户机总内存占用"),
    FigureName.MEMORY_OVERHEAD: ("memory beside the guest's own", "额外内存"),
    FigureName.MEMORY_OVERHEAD_SHARE: ("memory overhead, share of the guest", "额外内存占比"),
    FigureName.SCHEDULING_LATENCY: ("scheduling latency", "调度延迟"),
    FigureName.SYSTEM_CALL: ("system call", "系统调用"),
    FigureName.DISK_WRITE_LATENCY: ("small write to disk", "小块写盘延迟"),
    FigureName.DISK_THROUGHPUT: ("disk throughput (more is better)", "磁盘吞吐（越大越好）"),
    FigureName.NETWORK_ROUND_TRIP: ("network round trip", "网络往返时延"),
    FigureName.NETWORK_THROUGHPUT: ("network throughput (more is better)", "网络吞吐（越大越好）"),
}

COSTS: dict[CostKind, tuple[str, str]] = {
    CostKind.MEMORY: ("memory", "内存"),
    CostKind.START: ("start", "启动"),
    CostKind.CPU: ("CPU", "CPU"),
    CostKind.DISK: ("disk", "磁盘"),
    CostKind.NETWORK: ("network", "网络"),
}

EVIDENCE: dict[Evidence, tuple[str, str]] = {
    Evidence.PRIOR: ("opinion (prior weight)", "经验（先验权重）"),
    Evidence.CLAIM: ("published figure, not measured here", "公开数据，未在本机测量"),
    Evidence.MEASURED: ("measured here", "本机实测"),
    Evidence.TRAIT: ("what nodes here can do", "本云节点的能力"),
    Evidence.NONE: ("no figure known", "没有数据"),
}

AVAILABILITY: dict[Availability, tuple[str, str]] = {
    Availability.YES: ("available in this cloud", "本云可用"),
    Availability.EMULATED: ("only under emulation in this cloud: slow", "本云仅能仿真运行：慢"),
    Availability.NO: ("not available in this cloud", "本云不可用"),
}

ASKED: dict[AskedBy, tuple[str, str]] = {
    AskedBy.WORKLOAD: ("a workload", "一个工作负载"),
    AskedBy.REQUEST: ("a request for a server", "一个服务器请求"),
    AskedBy.SERVER: ("a running server", "一台运行中的服务器"),
}
