"""What is there at the first start, as `keystone-manage bootstrap` and an installer would leave it."""

from __future__ import annotations

import hashlib

from trilith.model.identity import (
    DEFAULT_DOMAIN,
    DEFAULT_ROLES,
    IMPLIED_ROLES,
    Domain,
    Endpoint,
    ImpliedRole,
    Project,
    Region,
    Role,
    RoleAssignment,
    Service,
    User,
)
from trilith.model.server import Flavor
from trilith.store.tx import Tx, new_id

#: (name, type, path below public_url). The path may hold {project_id}.
CATALOG: tuple[tuple[str, str, str], ...] = (
    ("keystone", "identity", "/identity"),
    ("nova", "compute", "/compute/v2.1"),
    ("placement", "placement", "/placement"),
    ("neutron", "network", "/network"),
    ("glance", "image", "/image"),
    ("cinder", "block-storage", "/volume/v3/{project_id}"),
    ("cinderv3", "volumev3", "/volume/v3/{project_id}"),
)

#: name, vcpus, MiB, GiB: Nova's classic sizes and a nano one
FLAVORS: tuple[tuple[str, int, int, int], ...] = (
    ("m1.nano", 1, 64, 1),
    ("m1.micro", 2, 128, 2),
    ("m1.tiny", 1, 512, 4),
    ("m1.small", 1, 2048, 20),
    ("m1.medium", 2, 4096, 40),
    ("m1.large", 4, 8192, 80),
)


def stable_id(name: str) -> str:
    """32 hex digits, as Keystone's ids, the same for the same name of the first start."""
    return hashlib.md5(f"trilith:{name}".encode(), usedforsecurity=False).hexdigest()


def bootstrap(tx: Tx, *, region: str, password_hash: str) -> bool:
    """False when it has been done before."""
    if tx.setting("cloud.id") is not None:
        return False
    tx.set_setting("cloud.id", new_id())
    tx.add(Domain(id=DEFAULT_DOMAIN, name="Default", description="The default domain"))
    # immutable, as Keystone leaves them: every service's policies name these
    roles = {
        name: tx.add(Role(id=stable_id(f"role:{name}"), name=name, options={"immutable": True}))
        for name in DEFAULT_ROLES
    }
    for prior, implied in IMPLIED_ROLES.items():
        tx.add(ImpliedRole(id=new_id(), prior_id=roles[prior].id, implied_id=roles[implied].id))
    project = tx.add(
        Project(
            id=new_id().replace("-", ""), name="admin", description="The administrators' project", parent_id="default"
        )
    )
    user = tx.add(
        User(
            id=new_id().replace("-", ""),
            name="admin",
            password=password_hash,
            password_at=tx.now,
            default_project_id=project.id,
        )
    )
    for kind, target in (("project", project.id), ("system", "system"), ("domain", DEFAULT_DOMAIN)):
        tx.add(
            RoleAssignment(
                id=new_id(),
                actor_kind="user",
                actor_id=user.id,
                target_kind=kind,
                target_id=target,
                role_id=roles["admin"].id,
            )
        )
    tx.add(Region(id=region))
    for name, type_, _path in CATALOG:
        service = tx.add(Service(id=stable_id(f"service:{type_}"), name=name, type=type_))
        for interface in ("public", "internal", "admin"):
            tx.add(
                Endpoint(
                    id=stable_id(f"endpoint:{type_}:{interface}"),
                    service_id=service.id,
                    interface=interface,
                    region_id=region,
                )
            )
    for number, (name, vcpus, ram, disk) in enumerate(FLAVORS, 1):
        tx.add(Flavor(id=str(number), name=name, vcpus=vcpus, ram=ram, disk=disk))
    return True
