"""/v3/domains/{id}/config: a domain's own options, and those that hold for all."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import identity_domain_config as commands
from trilith.model.identity import DEFAULT_DOMAIN, Domain
from trilith.model.identity_extensions import DomainConfig
from trilith.store.tx import Reader

_COMPLIANCE = "security_compliance"
_COMPLIANCE_OPTIONS = ("password_regex", "password_regex_description")


class ConfigBody(Struct):
    config: dict[str, Any]


def _where(call: Call) -> tuple[str, str, str]:
    return call.params.get("domain_id", ""), call.params.get("group", ""), call.params.get("option", "")


def _part(options: dict[str, dict[str, Any]], group: str, option: str, absent: errors.Missing) -> dict[str, Any]:
    """What the path asks for of the options. Raises Missing."""
    if not group:
        return dict(options)
    if group not in options or (option and option not in options[group]):
        raise absent
    return {option: options[group][option]} if option else {group: options[group]}


async def show_default(call: Call) -> dict[str, Any]:
    """200: what holds where a domain says nothing. 403 for an unknown group or option."""
    _, group, option = _where(call)
    if group and group not in commands.DEFAULTS:
        raise errors.Forbidden(f"Invalid domain specific configuration: There is no group {group}.")
    if option and option not in commands.DEFAULTS[group]:
        raise errors.Forbidden(f"Invalid domain specific configuration: There is no option {group}.{option}.")
    return {"config": _part(commands.DEFAULTS, group, option, commands.missing("default"))}


async def show(call: Call) -> dict[str, Any]:
    """200. 403, 404 also for a domain that has none. The group security_compliance is for everyone to read."""
    domain_id, group, option = _where(call)
    if group == _COMPLIANCE:
        return _compliance(call, domain_id, option)
    call.allow("identity:get_domain_config")

    def look(reader: Reader) -> DomainConfig | None:
        reader.get(Domain, domain_id)
        return commands.config_of(reader, domain_id)

    found = await call.read(look)
    if found is None:
        raise commands.missing(domain_id)
    return {"config": _part(found.options, group, option, commands.missing(domain_id))}


def _compliance(call: Call, domain_id: str, option: str) -> dict[str, Any]:
    """How passwords must look, of the default domain, as in Keystone. Raises Forbidden for another."""
    call.allow("identity:get_security_compliance_domain_config")
    if domain_id != DEFAULT_DOMAIN:
        raise errors.Forbidden("Only the default domain has the group security_compliance.")
    settings = call.host.settings
    shown = {name: getattr(settings, name) or None for name in _COMPLIANCE_OPTIONS}
    if option and option not in shown:
        raise errors.Forbidden(f"There is no option {_COMPLIANCE}.{option} to be read.")
    return {"config": {option: shown[option]} if option else {_COMPLIANCE: shown}}


async def put(call: Call) -> Answer:
    """201, or 200 in place of one that was there. 403 also for options that have no effect here, 404."""
    domain_id, given = call.params["domain_id"], call.body.config
    made = await call.write(lambda tx: commands.put(tx, domain_id, given), "domain_config.create")
    return Answer({"config": given}, status=201 if made else 200)


async def update(call: Call) -> dict[str, Any]:
    """200: the whole configuration. 400 where body and path differ, 403 as for PUT, 404."""
    domain_id, group, option = _where(call)
    given = call.body.config
    if option:
        if set(given) != {option}:
            raise errors.Invalid(f"The body must hold the option {option} alone.", field="config")
        given = {group: given}
    elif group and set(given) != {group}:
        raise errors.Invalid(f"The body must hold the group {group} alone.", field="config")
    done = await call.write(lambda tx: commands.merge(tx, domain_id, given), "domain_config.update")
    return {"config": done.options}


async def delete(call: Call) -> None:
    """204. 403, 404."""
    domain_id, group, option = _where(call)
    await call.write(lambda tx: commands.erase(tx, domain_id, group, option), "domain_config.delete")
