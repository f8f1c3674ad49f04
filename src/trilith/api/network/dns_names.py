"""Names and domains in the DNS, as Neutron takes them (RFC 1123, 2.1; RFC 1034, 3.1)."""

from __future__ import annotations

import re

from trilith.commands.network_faults import InvalidInput

_LABEL = re.compile(r"^(?!-)[A-Za-z0-9-]{1,63}(?<!-)$")
#: characters of a whole name, and what a domain leaves for a label before it
_LONGEST, _ROOM = 255, 2


def check_name(name: str) -> str:
    """Raises InvalidInput for a dns_name that is none."""
    if name and not _is_name(name):
        raise InvalidInput(f"Invalid input for dns_name. Reason: '{name}' not a valid PQDN or FQDN.", field="dns_name")
    return name


def check_domain(domain: str) -> str:
    """With its final dot. Raises InvalidInput."""
    wrong = ""
    if domain and not domain.endswith("."):
        wrong = f"'{domain}' is not a FQDN"
    elif domain and not _is_name(domain):
        wrong = f"'{domain}' not a valid PQDN or FQDN"
    elif len(domain) > _LONGEST - _ROOM:
        wrong = f"'{domain}' leaves no room for a name in it: a FQDN has at most {_LONGEST} characters"
    if wrong:
        raise InvalidInput(f"Invalid input for dns_domain. Reason: {wrong}.", field="dns_domain")
    return domain


def _is_name(name: str) -> bool:
    labels = name.removesuffix(".").split(".")
    return all(_LABEL.match(label) for label in labels) and (len(labels) == 1 or not labels[-1].isdigit())
