"""A domain's own configuration. There is one source of users, the database: options of others are refused."""

from __future__ import annotations

from typing import Any

from trilith import errors
from trilith.model.identity import Domain
from trilith.model.identity_extensions import DomainConfig
from trilith.store.tx import Reader, Tx

Options = dict[str, dict[str, Any]]
#: what holds where a domain says nothing. The group ldap is known to Keystone, and has no options here.
DEFAULTS: Options = {"identity": {"driver": "sql", "list_limit": None}, "ldap": {}}
_LONGEST_LIST = 10_000


def checked(options: Options) -> Options:
    """Raises Forbidden for what would be kept without effect, as Keystone does for groups and options it does not know
    (InvalidDomainConfig)."""
    for group, values in options.items():
        if not isinstance(values, dict):
            raise errors.Invalid(f"The group {group} must be an object.", field=group)
        for name, value in values.items():
            if name not in DEFAULTS.get(group, {}):
                raise _refused(f"{group}.{name} is not supported: users are kept in the database only.")
            if name == "driver" and value != "sql":
                raise _refused(f"There is no identity driver {value!r}: users are kept in the database (sql).")
            if name == "list_limit":
                whole = isinstance(value, int) and not isinstance(value, bool)
                if value is not None and (not whole or not 1 <= value <= _LONGEST_LIST):
                    raise _refused(f"list_limit must be a number from 1 to {_LONGEST_LIST}.")
        if group not in DEFAULTS:
            raise _refused(f"There is no group {group}.")
    return options


def _refused(reason: str) -> errors.Forbidden:
    return errors.Forbidden(f"Invalid domain specific configuration: {reason}")


def config_of(reader: Reader, domain_id: str) -> DomainConfig | None:
    return reader.find(DomainConfig, domain_id)


def list_limit(reader: Reader, domain_id: str) -> int:
    """Users or groups of the domain in one answer at most, 0 where it sets no bound."""
    config = config_of(reader, domain_id) if domain_id else None
    return int(config.options.get("identity", {}).get("list_limit") or 0) if config else 0


def put(tx: Tx, domain_id: str, options: Options) -> bool:
    """In place of what there was; whether it was made anew. Raises Missing, Forbidden."""
    tx.get(Domain, domain_id)
    have = config_of(tx, domain_id)
    if have is None:
        tx.add(DomainConfig(id=domain_id, options=checked(options)))
        return True
    tx.change(have, options=checked(options))
    return False


def merge(tx: Tx, domain_id: str, options: Options) -> DomainConfig:
    """Raises Missing, Forbidden."""
    tx.get(Domain, domain_id)
    have = config_of(tx, domain_id)
    if have is None:
        raise missing(domain_id)
    merged = {g: have.options.get(g, {}) | options.get(g, {}) for g in (*have.options, *options)}
    return tx.change(have, options=checked(merged))


def erase(tx: Tx, domain_id: str, group: str = "", option: str = "") -> None:
    """All of it, a group or an option. Raises Missing."""
    tx.get(Domain, domain_id)
    have = config_of(tx, domain_id)
    if have is None or (group and group not in have.options) or (option and option not in have.options[group]):
        raise missing(domain_id)
    kept = {g: dict(v) for g, v in have.options.items() if group and (g != group or option)}
    if option:
        del kept[group][option]
    if kept:
        tx.change(have, options=kept)
    else:
        tx.remove(have)


def missing(domain_id: str) -> errors.Missing:
    return errors.Missing(f"Could not find domain configuration for domain {domain_id}.")
