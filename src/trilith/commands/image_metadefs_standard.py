"""The standard catalogue of metadata definitions: the property names that Nova, Glance and Cinder give a meaning.

Names, keys, types and allowed values are those of OpenStack's documentation of flavors' extra specs, images'
properties and volume types; the words are ours.
"""

from __future__ import annotations

from typing import Any

from trilith.model.image_metadef import (
    MetadefAssociation,
    MetadefNamespace,
    MetadefObject,
    MetadefProperty,
    MetadefTag,
)
from trilith.store.tx import new_id

IMAGE, FLAVOR, AGGREGATE = "OS::Glance::Image", "OS::Nova::Flavor", "OS::Nova::Aggregate"
SERVER, VOLUME, VOLUME_TYPE = "OS::Nova::Server", "OS::Cinder::Volume", "OS::Cinder::VolumeType"
RESOURCE_TYPES = (IMAGE, VOLUME, FLAVOR, AGGREGATE, SERVER, "OS::Trove::Instance", VOLUME_TYPE)

Schema = dict[str, Any]


def _text(title: str, says: str = "", *, values: tuple[str, ...] = (), default: str = "") -> Schema:
    made: Schema = {"title": title, "type": "string"}
    if says:
        made["description"] = says
    if values:
        made["enum"] = list(values)
    if default:
        made["default"] = default
    return made


def _number(
    title: str, says: str = "", *, least: int = 0, most: int | None = None, default: int | None = None
) -> Schema:
    made: Schema = {"title": title, "type": "integer", "minimum": least}
    if says:
        made["description"] = says
    if most is not None:
        made["maximum"] = most
    if default is not None:
        made["default"] = default
    return made


def _flag(title: str, says: str = "", *, default: bool | None = None) -> Schema:
    made: Schema = {"title": title, "type": "boolean"}
    if says:
        made["description"] = says
    if default is not None:
        made["default"] = default
    return made


def _compared(title: str, says: str, *, kind: str = "string") -> Schema:
    """A capability of a host, compared by an operator in the flavor's extra spec."""
    operators = ["<in>", "<or>"] if kind == "string" else ["=", "==", "!=", ">=", "<=", "s==", "s!="]
    return {"title": title, "type": kind, "description": says, "operators": operators}


def _namespace(
    name: str,
    title: str,
    says: str,
    on: dict[str, str],
    properties: dict[str, Schema] | None = None,
    *,
    objects: tuple[MetadefObject, ...] = (),
    tags: tuple[str, ...] = (),
    target: str = "",
) -> MetadefNamespace:
    """on: resource type → prefix."""
    volumes = {VOLUME: "image"}
    return MetadefNamespace(
        id=new_id(),
        namespace=name,
        display_name=title,
        description=says,
        visibility="public",
        protected=True,
        owner="admin",
        associations=tuple(
            MetadefAssociation(name=kind, prefix=prefix, properties_target=target or volumes.get(kind, ""))
            for kind, prefix in on.items()
        ),
        properties=tuple(MetadefProperty(name=n, schema=s) for n, s in (properties or {}).items()),
        objects=objects,
        tags=tuple(MetadefTag(name=t) for t in tags),
    )


def namespaces() -> list[MetadefNamespace]:
    return [*_of_images(), *_of_hardware(), *_of_flavors(), *_of_aggregates(), *_of_volumes(), *_of_software()]


_HW = {IMAGE: "hw_", VOLUME: "hw_", FLAVOR: "hw:"}


def _of_images() -> list[MetadefNamespace]:
    return [
        _namespace("OS::Compute::LibvirtImage", "libvirt Driver Options for Images",
                   "How a machine under libvirt shows its devices.", {IMAGE: "", VOLUME: ""}, {
            "hw_disk_bus": _text("Disk bus", "Controller of the disks.",
                                 values=("scsi", "virtio", "uml", "xen", "ide", "usb", "fdc", "sata")),
            "hw_cdrom_bus": _text("CD-ROM bus", values=("scsi", "virtio", "ide", "usb", "sata")),
            "hw_rescue_bus": _text("Bus of the rescue disk", values=("scsi", "virtio", "ide", "usb", "sata")),
            "hw_rescue_device": _text("Device of the rescue disk", values=("disk", "cdrom")),
            "hw_rng_model": _text("Random number device", "Needs the flavor's hw_rng:allowed.", default="virtio"),
            "hw_machine_type": _text("Machine type", "As QEMU names it: q35, pc, virt."),
            "hw_scsi_model": _text("SCSI controller", default="virtio-scsi"),
            "hw_video_model": _text("Video device",
                                    values=("vga", "cirrus", "vmvga", "xen", "qxl", "virtio", "gop", "none", "bochs")),
            "hw_video_ram": _number("Video memory in MiB", "Bound by the flavor's hw_video:ram_max_mb."),
            "hw_vif_model": _text("Network device", values=(
                "e1000", "e1000e", "ne2k_pci", "netfront", "pcnet", "rtl8139", "virtio", "vmxnet3", "lan9118", "igb")),
            "hw_vif_multiqueue_enabled": _flag("Network queues, one a VCPU"),
            "hw_viommu_model": _text("Virtual IOMMU", values=("intel", "smmuv3", "virtio", "auto")),
            "hw_virtio_packed_ring": _flag("Packed virtqueues"),
            "hw_qemu_guest_agent": _text("Guest agent", "The image has QEMU's agent.", values=("yes", "no")),
            "hw_pointer_model": _text("Pointer", values=("usbtablet",)),
            "hw_input_bus": _text("Bus of keyboard and pointer", values=("usb", "virtio")),
            "hw_pmu": _flag("Performance counters of the CPU"),
            "hw_boot_menu": _text("Boot menu", values=("true", "false")),
            "hw_serial_port_count": _number("Serial ports", least=1),
            "hw_time_hpet": _flag("HPET timer"),
            "hw_locked_memory": _flag("Memory is never swapped out"),
            "hw_maxphysaddr_mode": _text("Physical address bits", values=("passthrough", "emulate")),
            "hw_maxphysaddr_bits": _number("Number of physical address bits", least=32, most=64),
            "os_command_line": _text("Kernel command line", "For images that boot by a kernel of their own."),
        }),
        _namespace("OS::Glance::CommonImageProperties", "Common Image Properties",
                   "Where an image comes from.", {IMAGE: ""}, {
            "kernel_id": _text("Kernel", "Image that holds the kernel."),
            "ramdisk_id": _text("Ramdisk", "Image that holds the initial file system."),
            "instance_uuid": _text("Server", "Server that this image is a copy of."),
            "architecture": _text("CPU architecture", values=(
                "aarch64", "alpha", "armv7l", "cris", "i686", "ia64", "lm32", "m68k", "microblaze", "microblazeel",
                "mips", "mipsel", "mips64", "mips64el", "openrisc", "parisc", "parisc64", "ppc", "ppc64", "ppcemb",
                "riscv32", "riscv64", "s390", "s390x", "sh4", "sh4eb", "sparc", "sparc64", "unicore32", "x86_64",
                "xtensa", "xtensaeb")),
            "os_distro": _text("Distribution", "Its short name in lower case: debian, fedora, ubuntu, windows."),
            "os_version": _text("Version of the distribution"),
        }),
        _namespace("OS::OperatingSystem", "Operating system", "What runs inside.", {IMAGE: "", VOLUME: ""}, {
            "os_distro": _text("Distribution", values=(
                "alpine", "arch", "centos", "cirros", "coreos", "debian", "fedora", "freebsd", "gentoo", "mandrake",
                "mandriva", "mes", "msdos", "netbsd", "netware", "openbsd", "opensolaris", "opensuse", "rhel",
                "rocky", "sled", "ubuntu", "windows")),
            "os_version": _text("Version"),
            "os_type": _text("Family", values=("linux", "windows")),
            "os_admin_user": _text("Administrator", "User that the cloud's keys are for."),
            "os_require_quiesce": _flag("Snapshots need still file systems"),
        }),
        _namespace("OS::Glance::Signatures", "Image Signature Verification",
                   "A signature of the data, checked when it comes in.", {IMAGE: ""}, {
            "img_signature": _text("Signature", "Base64 of at most 255 characters."),
            "img_signature_certificate_uuid": _text("Certificate", "UUID of the certificate that the key is in."),
            "img_signature_hash_method": _text("Hash", values=("SHA-224", "SHA-256", "SHA-384", "SHA-512")),
            "img_signature_key_type": _text("Key", values=(
                "DSA", "ECC_SECT571K1", "ECC_SECT409K1", "ECC_SECT571R1", "ECC_SECT409R1", "ECC_SECP521R1",
                "ECC_SECP384R1", "RSA-PSS")),
        }),
        _namespace("OS::Compute::InstanceData", "Instance Config Data", "What a guest is told at its start.",
                   {IMAGE: "", VOLUME: ""}, {
            "img_config_drive": _text("Config drive", values=("mandatory", "optional"), default="optional"),
            "os_require_quiesce": _flag("Snapshots need still file systems"),
        }),
        _namespace("OS::Compute::Hypervisor", "Hypervisor Selection", "What may run the guest.",
                   {IMAGE: "", VOLUME: ""}, {
            "img_hv_type": _text("Hypervisor", values=(
                "hyperv", "ironic", "kvm", "lxc", "qemu", "uml", "vmware", "xen", "vz")),
            "img_hv_requested_version": _text("Version of the hypervisor"),
            "vm_mode": _text("Mode", values=("hvm", "xen", "uml", "exe")),
        }),
        _namespace("OS::Compute::GuestShutdownBehavior", "Shutdown Behavior", "How a guest ends.",
                   {IMAGE: "", VOLUME: ""}, {
            "os_shutdown_timeout": _number("Seconds until it is cut off", default=60),
        }),
        _namespace("OS::Compute::UEFI", "Firmware", "What a machine starts by.", {IMAGE: "", VOLUME: ""}, {
            "hw_firmware_type": _text("Firmware", values=("bios", "uefi")),
            "hw_firmware_stateless": _flag("Firmware forgets its variables"),
            "os_secure_boot": _text("Secure boot", values=("required", "disabled", "optional"), default="disabled"),
        }),
        _namespace("OS::Compute::VMware", "VMware Driver Options for Images", "Disks and networks under vSphere.",
                   {IMAGE: ""}, {
            "vmware_adaptertype": _text("Disk adapter", values=(
                "lsiLogic", "lsiLogicsas", "paraVirtual", "busLogic", "ide")),
            "vmware_disktype": _text("Disk type", values=("streamOptimized", "sparse", "preallocated")),
            "vmware_ostype": _text("Guest id", default="otherGuest"),
            "hw_vif_model": _text("Network device", values=(
                "e1000", "e1000e", "VirtualE1000", "VirtualE1000e", "VirtualPCNet32", "VirtualVmxnet",
                "VirtualVmxnet3")),
        }),
        _namespace("OS::Compute::XenAPI", "XenAPI Driver Options", "Disks under XenServer.", {IMAGE: ""}, {
            "os_type": _text("Family", values=("linux", "windows")),
            "auto_disk_config": _flag("The partition grows with the disk"),
        }),
    ]  # fmt: skip


def _of_hardware() -> list[MetadefNamespace]:
    return [
        _namespace("OS::Compute::CPUPinning", "CPU Pinning", "Whether VCPUs have host CPUs of their own.",
                   {IMAGE: "hw_", VOLUME: "hw_", FLAVOR: "hw:"}, {
            "cpu_policy": _text("Policy", values=("shared", "dedicated", "mixed")),
            "cpu_thread_policy": _text("Hardware threads", values=("isolate", "prefer", "require")),
        }),
        _namespace("OS::Compute::VirtCPUTopology", "Virtual CPU Topology", "How VCPUs are laid out.", _HW, {
            "cpu_sockets": _number("Sockets", least=1),
            "cpu_cores": _number("Cores a socket", least=1),
            "cpu_threads": _number("Threads a core", least=1),
            "cpu_max_sockets": _number("Sockets, at most", least=1),
            "cpu_max_cores": _number("Cores a socket, at most", least=1),
            "cpu_max_threads": _number("Threads a core, at most", least=1),
        }),
        _namespace("OS::Compute::GuestMemoryBacking", "Guest Memory Backing", "Pages of the guest's memory.", _HW, {
            "mem_page_size": _text("Page size", "small, large, any, or a size as 2MB."),
        }),
        _namespace("OS::Compute::GuestNUMA", "Guest NUMA", "Memory nodes that the guest sees.", _HW, {
            "numa_nodes": _number("Nodes", least=1),
        }),
        _namespace("OS::Compute::MemoryEncryption", "Memory Encryption", "Memory that the host cannot read.", _HW, {
            "mem_encryption": _flag("Encrypted memory"),
            "mem_encryption_model": _text("Model", values=("amd-sev", "amd-sev-es")),
        }),
        _namespace("OS::Compute::Watchdog", "Watchdog Behavior", "What a stuck guest gets.", _HW, {
            "watchdog_action": _text("Action", values=("disabled", "reset", "poweroff", "pause", "none")),
        }),
        _namespace("OS::Compute::VTPM", "Virtual TPM", "A trusted platform module in software.", _HW, {
            "tpm_model": _text("Model", values=("tpm-tis", "tpm-crb"), default="tpm-tis"),
            "tpm_version": _text("Version", values=("1.2", "2.0")),
        }),
        _namespace("OS::Compute::Hyperv", "Hyper-V Enlightenments", "For Windows guests under libvirt.",
                   {IMAGE: ""}, {
            "hw_machine_generation": _text("Generation", values=("hyperv-gen1", "hyperv-gen2")),
            "hide_hypervisor_id": _flag("The guest does not see its hypervisor"),
        }),
    ]  # fmt: skip


def _of_flavors() -> list[MetadefNamespace]:
    limits = {
        f"{what}_{unit}_sec": _number(f"{title}, {says} a second")
        for what, title in (("disk_read", "Reads"), ("disk_write", "Writes"), ("disk_total", "Both ways"))
        for unit, says in (("bytes", "bytes"), ("iops", "requests"))
    }
    shares = {
        f"{what}_{key}": schema
        for what, title in (("cpu", "CPU"), ("memory", "Memory"), ("disk_io", "Disk"), ("vif", "Network"))
        for key, schema in {
            "limit": _number(f"{title}: at most"),
            "reservation": _number(f"{title}: always"),
            "shares_level": _text(f"{title}: share", values=("high", "normal", "low", "custom")),
            "shares_share": _number(f"{title}: share in numbers"),
        }.items()
    }
    return [
        _namespace("OS::Compute::Quota", "Flavor Quota", "Bounds on what a guest may use.", {FLAVOR: "quota:"}, {
            "cpu_shares": _number("CPU share"),
            "cpu_period": _number("CPU period in µs", least=1000, most=1_000_000),
            "cpu_quota": _number("CPU time in a period in µs", least=-1),
            **limits,
            **{f"vif_{way}_{what}": _number(f"Network {way}bound: {what}, in KiB (a second)")
               for way in ("in", "out") for what in ("average", "burst", "peak")},
        }),
        _namespace("OS::Compute::VMwareQuotaFlavor", "VMware Quota for Flavors", "Bounds under vSphere.",
                   {FLAVOR: "quota:"}, shares),
        _namespace("OS::Compute::VMwareFlavor", "VMware Driver Options for Flavors", "Placement under vSphere.",
                   {FLAVOR: "vmware:"}, {
            "hw_version": _text("Hardware version", "As vmx-13."),
            "storage_policy": _text("Storage policy"),
        }),
        _namespace("OS::Compute::Libvirt", "libvirt Driver Options", "Boot and ports of a machine.", _HW, {
            "boot_menu": _text("Boot menu", values=("true", "false")),
            "serial_port_count": _number("Serial ports", least=1),
            "watchdog_action": _text("Action of the watchdog", values=(
                "disabled", "reset", "poweroff", "pause", "none")),
        }),
        _namespace("OS::Compute::RandomNumberGenerator", "Random Number Generator", "Randomness from the host.",
                   {FLAVOR: "hw_rng:"}, {
            "allowed": _flag("Allowed"),
            "rate_bytes": _number("Bytes in a period"),
            "rate_period": _number("Period in ms", least=1),
        }),
        _namespace("OS::Compute::HostCapabilities", "Compute Host Capabilities", "What a host must have.",
                   {FLAVOR: "capabilities:", AGGREGATE: "aggregate_instance_extra_specs:"}, {
            "cpu_info:vendor": _compared("CPU vendor", "Intel, AMD."),
            "cpu_info:model": _compared("CPU model", "As libvirt names it."),
            "cpu_info:arch": _compared("CPU architecture", "x86_64, aarch64."),
            "cpu_info:topology:cores": _compared("Cores", "Of a socket.", kind="integer"),
            "cpu_info:topology:threads": _compared("Threads", "Of a core.", kind="integer"),
            "cpu_info:topology:sockets": _compared("Sockets", "Of the host.", kind="integer"),
            "cpu_info:features": _compared("CPU features", "Flags as in /proc/cpuinfo."),
        }),
        _namespace("OS::Compute::Traits", "Required Traits", "What placement must find or avoid.",
                   {IMAGE: "trait:", FLAVOR: "trait:"}, {
            name: _text(title, values=("required", "forbidden"))
            for name, title in (
                ("HW_CPU_X86_AVX2", "AVX2"), ("HW_CPU_X86_VMX", "VMX"), ("HW_CPU_X86_SVM", "SVM"),
                ("HW_CPU_HYPERTHREADING", "Hyper-threading"), ("STORAGE_DISK_SSD", "SSD"),
                ("COMPUTE_SECURITY_TPM_2_0", "TPM 2.0"), ("COMPUTE_SECURITY_UEFI_SECURE_BOOT", "Secure boot"))
        }),
        _namespace("OS::Compute::Trilith", "Trilith Driver Options", "What a guest is on Trilith.",
                   {FLAVOR: "trilith:"}, {
            "pillar": _text("Pillar", "What runs the guest.", values=("xen", "kvm", "lxc")),
            "processes": _number("Processes of a container, at most", least=1, default=4096),
        }),
    ]  # fmt: skip


def _of_aggregates() -> list[MetadefNamespace]:
    return [
        _namespace("OS::Compute::AggregateDiskFilter", "Disk Allocation per Host", "Of an aggregate's hosts.",
                   {AGGREGATE: ""}, {"disk_allocation_ratio": {"title": "Disk overcommit", "type": "number"}}),
        _namespace("OS::Compute::AggregateIoOpsFilter", "IO Ops per Host", "Of an aggregate's hosts.",
                   {AGGREGATE: ""}, {"max_io_ops_per_host": _number("Busy guests a host", default=8)}),
        _namespace("OS::Compute::AggregateNumInstances", "Instances per Host", "Of an aggregate's hosts.",
                   {AGGREGATE: ""}, {"max_instances_per_host": _number("Guests a host", default=50)}),
        _namespace("OS::Compute::AggregateRatios", "Overcommit per Host", "Of an aggregate's hosts.",
                   {AGGREGATE: ""}, {
            "cpu_allocation_ratio": {"title": "CPU overcommit", "type": "number", "minimum": 0},
            "ram_allocation_ratio": {"title": "Memory overcommit", "type": "number", "minimum": 0},
        }),
    ]  # fmt: skip


def _of_volumes() -> list[MetadefNamespace]:
    return [
        _namespace("OS::Cinder::Volumetype", "Cinder Volume Type", "What a type's volumes have.", {VOLUME_TYPE: ""}, {
            "volume_backend_name": _text("Backend"),
            "multiattach": _text("Several servers at once", values=("<is> True", "<is> False")),
            "replication_enabled": _text("Replicated", values=("<is> True", "<is> False")),
            "RESKEY:availability_zones": _text("Zones", "Comma-separated."),
            "thin_provisioning_support": _text("Thin", values=("<is> True", "<is> False")),
            "thick_provisioning_support": _text("Thick", values=("<is> True", "<is> False")),
        }),
        _namespace("OS::Glance::ImageUpload", "Volumes from Images", "How a volume is made of this image.",
                   {IMAGE: ""}, {
            "cinder_img_volume_type": _text("Volume type"),
            "cinder_encryption_key_id": _text("Encryption key"),
            "cinder_encryption_key_deletion_policy": _text("Key ends with the image",
                                                           values=("on_image_deletion", "do_not_delete")),
        }),
    ]  # fmt: skip


def _of_software() -> list[MetadefNamespace]:
    on = {IMAGE: "", VOLUME: "", SERVER: "", "OS::Trove::Instance": ""}

    def product(name: str, key: str, port: int = 0) -> MetadefObject:
        properties = {f"sw_{key}_version": _text("Version")}
        if port:
            properties[f"sw_{key}_port"] = _number("Port", least=1, most=65535, default=port)
        return MetadefObject(name=name, description=f"{name} is installed.", properties=properties)

    return [
        _namespace("OS::Software::DBMS", "Database Software", "Databases that are installed.", on, objects=(
            product("MySQL", "database_mysql", 3306), product("PostgreSQL", "database_postgresql", 5432),
            product("MariaDB", "database_mariadb", 3306), product("SQLite", "database_sqlite"),
            product("MongoDB", "database_mongodb", 27017), product("CouchDB", "database_couchdb", 5984),
            product("Redis", "database_redis", 6379), product("Cassandra", "database_cassandra", 9042),
            product("Oracle", "database_oracle", 1521), product("DB2", "database_db2", 50000),
            product("SQL Server", "database_sqlserver", 1433)), target="metadata"),
        _namespace("OS::Software::WebServers", "Web Servers", "Web servers that are installed.", on, objects=(
            product("Apache HTTP Server", "webserver_apache", 80), product("Nginx", "webserver_nginx", 80),
            product("IIS", "webserver_iis", 80)), target="metadata"),
        _namespace("OS::Software::Runtimes", "Runtime Environment", "Languages that are installed.", on, objects=(
            product("PHP", "runtime_php"), product("Python", "runtime_python"), product("Java", "runtime_java"),
            product("Ruby", "runtime_ruby"), product("Perl", "runtime_perl"), product("Node.js", "runtime_nodejs")),
            target="metadata"),
        _namespace("OS::Software::Tags", "Software Tags", "Short words for what is inside.", on, tags=(
            "database", "webserver", "runtime", "container-host", "router", "desktop"), target="metadata"),
    ]  # fmt: skip
