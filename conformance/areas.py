"""Which part of the API a test belongs to, and which tests are left out, each by name and with its reason."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

#: area → prefixes of test ids, in the order of the table
AREAS: dict[str, tuple[str, ...]] = {
    "identity": ("tempest.api.identity.",),
    "image": ("tempest.api.image.",),
    "network": ("tempest.api.network.",),
    "compute": ("tempest.api.compute.",),
    "serial": ("tempest.serial_tests.",),
    "scenario": ("tempest.scenario.",),
}
#: areas a driver runs: scenarios log in to guests, which simulated ones do not have
OF_DRIVER: dict[str, tuple[str, ...]] = {
    "simulated": ("identity", "image", "network", "compute", "serial"),
    "lxc": ("network", "compute", "serial", "scenario"),
    "libvirt": ("compute", "scenario"),
}
_SUSPEND = "a container cannot be suspended to disk; passed with DRIVER=libvirt"
#: what no driver runs: beginning of a test's id → why
EXCLUDED: dict[str, str] = {
    **dict.fromkeys(
        (
            "tempest.api.identity.admin.v3.test_domain_configuration.DomainConfigurationTestJSON." + test
            for test in (
                "test_create_domain_config_and_show_config_groups_and_options",
                "test_create_update_and_delete_domain_config[",
                "test_create_update_and_delete_domain_config_groups_and_opts",
            )
        ),
        "stores an LDAP server, or a driver of any name, for a domain: there is no LDAP, so it would have no effect",
    ),
}
#: what one driver does not run
EXCLUDED_OF: dict[str, dict[str, str]] = {
    "lxc": {
        "tempest.scenario.test_network_advanced_server_ops.TestNetworkAdvancedServerOps."
        "test_server_connectivity_suspend_resume": _SUSPEND,
        "tempest.scenario.test_server_advanced_ops.TestServerAdvancedOps.test_server_sequence_suspend_resume": _SUSPEND,
        "tempest.scenario.test_network_advanced_server_ops.TestNetworkAdvancedServerOps."
        "test_server_connectivity_pause_unpause": "the host's kernel answers pings for a frozen container; "
        "passed with DRIVER=libvirt",
    },
}

_ATTRIBUTES = re.compile(r"\[[^\]]*\]")


def area_of(test: str) -> str:
    """Raises ValueError for a test of no area of ours."""
    for area, prefixes in AREAS.items():
        if test.startswith(prefixes):
            return area
    raise ValueError(test)


def is_negative(test: str) -> bool:
    return "negative" in test.lower()


def excluded(test: str, driver: str) -> str:
    """The reason, "" for a test that is run."""
    known = EXCLUDED | EXCLUDED_OF.get(driver, {})
    return next((why for start, why in known.items() if test.startswith(start)), "")


def wants_any_format(why: str) -> bool:
    """Whether a test was skipped because the cloud checks that an upload is of the format it declares."""
    return "format enforcement" in why


def share(tests: Iterable[str], part: float) -> list[str]:
    """About `part` of each area's tests, chosen by the hash of their ids: nobody picks. The order is kept."""
    limit = int(part * 2**32)
    return [t for t in tests if int.from_bytes(hashlib.sha256(name(t).encode()).digest()[:4]) < limit]


def name(test: str) -> str:
    """Its id without the attributes in brackets; of a test with scenarios, with the scenario's name behind."""
    return _ATTRIBUTES.sub("", test)
