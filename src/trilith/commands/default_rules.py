"""The rules that new security groups start with; an administrator's to change, for all projects.

A cloud begins with Neutron's own: all out, and into the group `default` all from itself. They are rows like any other,
made at first use.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite

from trilith.commands.addresses import insert_if_free
from trilith.commands.network_faults import DefaultSecurityGroupRuleExists
from trilith.model.network_access import DefaultRule
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx, new_id, settings_table

_NAMESPACE = uuid.UUID("7f0d2b50-3f5c-5c1e-8a50-0f6a1c7b2d11")
_SEEDED = "network.default_rules"
#: what remote_group_id says for "the group that this becomes a rule of"
PARENT = "PARENT"


def ready(reader: Reader) -> bool:
    return reader.setting(_SEEDED) is not None


def seed(tx: Tx) -> None:
    """Idempotent; of two first uses at once each row is made once."""
    if ready(tx):
        return
    for direction, remote, default, others in (("egress", "", True, True), ("ingress", PARENT, True, False)):
        for ethertype in ("IPv4", "IPv6"):
            insert_if_free(
                tx,
                DefaultRule(
                    id=str(uuid.uuid5(_NAMESPACE, f"{direction}:{ethertype}")),
                    direction=direction,
                    ethertype=ethertype,
                    remote_group_id=remote,
                    used_in_default=default,
                    used_in_others=others,
                ),
            )
    insert = postgresql.insert if tx.conn.dialect.name == "postgresql" else sqlite.insert
    # of two at once both may come here: a plain INSERT would abort PostgreSQL's transaction
    tx.conn.execute(insert(settings_table).values(name=_SEEDED, value="made").on_conflict_do_nothing())


def of(tx: Tx, *, default: bool) -> list[DefaultRule]:
    """What a new group starts with: the project's `default`, or another."""
    seed(tx)
    t = REGISTRY[DefaultRule].table.c
    return tx.select(DefaultRule, (t.used_in_default if default else t.used_in_others).is_(True))


#: what two of them may not have in common
_CONTENT = ("direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix",
            "remote_group_id", "remote_address_group_id")  # fmt: skip


def create(tx: Tx, wanted: DefaultRule) -> DefaultRule:
    """wanted: checked already, as a group's rule is. Raises DefaultSecurityGroupRuleExists."""
    seed(tx)
    same: dict[str, Any] = {name: getattr(wanted, name) for name in _CONTENT}
    known = tx.first(DefaultRule, **same)
    if known is not None:
        raise DefaultSecurityGroupRuleExists(f"Default security group rule already exists. Rule id is {known.id}.")
    return tx.add(replace(wanted, id=new_id()))


def delete(tx: Tx, rule: DefaultRule) -> None:
    """Groups that are there already keep theirs."""
    tx.remove(rule)
