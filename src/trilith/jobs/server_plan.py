"""From a server's rows to the plan that its node gets: one read, no rules of its own."""

from __future__ import annotations

from dataclasses import replace

from trilith import errors
from trilith.commands import boot_data, server_details, server_root
from trilith.config import Settings
from trilith.jobs.services import Services
from trilith.model.guest import BlobSource, NicSpec, Pillar
from trilith.model.instance import FixedAddress, InstanceData, InstanceNic, Keypair, TaggedDevice
from trilith.model.network import FloatingIp, Network, Port, Subnet, guest_dns
from trilith.model.plan import GuestPlan, MetadataEndpoint, RescuePlan, interface_name
from trilith.model.server import Server
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

#: image properties that name another image's blob whose kernel boots this one
KERNEL = "trilith_kernel"
KERNEL_FORMAT = "trilith_kernel_format"


def ports_of(reader: Reader, server_id: str) -> list[Port]:
    """In the order they were given, which is the order of the interfaces."""
    return reader.select(Port, device_id=server_id)


def build(reader: Reader, services: Services, server: Server, *, running: bool = True) -> GuestPlan:
    """Raises Bug for a server that placement has not placed."""
    if server.pillar is None or server.identity is None:
        raise errors.Bug(f"Server {server.id} has no node yet.")
    ports = ports_of(reader, server.id)
    networks = {n.id: n for n in reader.select(Network, id={p.network_id for p in ports})} if ports else {}
    subnets = {s.id: s for s in reader.select(Subnet, network_id=set(networks))} if networks else {}
    floating = {f.port_id: f for f in reader.select(FloatingIp, port_id={p.id for p in ports})} if ports else {}
    nics = tuple(_nic(port, networks[port.network_id], number) for number, port in enumerate(ports))
    user_data = (
        reader.sealer.open(server.user_data, context=f"server.user_data:{server.id}") if server.user_data else b""
    )
    files, vendor = boot_data.read(reader, server.id)
    instance = InstanceData(
        uuid=server.id,
        name=server.name,
        hostname=server.hostname,
        project_id=server.project_id,
        availability_zone=server.zone,
        flavor=server.flavor.name,
        image_id=server.image_id,
        keys=(Keypair(name=server.key_name, public_key=server.key_public),) if server.key_public else (),
        meta=server.metadata,
        user_data=user_data or None,
        admin_pass=_password(reader, server),
        password=server.system_metadata.get(server_details.PASSWORD, "").encode(),
        devices=_devices(server, ports),
        # a root that was copied has them, as the guest has changed them since
        files=() if server_root.COPIED in server.image_properties else files,
        vendor_data=vendor.static,
        vendor_data2=vendor.dynamic,
        launch_index=server.launch_index,
        reservation_id=server.reservation_id,
        networks=tuple(
            _instance_nic(port, networks[port.network_id], subnets, n, services.settings, floating.get(port.id))
            for port, n in zip(ports, nics, strict=True)
        ),
        security_groups=server.security_groups,
    )
    properties = server.image_properties | {f"flavor:{k}": v for k, v in server.flavor.extra_specs.items()}
    return GuestPlan(
        server_id=server.id,
        project_id=server.project_id,
        cloud_id=services.cloud_id,
        name=server.name,
        hostname=server.hostname,
        pillar=server.pillar,
        vcpus=server.flavor.vcpus,
        memory_mib=server.flavor.ram,
        disk_gib=server.flavor.disk,
        blob=blob(services, server.image_sha256, server.image_format, server.image_properties),
        kernel=kernel(services, server.image_properties),
        identity=server.identity,
        nics=nics,
        processes_max=int(server.flavor.extra_specs.get("trilith:processes", "4096")),
        properties=properties,
        config_drive=True,
        instance=instance,
        metadata=_endpoints(reader, networks, subnets),
        running=running,
        revision=server.revision,
        rescue=_rescue(services, server),
    )


def _devices(server: Server, ports: list[Port]) -> tuple[TaggedDevice, ...]:
    """The tagged ones: what the user named by a tag, the guest finds by it."""
    found = [
        TaggedDevice(type="nic", tags=(tag,), mac=p.mac_address)
        for p in ports
        if (tag := server_details.nic_tag(server, p.id))
    ]
    if tag := server.system_metadata.get(server_details.DISK_TAG, ""):
        container = server.pillar is Pillar.LXC
        bus = server.identity.disk_bus if server.identity and not container else "none"
        found.append(TaggedDevice(type="disk", tags=(tag,), bus=bus, path="" if container else _ROOT.get(bus, "")))
    return tuple(found)


#: where guests find their root disk, by its bus
_ROOT = {"virtio": "/dev/vda", "scsi": "/dev/sda", "sata": "/dev/sda", "usb": "/dev/sda", "ide": "/dev/hda"}


def _password(reader: Reader, server: Server) -> str:
    """The administrator's password that the creation answered with; it reaches the guest by its config drive only."""
    sealed = server.system_metadata.get(server_details.ADMIN_PASS, "")
    if server.rescue is not None:
        sealed = server.rescue.admin_pass or sealed
    return reader.sealer.open(sealed, context=f"server.admin_pass:{server.id}").decode() if sealed else ""


def blob(services: Services, sha256: str, disk_format: str, properties: dict[str, str]) -> BlobSource:
    return BlobSource(sha256=sha256, path=str(services.blob(sha256)), disk_format=disk_format, properties=properties)


def kernel(services: Services, properties: dict[str, str]) -> BlobSource | None:
    sha256 = properties.get(KERNEL, "")
    if not sha256:
        return None
    return blob(services, sha256, properties.get(KERNEL_FORMAT, "root-tar"), {})


def _rescue(services: Services, server: Server) -> RescuePlan | None:
    if server.rescue is None:
        return None
    image = server.rescue.image
    return RescuePlan(
        blob=blob(services, image.sha256, image.disk_format, image.properties),
        kernel=kernel(services, image.properties),
        device=server.rescue.device,
        bus=server.rescue.bus,
        stable=server.rescue.stable,
    )


def _nic(port: Port, network: Network, number: int) -> NicSpec:
    return NicSpec(
        port_id=port.id,
        mac=port.mac_address,
        ifname=interface_name(port.id),
        mtu=network.mtu,
        guest_name=f"eth{number}",
    )


def _instance_nic(
    port: Port,
    network: Network,
    subnets: dict[str, Subnet],
    nic: NicSpec,
    settings: Settings,
    floating: FloatingIp | None,
) -> InstanceNic:
    addresses = []
    for fixed in port.fixed_ips:
        subnet = subnets[fixed.subnet_id]
        addresses.append(
            FixedAddress(
                address=fixed.ip_address,
                cidr=subnet.cidr,
                gateway=subnet.gateway,
                dns=guest_dns(subnet, settings.dns, settings.external_cidr),
                routes=tuple((r.destination, r.nexthop) for r in subnet.routes),
                dhcp=subnet.dhcp,
                ipv6_address_mode=subnet.ipv6_address_mode,
                floating=floating.floating_ip_address
                if floating is not None and floating.fixed_ip_address == fixed.ip_address
                else "",
            )
        )
    return InstanceNic(
        port_id=port.id,
        network_id=network.id,
        mac=port.mac_address,
        link=nic.ifname,
        mtu=network.mtu,
        addresses=tuple(addresses),
    )


def _endpoints(
    reader: Reader, networks: dict[str, Network], subnets: dict[str, Subnet]
) -> tuple[MetadataEndpoint, ...]:
    """The localports of these networks, with their addresses in each subnet."""
    with_port = {n.metadata_port_id: n for n in networks.values() if n.metadata_port_id and n.metadata_mac}
    if not with_port:
        return ()
    found = []
    table = REGISTRY[Port].table
    for port in reader.select(Port, table.c.id.in_(list(with_port))):
        network = with_port[port.id]
        addresses = tuple(
            f"{ip.ip_address}/{subnets[ip.subnet_id].cidr.partition('/')[2]}"
            for ip in port.fixed_ips
            if ip.subnet_id in subnets
        )
        found.append(
            MetadataEndpoint(
                network_id=network.id, port_id=port.id, mac=port.mac_address, mtu=network.mtu, addresses=addresses
            )
        )
    return tuple(found)


def without_port(plan: GuestPlan, port_id: str) -> GuestPlan:
    return replace(plan, nics=tuple(n for n in plan.nics if n.port_id != port_id))
