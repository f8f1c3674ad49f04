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
    "volume": ("tempest.api.volume.",),
    "serial": ("tempest.serial_tests.",),
    "scenario": ("tempest.scenario.",),
}
#: areas a driver runs: scenarios log in to guests, which simulated ones do not have
OF_DRIVER: dict[str, tuple[str, ...]] = {
    "simulated": ("identity", "image", "network", "compute", "serial"),
    "lxc": ("network", "compute", "serial", "scenario"),
    "libvirt": ("compute", "scenario"),
}
_SUSPEND = "a container cannot be suspended to disk"
_SCREEN = "a container has no screen"
_BUSES = "a container has no disks on buses"
_EPHEMERAL = "no driver makes ephemeral disks or swap: no node takes a server of such a flavor, and each says why"
_PING = "the host's kernel answers pings for a frozen container"
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
    "tempest.api.compute.admin.test_create_server.ServersWithSpecificFlavorTestJSON."
    "test_verify_created_server_ephemeral_disk": _EPHEMERAL,
    "tempest.api.compute.admin.test_migrations.MigrationsAdminTest.test_cold_migration_with_swap": _EPHEMERAL,
    "tempest.scenario.test_network_qos_placement.MinBwAllocationPlacementTest."
    "test_qos_min_bw_allocation_update_policy_from_zero": "wants a promise of bandwidth to a running server that its "
    "node is not asked for: here the node is, and the promise holds (tests/api/test_minimum_bandwidth.py)",
}
#: what one driver does not run
EXCLUDED_OF: dict[str, dict[str, str]] = {
    # each of them passes with VMs or with simulated guests
    "lxc": {
        **dict.fromkeys(
            (
                "tempest.api.compute.admin.test_live_migration_negative.LiveMigrationNegativeTest."
                "test_live_block_migration_suspended",
                "tempest.api.compute.admin.test_servers_negative.ServersAdminNegativeTestJSON."
                "test_migrate_server_invalid_state",
                "tempest.api.compute.images.test_images.ImagesTestJSON.test_create_image_from_suspended_server",
                "tempest.api.compute.servers.test_delete_server.DeleteServersTestJSON."
                "test_delete_server_while_in_suspended_state",
                "tempest.api.compute.servers.test_server_actions.ServerActionsTestJSON.test_suspend_resume_server",
                "tempest.api.compute.servers.test_servers_negative.ServersNegativeTestJSON."
                "test_suspend_server_invalid_state",
                "tempest.scenario.test_network_advanced_server_ops.TestNetworkAdvancedServerOps."
                "test_server_connectivity_suspend_resume",
                "tempest.scenario.test_server_advanced_ops.TestServerAdvancedOps.test_server_sequence_suspend_resume",
            ),
            _SUSPEND,
        ),
        "tempest.scenario.test_network_advanced_server_ops.TestNetworkAdvancedServerOps."
        "test_server_connectivity_pause_unpause": _PING,
        "tempest.api.compute.servers.test_novnc.NoVNCConsoleTestJSON.": _SCREEN,
        "tempest.api.compute.servers.test_server_actions.ServerActionsTestOtherB.test_get_vnc_console": _SCREEN,
        "tempest.api.compute.servers.test_server_rescue.ServerStableDeviceRescueTest": _BUSES,
    },
    "libvirt": {
        "tempest.api.compute.servers.test_server_rescue.ServerStableDeviceRescueTestIDE.": "a q35 machine has no IDE: "
        "a rescue that asks for it is answered with 400",
    },
}

_COMPUTE = "tempest.api.compute."
#: what a driver runs of its areas, where that is not all: beginnings of tests' ids
ONLY_OF: dict[str, tuple[str, ...]] = {
    # where it matters that the server is a machine: it boots, has devices, a screen and memory to save. What the API
    # does whatever a guest is, DRIVER=simulated runs
    "libvirt": (
        *EXCLUDED_OF["lxc"],
        f"{_COMPUTE}admin.test_create_server.",
        f"{_COMPUTE}admin.test_server_diagnostics.",
        f"{_COMPUTE}admin.test_servers.",
        f"{_COMPUTE}images.test_images.",
        f"{_COMPUTE}images.test_images_oneserver.",
        f"{_COMPUTE}servers.test_attach_interfaces.",
        f"{_COMPUTE}servers.test_create_server.",
        f"{_COMPUTE}servers.test_create_server_multi_nic.",
        f"{_COMPUTE}servers.test_delete_server.",
        f"{_COMPUTE}servers.test_device_tagging.",
        f"{_COMPUTE}servers.test_disk_config.",
        f"{_COMPUTE}servers.test_novnc.",
        f"{_COMPUTE}servers.test_server_actions.",
        f"{_COMPUTE}servers.test_server_password.",
        f"{_COMPUTE}servers.test_server_personality.",
        f"{_COMPUTE}servers.test_server_rescue.",
        f"{_COMPUTE}servers.test_server_rescue_negative.",
        "tempest.scenario.",
    ),
}
#: what runs after all others, where guests answer ssh: beginning of a test's id → why
APART = {
    "tempest.api.compute.servers.test_server_actions.ServerActionsTestJSON.test_change_server_password": "it takes the "
    "floating IP of its class's server for one of its own, and gives it to nobody: no test of the class can log in "
    "after it",
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


def belongs(test: str, driver: str) -> bool:
    """Whether the driver runs it, or names why not."""
    return driver not in ONLY_OF or test.startswith(ONLY_OF[driver])


def apart(test: str) -> bool:
    return test.startswith(tuple(APART))


def wants_any_format(why: str) -> bool:
    """Whether a test was skipped because the cloud checks that an upload is of the format it declares."""
    return "format enforcement" in why


def wants_unified_limits(why: str) -> bool:
    """Whether a test was skipped because servers are counted by quota sets, not by Keystone's limits."""
    return "unified limits are not enabled" in why


def share(tests: Iterable[str], part: float) -> list[str]:
    """About `part` of each area's tests, chosen by the hash of their ids: nobody picks. The order is kept."""
    limit = int(part * 2**32)
    return [t for t in tests if int.from_bytes(hashlib.sha256(name(t).encode()).digest()[:4]) < limit]


def name(test: str) -> str:
    """Its id without the attributes in brackets; of a test with scenarios, with the scenario's name behind."""
    return _ATTRIBUTES.sub("", test)
