"""The small tables of identity that nearly every token needs, read together and kept until identity changes."""

from __future__ import annotations

from dataclasses import dataclass

from trilith.commands.identity_endpoint_filters import Shown, shown_endpoints
from trilith.commands.roles import Rules, closure, implied_rules
from trilith.model.identity import Domain, Endpoint, Role, Service
from trilith.model.identity_extensions import IdentityProvider
from trilith.store.tx import Reader


@dataclass(frozen=True, slots=True)
class Directory:
    """catalog: enabled services by seq, each with its enabled endpoints. shown: of projects with a choice of them."""

    domains: dict[str, Domain]
    domains_by_name: dict[str, Domain]
    roles: dict[str, Role]
    rules: Rules
    catalog: tuple[tuple[Service, tuple[Endpoint, ...]], ...]
    shown: Shown
    providers: dict[str, IdentityProvider]

    def vouches(self, idp_id: str) -> bool:
        """Whether the identity provider is there and enabled."""
        found = self.providers.get(idp_id)
        return found is not None and found.enabled

    def effective(self, role_ids: set[str]) -> tuple[Role, ...]:
        """Global roles among these and all that they imply, by name. A domain's own roles only imply others."""
        known = (self.roles.get(id) for id in closure(self.rules, role_ids))
        return tuple(sorted((r for r in known if r is not None and not r.domain_id), key=lambda r: r.name))


def read_directory(reader: Reader) -> Directory:
    domains = reader.select(Domain)
    endpoints: dict[str, list[Endpoint]] = {}
    enabled = reader.select(Endpoint, enabled=True)
    for endpoint in enabled:
        endpoints.setdefault(endpoint.service_id, []).append(endpoint)
    return Directory(
        domains={d.id: d for d in domains},
        domains_by_name={d.name: d for d in domains},
        roles={r.id: r for r in reader.select(Role)},
        rules=implied_rules(reader),
        catalog=tuple((s, tuple(endpoints.get(s.id, ()))) for s in reader.select(Service, enabled=True)),
        shown=shown_endpoints(reader, enabled),
        providers={p.id: p for p in reader.select(IdentityProvider)},
    )
