"""Placement's policy names with its default rules."""

from __future__ import annotations

from trilith.api.http.route import Policy

_SERVICE = "role:admin or role:service"
_READ_OWN = "role:admin or role:service or (role:reader and project_id:%(project_id)s)"
_ACTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("resource_providers", ("list", "create", "show", "update", "delete")),
    ("resource_classes", ("list", "create", "show", "update", "delete")),
    ("resource_providers:inventories", ("list", "create", "show", "update", "delete")),
    ("resource_providers:aggregates", ("list", "update")),
    ("resource_providers:traits", ("list", "update", "delete")),
    ("resource_providers:allocations", ("list",)),
    ("traits", ("list", "show", "update", "delete")),
    ("allocations", ("manage", "list", "update", "delete")),
    ("allocation_candidates", ("list",)),
    ("reshaper", ("reshape",)),
)

POLICIES = (
    *(
        Policy(f"placement:{noun}:{action}", _SERVICE, f"{action} {noun}".replace(":", " "))
        for noun, actions in _ACTIONS
        for action in actions
    ),
    Policy("placement:resource_providers:usages", _SERVICE, "List a provider's usages."),
    Policy("placement:usages", _READ_OWN, "List a project's usages."),
)
