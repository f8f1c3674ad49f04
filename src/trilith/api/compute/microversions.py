"""What each microversion of the compute API changed: the one table that wire types, handlers and routes ask.

Source: "REST API Version History" of Nova's documentation. A flag names a difference that this service makes; steps
without a flag change nothing that is served here, and `why` says why. No other module names a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from trilith.api.http.versions import Microversions, Version


@dataclass(frozen=True)
class Step:
    minor: int
    flags: tuple[str, ...]
    what: str
    why: str = ""  # of a step without a flag: why nothing differs here


_NO_VOLUMES = "volumes cannot be attached to servers yet: every request about them is refused alike"

STEPS: Final = (
    Step(2, ("keypair_type",), "type of key pairs; create answers 201, delete 204"),
    Step(3, ("extended_attributes",), "more OS-EXT-SRV-ATTR fields; delete_on_termination of volumes"),
    Step(4, (), "reserved of os-fixed-ips", "os-fixed-ips was removed from all versions"),
    Step(5, ("ip6_filter",), "the ip6 filter of servers for everyone"),
    Step(6, ("remote_consoles",), "one API for remote consoles in place of the actions"),
    Step(7, ("access_of_public",), "giving access to a public flavor is a conflict"),
    Step(8, ("console_mks",), "console protocol mks, which is refused"),
    Step(9, ("locked",), "locked in servers"),
    Step(10, ("keypair_user",), "user_id for key pairs of other users"),
    Step(11, ("forced_down",), "forced_down of services and PUT os-services/force-down"),
    Step(12, (), "net_id of os-virtual-interfaces", "os-virtual-interfaces was removed from all versions"),
    Step(13, ("group_owner",), "project_id and user_id of server groups"),
    Step(14, ("no_shared_storage",), "onSharedStorage leaves evacuate"),
    Step(15, ("soft_affinity",), "soft-affinity and soft-anti-affinity"),
    Step(16, ("host_status",), "host_status in servers"),
    Step(17, ("crash_dump",), "trigger_crash_dump"),
    Step(18, (), "project_id optional in the path", "paths never carry it here"),
    Step(19, ("description",), "description of servers"),
    Step(20, (), "volumes of shelved servers", _NO_VOLUMES),
    Step(21, ("actions_of_deleted",), "instance actions of deleted servers"),
    Step(22, ("force_complete",), "force a live migration to complete"),
    Step(23, ("server_migrations",), "servers/{id}/migrations"),
    Step(24, ("abort_migration",), "abort a live migration"),
    Step(25, ("block_auto",), "block_migration auto, without disk_over_commit"),
    Step(26, ("tags",), "tags of servers"),
    Step(27, (), "the OpenStack-API-Version header", "both headers are read in all versions"),
    Step(28, ("cpu_info_object",), "cpu_info of hypervisors is an object"),
    Step(29, ("evacuate_force",), "force in evacuate"),
    Step(30, ("live_force",), "force in live migration"),
    Step(31, ("console_tokens",), "os-console-auth-tokens for all types"),
    Step(32, ("boot_tags",), "tag of networks and disks at boot"),
    Step(33, ("hypervisor_paging", "disk_boot_tags_lost"), "paging of hypervisors; by mistake no tag of disks"),
    Step(34, (), "checks of live migration later", "what can be known at once is checked at once in all versions"),
    Step(35, ("keypair_paging",), "paging of key pairs"),
    Step(36, ("no_proxies",), "proxies to other services are gone"),
    Step(37, ("networks_required", "nic_boot_tags_lost"), "networks is required at boot; by a mistake without tag"),
    Step(38, ("status_checked",), "400 for an unknown status filter"),
    Step(39, ("no_image_metadata",), "image metadata proxy, its quota in createImage and maxImageMeta are gone"),
    Step(40, ("usage_paging",), "paging of os-simple-tenant-usage"),
    Step(41, ("aggregate_uuid",), "uuid of aggregates"),
    Step(42, ("boot_tags_restored",), "tag of networks and disks at boot once more"),
    Step(43, ("no_hosts",), "os-hosts is gone"),
    Step(44, ("no_ip_actions",), "addFloatingIp and its kin are gone"),
    Step(45, ("image_id_body",), "createImage answers a body in place of a Location"),
    Step(46, (), "X-OpenStack-Request-ID", "sent in all versions"),
    Step(47, ("flavor_embedded",), "the flavor of a server as it was"),
    Step(48, ("diagnostics_standard",), "one form of diagnostics"),
    Step(49, ("attach_tags",), "tag when attaching an interface"),
    Step(50, ("quota_class_compute",), "quota classes without network resources, with server groups"),
    Step(51, ("events_for_all",), "events of instance actions for everyone; event volume-extended"),
    Step(52, ("create_tags",), "tags at creation"),
    Step(53, ("uuids",), "services and hypervisors by uuid; PUT os-services/{id}"),
    Step(54, ("rebuild_key",), "key_name in rebuild"),
    Step(55, ("flavor_description",), "description of flavors; PUT flavors/{id}"),
    Step(56, ("migrate_host",), "host in migrate"),
    Step(57, ("no_personality",), "personality and its limits are gone; user_data in rebuild"),
    Step(58, ("action_paging",), "paging and updated_at of instance actions"),
    Step(59, ("migration_paging",), "paging of os-migrations"),
    Step(60, (), "multi-attach", _NO_VOLUMES),
    Step(61, ("flavor_extra_specs",), "extra_specs in flavors"),
    Step(62, ("event_host",), "host and hostId of action events"),
    Step(63, ("trusted_certificates",), "trusted_image_certificates"),
    Step(64, ("group_policy",), "policy and rules of server groups in place of policies and metadata"),
    Step(65, ("abort_queued",), "abort of queued live migrations"),
    Step(66, ("changes_before",), "changes-before filters"),
    Step(67, (), "volume_type in block_device_mapping_v2", _NO_VOLUMES),
    Step(68, ("no_force",), "no forced live migration and evacuation"),
    Step(69, (), "partial answers while a cell is down", "there are no cells"),
    Step(70, ("device_tags",), "tag of interfaces and volume attachments"),
    Step(71, ("server_groups",), "server_groups of a server"),
    Step(72, (), "ports with resource requests at boot", "ports have no resource requests"),
    Step(73, ("locked_reason",), "reason of a lock; locked as filter and sort key"),
    Step(74, ("requested_host",), "host and hypervisor_hostname at boot"),
    Step(75, ("consistent",), "unknown query parameters are refused; PUT and rebuild answer as GET; swap 0"),
    Step(76, ("power_update",), "external event power-update"),
    Step(77, ("unshelve_zone",), "availability_zone in unshelve"),
    Step(78, ("topology",), "servers/{id}/topology"),
    Step(79, (), "delete_on_termination of attachments", _NO_VOLUMES),
    Step(80, ("migration_owner",), "user_id and project_id filters of migrations"),
    Step(81, ("aggregate_images",), "os-aggregates/{id}/images"),
    Step(82, ("accelerator_event",), "external event accelerator-request-bound"),
    Step(83, ("member_filters",), "more server filters for everyone"),
    Step(84, ("event_details",), "details of failed action events"),
    Step(85, ("update_attachment",), "delete_on_termination of an attachment can change"),
    Step(86, ("checked_extra_specs",), "known extra specs are checked"),
    Step(87, (), "rescue of volume-backed servers", _NO_VOLUMES),
    Step(88, ("hypervisor_brief",), "hypervisors without usage; uptime in them"),
    Step(89, (), "attachment_id of attachments", _NO_VOLUMES),
    Step(90, ("hostname",), "hostname at boot, update and rebuild, shown to everyone"),
    Step(91, ("unshelve_host",), "unshelve to a host, and without a pinned zone"),
    Step(92, ("import_only",), "key pairs are only imported; @ and . in their names"),
    Step(93, (), "rebuild of volume-backed servers", _NO_VOLUMES),
    Step(94, ("hostname_fqdn",), "a qualified name as hostname"),
    Step(95, ("evacuated_stopped",), "evacuated servers stay stopped"),
    Step(96, ("pinned_zone",), "pinned_availability_zone"),
    Step(97, ("shares",), "servers/{id}/shares"),
    Step(98, ("image_properties",), "properties of a server's image"),
    Step(99, ("console_spice_direct",), "console type spice-direct, which is refused; tls_port of console tokens"),
    Step(100, ("scheduler_hints",), "scheduler_hints in servers"),
    Step(101, (), "volumes attached later, with 202", _NO_VOLUMES),
    Step(102, ("strict_queries",), "flavors by name, without rxtx_factor and disabled; all queries checked"),
    Step(103, ("no_volumes_boot",), "os-volumes_boot is gone"),
    Step(104, ("repin_zone",), "pinned_availability_zone can be updated"),
)

_SINCE: Final = {flag: step.minor for step in STEPS for flag in step.flags}

MICROVERSIONS = Microversions(
    service_type="compute",
    minimum=Version(2, 1),
    maximum=Version(2, STEPS[-1].minor),
    legacy="x-openstack-nova-api-version",
)


def has(version: Version, flag: str) -> bool:
    """Whether the difference `flag` holds in this version."""
    return version.minor >= _SINCE[flag]


def boot_tags(version: Version, lost: str) -> bool:
    """Whether a server's creation takes a tag. lost: the flag that took it away until it was restored."""
    return has(version, "boot_tags") and (not has(version, lost) or has(version, "boot_tags_restored"))


def since(flag: str) -> str:
    """The first version with the difference, for Route.since."""
    return f"2.{_SINCE[flag]}"


def before(flag: str) -> str:
    """The last version without the difference, for Route.until."""
    return f"2.{_SINCE[flag] - 1}"
