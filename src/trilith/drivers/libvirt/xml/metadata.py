"""<metadata>: whose domain this is. https://libvirt.org/formatdomain.html#general-metadata

The element is the only proof that a domain is ours: a driver never touches one without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError, fromstring, register_namespace

from trilith.drivers.libvirt.xml import child
from trilith.model.guest import GuestSpec, ImageForm

NAMESPACE = "urn:trilith:domain:1"
PREFIX = "trilith"
register_namespace(PREFIX, NAMESPACE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """What the metadata of one domain says."""

    cloud_id: str
    server_id: str
    bare: bool
    ports: tuple[str, ...]


def metadata(spec: GuestSpec) -> Element:
    root = Element("metadata")
    server = child(
        root,
        f"{{{NAMESPACE}}}server",
        cloud=spec.cloud_id,
        id=spec.server_id,
        project=spec.project_id,
        form=spec.image.form.value,
    )
    for nic in spec.nics:
        child(server, f"{{{NAMESPACE}}}port", id=nic.port_id, ifname=nic.ifname, mac=nic.mac)
    return root


def owner_of(text: str) -> Owner | None:
    """Read what `virDomainGetMetadata` gave; None when it is not an element of ours."""
    try:
        server = fromstring(text)
    except ParseError:
        return None
    # libvirt answers with the prefix that the element was stored under, or with none; the local name is what counts
    if server.tag.rpartition("}")[2] != "server":
        return None
    ports = tuple(e.get("id", "") for e in server if e.tag.rpartition("}")[2] == "port")
    return Owner(
        cloud_id=server.get("cloud", ""),
        server_id=server.get("id", ""),
        bare=server.get("form") == ImageForm.BARE.value,
        ports=ports,
    )
