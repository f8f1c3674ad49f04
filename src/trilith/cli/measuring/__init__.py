"""`trilith benchmark pillars`: what each pillar of this host costs, measured in real guests beside a bare process."""
