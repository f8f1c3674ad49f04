"""tempest.conf for a cloud of ours. Everything is on; what is off says why."""

from __future__ import annotations

import configparser
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trilith.api.console.addresses import novnc
from trilith.config import Settings

#: settings of the cloud that tests of log-in rules count on, seconds and numbers
LOCKOUT_ATTEMPTS, LOCKOUT_SECONDS, PASSWORD_HISTORY = 2, 5, 2

#: aliases of Neutron extensions that Tempest asks for. Not metering: it counts bytes for a collector outside of the
#: API, nothing here would count, and OVN has no agent that does
EXTENSIONS = (
    "agent", "allowed-address-pairs", "address-scope", "auto-allocated-topology", "availability_zone", "binding",
    "default-subnetpools", "dhcp_agent_scheduler", "dvr", "ext-gw-mode", "external-net", "extra_dhcp_opt",
    "extraroute", "filter-validation", "flavors", "ip-substring-filtering", "l3-ha", "l3_agent_scheduler",
    "net-mtu", "net-mtu-writable", "network-ip-availability", "network_availability_zone", "pagination",
    "port-resource-request", "port-security", "project-id", "provider", "qos", "qos-bw-minimum-ingress",
    "quota_details", "quotas", "rbac-policies", "router",
    "security-group", "service-type", "sorting", "standard-attr-description", "standard-attr-revisions",
    "standard-attr-tag", "standard-attr-timestamp", "subnet_allocation", "tag", "trunk", "trunk-details",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A cloud that is up, and what the tests need of it, by id."""

    url: str
    password: str
    image: str
    image_alt: str
    flavor: str
    flavor_alt: str
    public_network: str
    files: str  # URL of the small files for web-download
    guests: bool  # they can be reached by ssh
    nodes: int
    enforce_format: bool = True
    hypervisor: str = "QEMU"
    networks: bool = True  # a network of its own for each class of tests
    unified_limits: bool = False  # servers are counted by Keystone's limits
    containers: bool = False  # its guests are
    emulated: bool = False  # its guests' CPUs are: what a guest does takes them many times longer
    volumes: bool = False  # the block storage service is tested
    formats: Path | None = None  # the manifest of images of every disk format


def render(target: Target, folder: Path) -> str:
    slow = 3 if target.emulated else 1
    sections: dict[str, Mapping[str, Any]] = {
        "DEFAULT": {"log_dir": folder / "logs", "log_file": "tempest.log", "use_stderr": False,
                    "resource_name_prefix": "tempest"},
        "oslo_concurrency": {"lock_path": folder / "lock"},
        "auth": {"use_dynamic_credentials": True, "create_isolated_networks": target.networks,
                 "admin_username": "admin", "admin_password": target.password, "admin_project_name": "admin",
                 "admin_domain_name": "Default",
                 "tempest_roles": "", "default_credentials_domain_name": "Default"},
        "identity": {"uri_v3": f"{target.url}/identity/v3", "region": "RegionOne", "v3_endpoint_type": "public",
                     "default_domain_id": "default", "user_lockout_failure_attempts": LOCKOUT_ATTEMPTS,
                     "user_lockout_duration": LOCKOUT_SECONDS, "user_unique_last_password_count": PASSWORD_HISTORY,
                     "user_minimum_password_age": 0},
        "identity-feature-enabled": {"trust": True, "api_extensions": "all", "security_compliance": True,
                                     "access_rules": True, "domain_specific_drivers": False,
                                     "immutable_user_source": False},
        "service_available": {"nova": True, "neutron": True, "glance": True,
                              "cinder": target.volumes,  # its compute tests come with attaching
                              "swift": False,  # nor object storage, which is out of scope
                              "horizon": False},  # its own dashboard's pages are not Horizon's
        "service-clients": {"http_timeout": 60},
        "compute": {"image_ref": target.image, "image_ref_alt": target.image_alt, "flavor_ref": target.flavor,
                    "flavor_ref_alt": target.flavor_alt, "build_timeout": 120 * slow, "build_interval": 1,
                    "max_microversion": "latest", "min_compute_nodes": target.nodes, "shelved_offload_time": 0,
                    "hypervisor_type": target.hypervisor},
        "compute-feature-enabled": {
            **dict.fromkeys(
                ("disk_config", "change_password", "console_output", "resize", "pause", "suspend", "shelve",
                 "shelve_migrate", "cold_migration", "live_migration", "live_migrate_back_and_forth",
                 "block_migration_for_live_migration", "can_migrate_between_any_hosts", "metadata_service",
                 "rescue", "stable_rescue", "ide_bus", "enable_instance_password",
                 "interface_attach", "snapshot", "personality", "hostname_fqdn_sanitization"), True),
            # a container's is the folder /config-drive (tests/contracts/test_compute_lxc.py), and Tempest mounts a disk
            "config_drive": not target.containers,
            # its page is of noVNC's files, which scripts/setup.sh fetches where it can
            "vnc_console": novnc(Settings()) is not None,
            # of volumes, which are not there yet
            **dict.fromkeys(("volume_backed_live_migration", "attach_encrypted_volume", "swap_volume",
                             "volume_multiattach"), False),
            # there is no SPICE; and the one test of serial consoles gives text to Tempest's own websocket, which takes
            # bytes, so it passes nowhere (tests/api/test_consoles.py stands in for it)
            "spice_console": False, "serial_console": False,
            # nine tests of quota sets skip with it, and one scenario without: that has a cloud of its own
            "unified_limits": target.unified_limits,
            "dhcp_domain": "", "scheduler_enabled_filters": "all", "nova_policy_roles": "admin,member,reader,manager"},
        # the project's reader and manager act where they may, and tokens of another scope are refused
        "enforce_scope": {"nova": True},
        "placement": {"max_microversion": "latest"},
        "image": {"build_timeout": 60, "container_formats": "bare,ami,ari,aki,ovf,ova",
                  "disk_formats": "qcow2,raw,ami,ari,aki,vhd,vmdk,vdi,iso,vhdx,gpt", "hashing_algorithm": "sha512",
                  "http_image": f"{target.files}/small.img", "http_qcow2_image": f"{target.files}/small.qcow2",
                  "image_caching_enabled": True,
                  **({"images_manifest_file": target.formats} if target.formats else {})},
        "image-feature-enabled": {"import_image": True, "os_glance_reserved": True, "do_secure_hash": True,
                                  "manage_locations": True, "http_store_enabled": True, "image_conversion": True,
                                  "store_weight_enabled": True,
                                  "image_format_enforcement": target.enforce_format},
        "volume": {"backend_names": "sim-1@sim,sim-2@sim", "max_microversion": "latest",
                   "catalog_type": "block-storage", "build_timeout": 60,
                   "storage_protocol": "simulated", "vendor_name": "Trilith", "volume_size": 1},
        "volume-feature-enabled": {
            # not there yet
            **dict.fromkeys(("backup", "multi_backend", "manage_snapshot", "manage_volume",
                             "consistency_group", "volume_image_dep_tests", "instance_locality_enabled"), False),
            "snapshot": True, "clone": True, "extend_attached_volume": False, "volume_revert": True,
            "api_extensions": "all"},
        "network": {"public_network_id": target.public_network, "floating_network_name": "public",
                    "project_network_cidr": "10.100.0.0/16", "project_network_mask_bits": 28,
                    "project_network_v6_cidr": "2001:db8::/48", "project_network_v6_mask_bits": 64,
                    "project_networks_reachable": False, "build_timeout": 60},
        "network-feature-enabled": {"api_extensions": ",".join(EXTENSIONS), "ipv6": True,
                                    "ipv6_subnet_attributes": True, "port_admin_state_change": True,
                                    "port_security": True, "floating_ips": True, "available_features": "all",
                                    # packet rates (qos_min_bw_and_pps) are promised by nothing here
                                    **({"qos_placement_physnet": "external"} if target.guests else {})},
        "validation": {"run_validation": target.guests, "connect_method": "floating", "auth_method": "keypair",
                       "ip_version_for_ssh": 4, "image_ssh_user": "tiny", "image_alt_ssh_user": "tiny",
                       "ssh_key_type": "ecdsa", "ping_timeout": 60 * slow, "connect_timeout": 30,
                       "ssh_timeout": 120 * slow,
                       "ssh_shell_prologue": "set -eu -o pipefail; PATH=$$PATH:/sbin:/usr/sbin;",
                       "security_group": True, "security_group_rules": True},
        "scenario": {"img_file": folder / "files" / "small.qcow2", "img_disk_format": "qcow2",
                     "img_container_format": "bare", "dhcp_client": "udhcpc", "protocol": "icmp"},
    }  # fmt: skip
    parser = configparser.RawConfigParser()
    for section, values in sections.items():
        if section != "DEFAULT":
            parser.add_section(section)
        for key, value in values.items():
            parser.set(section, key, str(value))
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()
