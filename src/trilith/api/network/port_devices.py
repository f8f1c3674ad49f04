"""Whose a port says it is: its device_owner and device_id, which the cloud acts upon.

Routers, servers and the metadata service find their ports by these two, so not everybody may write everything there
(Neutron: the rules create_port:device_owner and update_port:device_owner, and CVE-2014-0056, CVE-2015-5240).
"""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from trilith.api.http.call import Call
from trilith.api.network import listing
from trilith.commands.network_faults import DeviceIDNotOwnedByTenant
from trilith.commands.ports import is_service
from trilith.model.network import Network, Port, Router
from trilith.model.server import Server
from trilith.store.tx import Tx

Given = str | UnsetType | None
#: owners whose ports have neither security groups nor guards against spoofing
_TRUSTED = "network:"


def check(
    call: Call, tx: Tx, network: Network, project_id: str, owner: Given, device: Given, port: Port | None = None
) -> None:
    """owner, device: what is asked for; project_id: whose the port is; port: as it was, where it is changed.

    Raises Forbidden for ports that the cloud makes by itself, and for unguarded ones on another's network;
    DeviceIDNotOwnedByTenant for the id of another project's server or router.
    """
    had_owner, had_device = (port.device_owner, port.device_id) if port is not None else ("", "")
    new_owner = had_owner if owner is UNSET else owner or ""
    new_device = had_device if device is UNSET else device or ""
    if (new_owner, new_device) == (had_owner, had_device):
        return
    if is_service(new_owner) or is_service(had_owner):
        call.allow("context_is_admin")
    if new_owner != had_owner and new_owner.startswith(_TRUSTED):
        rule = "create_port:device_owner" if port is None else "update_port:device_owner"
        call.allow(rule, project_id=network.project_id)
    if new_device in ("", had_device) or listing.viewer(call).admin:
        return
    server, router = tx.find(Server, new_device), tx.find(Router, new_device)
    if any(found is not None and found.project_id != project_id for found in (server, router)):
        raise DeviceIDNotOwnedByTenant(
            f"The following device_id {new_device} is not owned by your tenant or matches another tenants router.",
            field="device_id",
        )
