"""What a server may know about itself, exactly as Nova's metadata service and config drive say it. Pure.

Sources: Nova's user guide (metadata, config drive and vendordata pages) and the form of `network_data.json` that
cloud-init reads. Versions are cumulative: a file appears in the version that introduced it and in all later ones.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import posixpath
import re
from dataclasses import dataclass
from typing import Union

from trilith.model.instance import FixedAddress, InstanceData, InstanceNic, TaggedDevice

EC2_VERSIONS = (
    "1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01",
    "2009-04-04",
)  # fmt: skip
FOLSOM, GRIZZLY, HAVANA, LIBERTY = "2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15"
NEWTON_ONE, NEWTON_TWO, OCATA, ROCKY, VICTORIA = "2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27", "2020-10-14"
OPENSTACK_VERSIONS = (FOLSOM, GRIZZLY, HAVANA, LIBERTY, NEWTON_ONE, NEWTON_TWO, OCATA, ROCKY, VICTORIA)
LATEST = "latest"

Json = Union[None, bool, int, str, "list[Json]", "dict[str, Json]"]
#: the EC2 tree: a dict is a folder, a list one value a line
Tree = Union[str, bytes, "list[str]", "dict[str, Tree]"]


@dataclass(frozen=True, slots=True)
class Listing:
    """A folder's entries, one a line when rendered."""

    entries: tuple[str, ...]

    def render(self) -> bytes:
        return "\n".join(self.entries).encode()


def _dump(value: Json) -> bytes:
    return json.dumps(value).encode()


def _routes(address: FixedAddress, version: int) -> list[Json]:
    found: list[Json] = []
    if address.gateway:
        everything = "0.0.0.0" if version == 4 else "::"
        found.append({"network": everything, "netmask": everything, "gateway": address.gateway})
    for destination, hop in address.routes:
        network = ipaddress.ip_network(destination, strict=False)
        found.append({"network": str(network.network_address), "netmask": str(network.netmask), "gateway": hop})
    return found


def _network(nic: InstanceNic, address: FixedAddress, number: int) -> dict[str, Json]:
    subnet = ipaddress.ip_network(address.cidr, strict=False)
    entry: dict[str, Json] = {"id": f"network{number}", "link": nic.link, "network_id": nic.network_id}
    if subnet.version == 4 and address.dhcp:
        return {**entry, "type": "ipv4_dhcp"}
    mode = f"_{address.ipv6_address_mode}" if subnet.version == 6 and address.ipv6_address_mode else ""
    return {
        **entry,
        "type": f"ipv{subnet.version}{mode}",
        "ip_address": address.address,
        "netmask": str(subnet.netmask),
        "routes": _routes(address, subnet.version),
        "services": [{"type": "dns", "address": server} for server in address.dns],
    }


def network_data(data: InstanceData) -> dict[str, Json]:
    """`network_data.json`: links with their MTU, a network for each subnet with an address, DNS and NTP services."""
    links: list[Json] = []
    networks: list[Json] = []
    services: list[Json] = []
    for nic in data.networks:
        if not nic.addresses:
            continue
        links.append({"id": nic.link, "vif_id": nic.port_id, "type": nic.vif_type, "mtu": nic.mtu or None,
                      "ethernet_mac_address": nic.mac})  # fmt: skip
        seen: set[str] = set()
        for address in nic.addresses:
            # further addresses of one subnet are the guest's own business, as with Nova
            if address.cidr in seen:
                continue
            seen.add(address.cidr)
            networks.append(_network(nic, address, len(networks)))
            for kind, servers in (("dns", address.dns), ("ntp", address.ntp)):
                for server in servers:
                    service: Json = {"type": kind, "address": server}
                    if service not in services:
                        services.append(service)
    return {"links": links, "networks": networks, "services": services}


def _device(device: TaggedDevice, version: str) -> dict[str, Json]:
    named = {"address": device.address, "mac": device.mac, "serial": device.serial, "path": device.path}
    entry: dict[str, Json] = {"type": device.type, "bus": device.bus}
    entry |= {name: value for name, value in named.items() if value}
    if device.type == "nic" and version >= OCATA and device.vlan:
        entry["vlan"] = device.vlan
    if device.type == "nic" and version >= ROCKY:
        entry["vf_trusted"] = device.vf_trusted
    entry["tags"] = list(device.tags)
    return entry


def meta_data(data: InstanceData, version: str, *, config_drive: bool = False) -> dict[str, Json]:
    """`meta_data.json` of one dated version."""
    meta: dict[str, Json] = {"uuid": data.uuid}
    if data.meta:
        meta["meta"] = dict(data.meta)
    if data.files:
        meta["files"] = [
            {"path": file.path, "content_path": f"/content/{number:04d}"} for number, file in enumerate(data.files)
        ]
    if config_drive and data.admin_pass:
        meta["admin_pass"] = data.admin_pass
    if data.keys:
        meta["public_keys"] = {key.name: key.public_key for key in data.keys}
        meta["keys"] = [{"name": key.name, "type": key.type, "data": key.public_key} for key in data.keys]
    meta |= {"hostname": data.hostname, "name": data.name, "launch_index": data.launch_index,
             "availability_zone": data.availability_zone}  # fmt: skip
    if version >= GRIZZLY and data.random_seed:
        meta["random_seed"] = base64.b64encode(data.random_seed).decode()
    if version >= LIBERTY:
        meta["project_id"] = data.project_id
    if version >= NEWTON_ONE:
        meta["devices"] = [_device(device, version) for device in data.devices]
    if version >= VICTORIA:
        meta["dedicated_cpus"] = list(data.dedicated_cpus)
    return meta


def openstack_files(data: InstanceData, version: str, *, config_drive: bool = False) -> dict[str, bytes]:
    """Name → content of `openstack/VERSION/`, in the order in which Nova lists them."""
    files = {"meta_data.json": _dump(meta_data(data, version, config_drive=config_drive))}
    if data.user_data is not None:
        files["user_data"] = data.user_data
    if version >= GRIZZLY and not config_drive:
        files["password"] = data.password
    if version >= HAVANA:
        files["vendor_data.json"] = _dump(data.vendor_data)
    if version >= LIBERTY:
        files["network_data.json"] = _dump(network_data(data))
    if version >= NEWTON_TWO:
        files["vendor_data2.json"] = _dump(data.vendor_data2)
    return files


def _short_id(prefix: str, uuid: str) -> str:
    return f"{prefix}-{uuid.replace('-', '')[:8]}" if uuid else ""


def ec2_tree(data: InstanceData, version: str) -> dict[str, Tree]:
    """The EC2 tree of one version: meta-data, and user-data where there is some."""
    addresses = [a for nic in data.networks for a in nic.addresses if ipaddress.ip_address(a.address).version == 4]
    floating = next((a.floating for a in addresses if a.floating), "")
    meta: dict[str, Tree] = {
        "ami-id": _short_id("ami", data.image_id),
        "ami-launch-index": str(data.launch_index),
        "ami-manifest-path": "FIXME",
        "hostname": data.hostname,
        "instance-id": _short_id("i", data.uuid),
        "local-ipv4": addresses[0].address if addresses else "",
        "reservation-id": data.reservation_id,
        "security-groups": list(data.security_groups),
    }
    if data.keys:
        meta["public-keys"] = {
            str(number): {"_name": f"{number}={key.name}", "openssh-key": key.public_key}
            for number, key in enumerate(data.keys)
        }
    if version >= "2007-01-19":
        meta |= {"local-hostname": data.hostname, "public-hostname": data.hostname, "public-ipv4": floating}
    if version >= "2007-08-29":
        meta["instance-type"] = data.flavor
    if version >= "2007-12-15":
        meta["block-device-mapping"] = {"ami": data.root_device.removeprefix("/dev/"), "root": data.root_device}
    if version >= "2008-02-01":
        meta["placement"] = {"availability-zone": data.availability_zone}
    if version >= "2008-09-01":
        meta["instance-action"] = "none"
    tree: dict[str, Tree] = {"meta-data": meta}
    if data.user_data is not None:
        tree["user-data"] = data.user_data
    return tree


def _show(tree: Tree) -> bytes | Listing:
    if isinstance(tree, bytes):
        return tree
    if isinstance(tree, str):
        return tree.encode()
    if isinstance(tree, list):
        return "\n".join(tree).encode()
    entries = []
    for name in sorted(tree):
        below = tree[name]
        if name == "_name":
            continue
        if isinstance(below, dict):
            # EC2 shows a key as 0=name, without a slash
            shown = below.get("_name")
            entries.append(shown if isinstance(shown, str) else f"{name}/")
        else:
            entries.append(name)
    return Listing(tuple(entries))


def _ec2(data: InstanceData, words: list[str]) -> bytes | Listing | None:
    version = EC2_VERSIONS[-1] if words[0] == LATEST else words[0]
    if version not in EC2_VERSIONS:
        return None
    tree: Tree = ec2_tree(data, version)
    for word in words[1:]:
        if not isinstance(tree, dict) or word == "_name" or word not in tree:
            return None
        tree = tree[word]
    return _show(tree)


def _openstack(data: InstanceData, words: list[str]) -> bytes | Listing | None:
    if words[0] == "content":
        number = int(words[1]) if len(words) == 2 and re.fullmatch("[0-9]{4}", words[1]) else len(data.files)
        return data.files[number].content if number < len(data.files) else None
    version = OPENSTACK_VERSIONS[-1] if words[0] == LATEST else words[0]
    if version not in OPENSTACK_VERSIONS or len(words) > 2:
        return None
    files = openstack_files(data, version)
    return Listing(tuple(files)) if len(words) == 1 else files.get(words[1])


def _words(path: str) -> list[str]:
    return posixpath.normpath("/" + path.lstrip("/")).strip("/").split("/")


def resolve(data: InstanceData, path: str) -> bytes | Listing | None:
    """What the metadata service answers to GET `path`: a file, a folder's listing, or None for 404.

    Whatever does not begin with openstack or ec2 is EC2's, and a trailing slash means nothing, as with Nova.
    """
    words = _words(path)
    if words == [""] or words == ["ec2"]:
        return Listing((*EC2_VERSIONS, LATEST))
    if words == ["openstack"]:
        return Listing((*OPENSTACK_VERSIONS, LATEST))
    if words[0] == "openstack":
        return _openstack(data, words[1:])
    return _ec2(data, words[1:] if words[0] == "ec2" else words)


def takes_password(path: str) -> bool:
    """Whether a guest may POST here: the password that it made for itself, encrypted for the key's owner."""
    words = _words(path)
    known = words[0] == "openstack" and len(words) == 3 and words[2] == "password"
    return known and (words[1] == LATEST or (words[1] in OPENSTACK_VERSIONS and words[1] >= GRIZZLY))


def media_type(path: str) -> str:
    """Content type of an answer."""
    return "application/json" if path.rstrip("/").endswith(".json") else "text/plain; charset=UTF-8"
