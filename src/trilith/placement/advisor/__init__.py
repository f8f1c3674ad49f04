"""Which pillar, and why: a workload's demands, rules that are data, figures of the host, and an advice that explains
itself (docs/advisor.md)."""
