"""What the ordinary client does here, call by call: one table. test_clients.py runs every row of it with
python-openstackclient; docs/clients.md is made from it (`python -m tests.api.client_table > docs/clients.md`).

In a command, {braces} name what an earlier row made: `keep` says under which name a row's output is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from trilith.model.guest import Pillar

LXC, KVM, XEN = Pillar.LXC, Pillar.KVM, Pillar.XEN
#: the pillars that a simulated cloud has
RUN = (LXC, KVM)


@dataclass(frozen=True)
class Refusal:
    """status: of the HTTP answer, as Nova gives it; 0 where the call is taken and the server ends in ERROR.
    says: what its message holds."""

    status: int
    says: str


@dataclass(frozen=True)
class Row:
    """shows: what the output holds. status: what the server becomes. refused: by pillar; on the others it works."""

    command: str
    shows: str = ""
    keep: str = ""
    status: str = ""
    refused: dict[Pillar, Refusal] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """by_pillar: its rows run once a pillar, with {server}, {flavor} and {larger} of that pillar."""

    title: str
    rows: tuple[Row, ...]
    by_pillar: bool = False


_AGGREGATE = "5b7f0a3e-9d1c-4e6b-8f2a-1c3d5e7f9a0b"
_CONSUMER = "0d2f4b6a-8c1e-4a3c-9e5f-7b9d1f3a5c7e"


def _placement(command: str, *, shows: str = "", keep: str = "") -> Row:
    """In Placement's newest version, which the client does not choose by itself."""
    return Row(f"--os-placement-api-version 1.39 {command}", shows=shows, keep=keep)


_SIMPLE = (
    Group(
        "Identity",
        (
            Row("token issue", shows="project_id"),
            Row("catalog list", shows="nova"),
            Row("catalog show compute", shows="/compute/v2.1"),
            Row("project create --description first alpha", shows="first"),
            Row("project set --description second alpha"),
            Row("project show alpha", shows="second"),
            Row("project list", shows="alpha"),
            Row("user create --project alpha --password secret-1234 alice", shows="alice"),
            Row("user set --email alice@example.org alice"),
            Row("user show alice", shows="alice@example.org"),
            Row("user list", shows="alice"),
            Row("role create cook", shows="cook"),
            Row("role add --project alpha --user alice cook"),
            Row("role assignment list --project alpha --names", shows="alice@Default"),
            Row("role remove --project alpha --user alice cook"),
            Row("role list", shows="cook"),
            Row("role delete cook"),
        ),
    ),
    Group(
        "Images, flavors and key pairs",
        (
            Row("image list", shows="tiny"),
            Row("image show tiny", shows="active"),
            Row("image create --disk-format raw --container-format bare --file {file} blank", shows="blank"),
            Row("image set --property os_type=linux blank"),
            Row("image show blank", shows="linux"),
            Row("image save --file {saved} blank"),
            Row("image delete blank"),
            Row("flavor list", shows="m1.nano"),
            Row("flavor create --vcpus 1 --ram 64 --disk 1 box", shows="box"),
            Row("flavor set --property trilith:pillar=lxc box"),
            Row("flavor show box", shows="trilith:pillar"),
            Row("flavor create --vcpus 2 --ram 128 --disk 2 --property trilith:pillar=lxc box-2", shows="box-2"),
            Row("flavor create --vcpus 1 --ram 64 --disk 1 --property trilith:pillar=kvm machine", shows="machine"),
            Row("flavor create --vcpus 2 --ram 128 --disk 2 --property trilith:pillar=kvm machine-2"),
            Row("flavor create --vcpus 1 --ram 64 --disk 1 --property trilith:pillar=xen xen"),
            Row("keypair create --private-key {key} laptop", shows="laptop"),
            Row("keypair list", shows="laptop"),
            Row("keypair show laptop", shows="fingerprint"),
        ),
    ),
    Group(
        "Networks",
        (
            Row("network create inside", shows="inside"),
            Row("network set --description ours inside"),
            Row("network show inside", shows="ours"),
            Row("network list", shows="public"),
            Row("subnet create --network inside --subnet-range 10.5.0.0/24 inside-4", shows="10.5.0.1"),
            Row("subnet set --dns-nameserver 192.0.2.53 inside-4"),
            Row("subnet show inside-4", shows="192.0.2.53"),
            Row("subnet list", shows="inside-4"),
            Row("network create second"),
            Row("subnet create --network second --subnet-range 10.6.0.0/24 second-4"),
            Row("router create way-out", shows="ACTIVE"),
            Row("router set --external-gateway public way-out"),
            Row("router add subnet way-out inside-4"),
            Row("router show way-out", shows="external_fixed_ips"),
            Row("router list", shows="way-out"),
            Row("security group create web", shows="web"),
            Row("security group set --description ssh-only web"),
            Row("security group rule create --protocol tcp --dst-port 22 web", shows="22"),
            Row("security group rule list web", shows="22:22"),
            Row("security group show web", shows="ssh-only"),
            Row("security group list", shows="web"),
            Row("port create --network inside spare", shows="fixed_ips"),
            Row("port set --description extra spare"),
            Row("port show spare", shows="extra"),
            Row("port list", shows="spare"),
            Row("floating ip create public -f value -c floating_ip_address", keep="address", shows="172.24.4."),
            Row("floating ip set --port spare {address}"),
            Row("floating ip show {address}", shows="10.5.0."),
            Row("floating ip unset --port {address}"),
            Row("floating ip list", shows="{address}"),
        ),
    ),
    Group(
        "The network's policies",
        (
            Row("address group create --address 10.8.0.0/16 friends", shows="10.8.0.0/16"),
            Row("address group set --address 10.9.0.0/16 friends"),
            Row("address group show friends", shows="10.9.0.0/16"),
            Row("address group list", shows="friends"),
            Row("security group create --stateless quick", shows="False"),
            Row("security group rule create --remote-address-group friends quick", shows="remote_address_group_id"),
            Row("default security group rule list", shows="egress"),
            Row("network qos policy create slow", shows="slow"),
            Row("network qos rule create --type bandwidth-limit --max-kbps 2000 --ingress slow", shows="2000"),
            Row("network qos rule create --type dscp-marking --dscp-mark 46 slow", shows="46"),
            Row("network qos rule list slow", shows="ingress"),
            Row("network qos rule type list", shows="dscp_marking"),
            Row("network qos policy list", shows="slow"),
            Row("network set --qos-policy slow inside"),
            Row("port set --qos-policy slow spare"),
            Row("port unset --qos-policy spare"),
            Row("network set --no-qos-policy inside"),
            Row("network qos policy delete slow"),
            Row("port create --network inside --fixed-ip ip-address=10.5.0.77 served", shows="10.5.0.77"),
            Row("floating ip create public -f value -c floating_ip_address", keep="shared", shows="172.24.4."),
            Row(
                "floating ip port forwarding create --port served --internal-ip-address 10.5.0.77 --protocol tcp "
                "--internal-protocol-port 22 --external-protocol-port 2222 {shared}",
                shows="2222",
            ),
            Row("floating ip port forwarding list {shared}", shows="2222"),
            Row("floating ip delete {shared}"),
            Row("port create --network second inner"),
            Row("network trunk create --parent-port spare way", shows="way"),
            Row("network trunk set --subport port=inner,segmentation-type=vlan,segmentation-id=7 way"),
            Row("network subport list --trunk way", shows="vlan"),
            Row("network trunk unset --subport inner way"),
            Row("network trunk delete way"),
            Row("port delete inner served"),
            Row("address scope create --ip-version 4 whole", shows="whole"),
            Row("subnet pool create --pool-prefix 10.60.0.0/16 --address-scope whole pool", shows="10.60.0.0/16"),
            Row("subnet pool set --pool-prefix 10.61.0.0/16 pool"),
            Row("network rbac create --type address_group --action access_as_shared --target-project alpha friends"),
            Row("network rbac list", shows="address_group"),
            Row("network agent list --agent-type dhcp", shows="DHCP agent"),
            Row("network agent list --network inside", shows="DHCP agent"),
        ),
    ),
    Group(
        "The operator's",
        (
            Row("hypervisor list", shows="sim-1"),
            Row("hypervisor show sim-1", shows="simulated"),
            Row("compute service list", shows="nova-compute"),
            Row("compute service set --disable --disable-reason repair sim-2 nova-compute"),
            Row("compute service list --long", shows="repair"),
            Row("compute service set --enable sim-2 nova-compute"),
            Row("quota show", shows="cores"),
            Row("quota show --default", shows="instances"),
            Row("quota set --cores 100 --networks 20 alpha"),
            Row("quota show alpha -f value -c Resource -c Limit", shows="networks 20"),
            Row("quota list --compute", shows="100"),
            Row("availability zone list", shows="nova"),
            Row("resource provider list -f value -c uuid --name sim-1", keep="provider"),
            Row("resource provider show {provider}", shows="sim-1"),
            Row("resource provider inventory list {provider}", shows="MEMORY_MB"),
            Row("resource provider usage show {provider}", shows="VCPU"),
            Row("resource provider trait list {provider}", shows="CUSTOM_SIMULATED"),
            Row("allocation candidate list --resource VCPU=1", shows="VCPU"),
        ),
    ),
    Group(
        "Placement",
        (
            _placement("resource class create CUSTOM_FPGA"),
            _placement("resource class set CUSTOM_FPGA"),
            _placement("resource class show CUSTOM_FPGA", shows="CUSTOM_FPGA"),
            _placement("resource class list", shows="CUSTOM_FPGA"),
            _placement("trait create CUSTOM_FAST"),
            _placement("trait show CUSTOM_FAST", shows="CUSTOM_FAST"),
            _placement("trait list --name startswith:CUSTOM_F", shows="CUSTOM_FAST"),
            _placement("resource provider create host-a -f value -c uuid", keep="root"),
            _placement("resource provider create card --parent-provider {root} -f value -c uuid", keep="card"),
            _placement("resource provider set --name card-0 {card}", shows="card-0"),
            _placement(
                "resource provider inventory set {root} --resource VCPU=8 --resource "
                "VCPU:allocation_ratio=4.0 --resource DISK_GB=100",
                shows="4.0",
            ),
            _placement("resource provider inventory set {root} --amend --resource DISK_GB:reserved=10", shows="10"),
            _placement("resource provider inventory set {card} --resource CUSTOM_FPGA=2", shows="2"),
            _placement("resource provider inventory class set {card} CUSTOM_FPGA --total 4", shows="4"),
            _placement("resource provider inventory show {card} CUSTOM_FPGA", shows="4"),
            _placement("resource provider inventory list {root}", shows="DISK_GB"),
            _placement("resource provider trait set {card} --trait CUSTOM_FAST", shows="CUSTOM_FAST"),
            _placement("resource provider trait list {card}", shows="CUSTOM_FAST"),
            _placement(
                f"resource provider aggregate set {{root}} --aggregate {_AGGREGATE} --generation 2", shows=_AGGREGATE
            ),
            _placement("resource provider aggregate list {root}", shows=_AGGREGATE),
            _placement("resource provider list --in-tree {card}", shows="host-a"),
            _placement("resource provider list --resource CUSTOM_FPGA=4", shows="card-0"),
            _placement("resource provider list --required CUSTOM_FAST", shows="card-0"),
            _placement("resource provider list --forbidden CUSTOM_FAST", shows="host-a"),
            _placement(f"resource provider list --member-of {_AGGREGATE}", shows="host-a"),
            _placement("allocation candidate list --resource VCPU=1 --resource CUSTOM_FPGA=2", shows="CUSTOM_FPGA=2"),
            _placement(
                "allocation candidate list --group 1 --resource VCPU=1 --group 2 --resource CUSTOM_FPGA=2 "
                "--required CUSTOM_FAST --group-policy isolate --limit 5",
                shows="CUSTOM_FAST",
            ),
            _placement(
                f"resource provider allocation set {_CONSUMER} --allocation rp={{root}},VCPU=2 --allocation "
                f"rp={{card}},CUSTOM_FPGA=1 --project-id p --user-id u --consumer-type INSTANCE",
                shows="CUSTOM_FPGA",
            ),
            _placement(f"resource provider allocation show {_CONSUMER}", shows="CUSTOM_FPGA"),
            _placement("resource provider show {card} --allocations", shows=_CONSUMER),
            _placement("resource provider usage show {card}", shows="1"),
            _placement("resource usage show p", shows="VCPU"),
            _placement(f"resource provider allocation unset {_CONSUMER} --resource-class CUSTOM_FPGA", shows="VCPU"),
            _placement(f"resource provider allocation delete {_CONSUMER}"),
            _placement("resource provider trait delete {card}"),
            _placement("resource provider inventory delete {card} --resource-class CUSTOM_FPGA"),
            _placement("resource provider delete {card}"),
            _placement("resource provider delete {root}"),
            _placement("trait delete CUSTOM_FAST"),
            _placement("resource class delete CUSTOM_FPGA"),
        ),
    ),
)

_SERVERS = Group(
    "Servers",
    (
        Row(
            "server create --image tiny --flavor {flavor} --network inside --key-name laptop --security-group web "
            "--wait {server}",
            status="ACTIVE",
            refused={XEN: Refusal(0, "No valid host")},
        ),
        Row("server list", shows="{server}"),
        Row("server show {server}", shows="10.5.0."),
        Row("server stop {server}", status="SHUTOFF"),
        Row("server start {server}", status="ACTIVE"),
        Row("server reboot --wait {server}", status="ACTIVE"),
        Row("server reboot --hard --wait {server}", status="ACTIVE"),
        Row("server pause {server}", status="PAUSED"),
        Row("server unpause {server}", status="ACTIVE"),
        Row("server suspend {server}", status="SUSPENDED", refused={LXC: Refusal(501, "lxc guests on node sim-")}),
        Row(
            "server resume {server}",
            status="ACTIVE",
            refused={LXC: Refusal(409, "Cannot 'resum")},
        ),
        Row("server rebuild --image tiny-alt --wait {server}", status="ACTIVE"),
        Row("server resize --flavor {larger} --wait {server}", status="VERIFY_RESIZE"),
        Row("server resize revert {server}", status="ACTIVE"),
        Row("server resize --flavor {larger} --wait {server}", status="VERIFY_RESIZE"),
        Row("server resize confirm {server}", status="ACTIVE"),
        Row("server image create --name {server}-copy --wait {server}", shows="{server}-copy", status="ACTIVE"),
        Row("console log show {server}", shows="login:"),
        Row("server set --property role=web --description shop {server}"),
        Row("server show {server} -c description -c properties", shows="shop"),
        Row("server unset --property role {server}"),
        Row("server add port {server} spare"),
        Row("server remove port {server} spare"),
        Row("server add network {server} second"),
        Row("server remove network {server} second"),
        Row("server add floating ip {server} {address}"),
        Row("server ssh {server} -- -l root true"),
        Row("server remove floating ip {server} {address}"),
        Row("server add security group {server} default"),
        Row("server remove security group {server} default"),
        Row("server event list {server}", shows="create"),
        Row("server lock {server}"),
        Row("server unlock {server}"),
        Row("server backup create --name {server}-backup --wait {server}", status="ACTIVE"),
        Row("server migrate --wait {server}", status="VERIFY_RESIZE"),
        Row("server migration revert {server}", status="ACTIVE"),
        Row("server migrate --wait {server}", status="VERIFY_RESIZE"),
        Row("server migration confirm {server}", status="ACTIVE"),
        Row("server migration list", shows="confirmed"),
        Row("server rescue {server}", status="RESCUE"),
        Row("server unrescue {server}", status="ACTIVE"),
        Row("server shelve {server}", status="SHELVED_OFFLOADED"),
        Row("server unshelve {server}", status="ACTIVE"),
        Row(
            "console url show {server}",
            shows="/console/vnc.html?",
            refused={Pillar.LXC: Refusal(400, "Unavailable console type")},
        ),
        Row("console url show --serial {server}", shows="/console/serial?token="),
        Row("server delete --wait {server}"),
    ),
    by_pillar=True,
)

_END = Group(
    "Taking it away again",
    (
        Row("floating ip delete {address}"),
        Row("port delete spare"),
        Row("router remove subnet way-out inside-4"),
        Row("router delete way-out"),
        Row("subnet delete second-4"),
        Row("network delete inside second"),
        Row("security group delete web"),
        Row("keypair delete laptop"),
        Row("flavor delete box box-2 machine machine-2 xen"),
        Row("user delete alice"),
        Row("project delete alpha"),
    ),
)

TABLE: tuple[Group, ...] = (*_SIMPLE, _SERVERS, _END)

#: verbs of POST /servers/{id}/action that a driver may lack, with the capability that the API asks for
CAPABILITIES: dict[str, str] = {
    "pause": "pause",
    "unpause": "pause",
    "suspend": "suspend",
    "resume": "suspend",
    "createImage": "snapshot",
    "os-interface": "hotplug_nic",
    "createBackup": "snapshot",
    "shelve": "snapshot",
    "migrate": "snapshot",
    "changePassword": "password",
}

_HEAD = """# What the ordinary client does here

Made by `python -m tests.api.client_table > docs/clients.md`. Every line is run by `tests/api/test_clients.py` with
python-openstackclient (and its plug-in osc-placement) against a `trilith up --simulated 2`: an answer that is not the
one written here fails the test. Real containers and machines are exercised by `tests/journeys` and by `make demo`.

Names in capitals are what an earlier line made.
"""

_PILLARS = """
A server's pillar is chosen by the flavor's extra spec `trilith:pillar`, the image's `img_hv_type`, or the advisor.
*yes*: works. A number is the HTTP status that the call is refused with, before anything has begun. *not run*: no test
runs it, as no machine with Xen is among those that the tests know.
"""

_FOOT = """
## What a node lacks

Drivers state what they can do as data; a node's facts carry it to the API, which refuses at once what the server's
node cannot do, with 501 and Nova's body (`{"notImplemented": {"code": 501, "message": ...}}`). The server stays as it
was. Each line is a test.

| action | refused where the driver lacks |
| --- | --- |
"""


def render() -> str:
    """docs/clients.md."""
    return "".join(_lines())


def _lines() -> Iterator[str]:
    yield _HEAD
    for group in TABLE:
        yield f"\n## {group.title}\n"
        if group.by_pillar:
            yield _PILLARS
            yield "\n| `openstack …` | container (lxc) | machine (kvm) | Xen |\n| --- | --- | --- | --- |\n"
            for row in group.rows:
                cells = " | ".join(_cell(row, p) for p in (LXC, KVM, XEN))
                yield f"| `{_capitals(row.command)}` | {cells} |\n"
        else:
            yield "\n| `openstack …` | |\n| --- | --- |\n"
            for row in group.rows:
                yield f"| `{_capitals(row.command)}` | yes |\n"
    yield _FOOT
    for action, capability in CAPABILITIES.items():
        yield f"| `{action}` | `{capability}` |\n"


def _capitals(command: str) -> str:
    """The command with NAMES for {names}."""
    words = []
    for piece in command.split("{"):
        name, brace, rest = piece.partition("}")
        words.append(name.upper() + rest if brace else piece)
    return "".join(words)


def _cell(row: Row, pillar: Pillar) -> str:
    refusal = row.refused.get(pillar)
    if pillar is XEN and (refusal is None or refusal.status):
        return "not run"
    if refusal is None:
        return "yes"
    if not refusal.status:
        return f"ERROR, “{refusal.says}”, where no node has it"
    return f"{refusal.status}"


if __name__ == "__main__":
    print(render(), end="")
