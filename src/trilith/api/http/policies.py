"""Authorization by oslo.policy, with the OpenStack services' own rule names and default roles.

The file `policy.yaml` in the state directory overrides rules, as in OpenStack; a rule of service S may be written
there under its own name (names are unique across the services).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trilith import errors
from trilith.api.http.route import Policy, Service
from trilith.model.record import Actor

_MOST_DECIDED = 4096


class Policies:
    """Loaded at the first request: the library costs 110 ms of imports, which the start does not pay."""

    def __init__(self, services: list[Service], state: Path, *, scoped: tuple[str, ...] = ()) -> None:
        """scoped: the services whose rules are for tokens of their scope types only."""
        self._scoped = frozenset(p.name for s in services if s.name in scoped for p in s.policies)
        self._file = state / "policy.yaml"
        self._known: dict[str, Policy] = {p.name: p for s in services for p in s.policies}
        self._enforcer: Any = None
        #: decisions by all that they depend on; none while a file may change the rules
        self._decided: dict[Any, bool] = {}

    def _load(self) -> Any:
        from oslo_config import cfg
        from oslo_policy import policy

        conf = cfg.ConfigOpts()
        conf([], project="trilith")
        has_file = self._file.exists()
        enforcer = policy.Enforcer(conf, policy_file=str(self._file), use_conf=True, overwrite=True)
        enforcer.suppress_default_change_warnings = True
        enforcer.suppress_deprecation_warnings = True
        enforcer.register_defaults(
            [
                policy.RuleDefault(
                    p.name,
                    p.check,
                    description=p.description,
                    scope_types=list(p.scope_types) if p.name in self._scoped and p.scope_types else None,
                )
                for p in self._known.values()
            ]
        )
        # the defaults become rules only in a load with use_conf; after it, no file means nothing to look for
        enforcer.load_rules()
        enforcer.use_conf = has_file
        return enforcer

    def check(self, service: str, rule: str, actor: Actor, target: dict[str, Any]) -> bool:
        """Raises Bug for a rule that no table names."""
        if rule not in self._known:
            raise errors.Bug(f"{service}: no policy named {rule}")
        if self._enforcer is None:
            self._enforcer = self._load()
        if self._enforcer.use_conf:
            return self._decide(rule, actor, target)
        # the same person asks the same again and again, and the library takes 0.1 ms (it looks at signatures)
        owner = (actor.user_id, actor.project_id, actor.domain_id, actor.user_domain_id, actor.project_domain_id)
        key = (rule, owner, actor.roles, actor.system, actor.is_admin, tuple(sorted(target.items())))
        try:
            known = self._decided.get(key)
        except TypeError:  # a target that is not one of plain values
            return self._decide(rule, actor, target)
        if known is None:
            known = self._decide(rule, actor, target)
            if len(self._decided) >= _MOST_DECIDED:
                self._decided.clear()
            self._decided[key] = known
        return known

    def _decide(self, rule: str, actor: Actor, target: dict[str, Any]) -> bool:
        credentials = {
            "user_id": actor.user_id,
            "project_id": actor.project_id or None,
            "tenant_id": actor.project_id or None,
            "domain_id": actor.domain_id or None,
            "user_domain_id": actor.user_domain_id,
            "project_domain_id": actor.project_domain_id,
            "system_scope": "all" if actor.system else None,
            "roles": list(actor.roles),
            "is_admin": actor.is_admin,
            "is_admin_project": True,
        }
        facts = {"project_id": actor.project_id, "user_id": actor.user_id, **target}
        facts.setdefault("tenant_id", facts["project_id"])
        return bool(self._enforcer.enforce(rule, facts, credentials))

    def enforce(self, service: str, rule: str, actor: Actor, target: dict[str, Any]) -> None:
        if not self.check(service, rule, actor, target):
            raise errors.Forbidden(f"Policy doesn't allow {rule} to be performed.")
