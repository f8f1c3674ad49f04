"""The daemons of a node's network: central databases and northd, the switch, the OVN controller, DNS.

Order, flags and traps follow from measurements on Open vSwitch 3.1 and OVN 23.03: the controller starts only once the
switch listens on br-int.mgmt (its reconnect takes a second otherwise) and is restarted with the switch.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from trilith.agent.external import ExternalNetwork
from trilith.agent.supervise import DaemonSpec, Supervisor, answers
from trilith.drivers.ovn.tools import run
from trilith.errors import Backend, Conflict, Invalid

_NB_SCHEMA = "/usr/share/ovn/ovn-nb.ovsschema"
_SB_SCHEMA = "/usr/share/ovn/ovn-sb.ovsschema"
_OVS_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
#: unix(7): sun_path has 108 bytes with its end.
_SOCKET_BYTES = 107
#: where the switch waits for its database
_LINK = "ovs-vswitchd-db.sock"
_LONGEST_SOCKET = "ovn-controller.4194304.ctl"
_HOST_RUN_DIR = Path("/run/openvswitch")
_CHATTER = ("-vconsole:info", "-vsyslog:off", "-vfile:off")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeNetwork:
    """What one node's network is made of. Directories are private to it.

    central: run the northbound and southbound databases and northd here; `listen` are further remotes of theirs
    ("ptcp:6642:10.0.0.1"). southbound: where the controller connects, "" for the central ones here.
    datapath: system | netdev, "" to find out. external_address: the host's own on the external bridge, "" for none.
    host_switch: use the host's own Open vSwitch, which answers in host_run_dir, instead of starting one beside it.
    """

    cloud_id: str
    node: str
    state_dir: Path
    run_dir: Path
    datapath: str = ""
    central: bool = True
    listen: tuple[str, ...] = ()
    southbound: str = ""
    encap_type: str = "geneve"
    encap_ip: str = "127.0.0.1"
    integration_bridge: str = "br-int"
    external_bridge: str = "br-ex"
    external_name: str = "external"
    external_address: str = "172.24.4.1/24"
    dns: bool = True
    netns: str = ""
    cgroups: bool = False
    host_run_dir: Path = _HOST_RUN_DIR
    host_switch: bool = False

    @property
    def nb(self) -> str:
        return f"unix:{self.run_dir}/ovnnb_db.sock"

    @property
    def sb(self) -> str:
        return self.southbound or f"unix:{self.run_dir}/ovnsb_db.sock"

    @property
    def switch_run_dir(self) -> Path:
        return self.host_run_dir if self.host_switch else self.run_dir

    @property
    def db(self) -> str:
        """The local OVSDB."""
        return f"unix:{self.switch_run_dir}/db.sock"

    @property
    def log_dir(self) -> Path:
        return self.state_dir / "log"

    @property
    def external(self) -> ExternalNetwork | None:
        if not self.external_address:
            return None
        return ExternalNetwork(
            cloud_id=self.cloud_id,
            state_dir=self.state_dir,
            bridge=self.external_bridge,
            address=self.external_address,
            netns=self.netns,
            offload=self.datapath == "system",
        )

    def specs(self) -> list[DaemonSpec]:
        """All of this node's network daemons."""
        found = _central(self) if self.central else []
        switch = [] if self.host_switch else _switch(self)
        found += [*switch, _controller(self)]
        external = self.external
        if external is not None and self.dns:
            after = tuple(s.name for s in switch[-1:])
            dns = external.dns(run_dir=self.run_dir, log_dir=self.log_dir, depends_on=after)
            found += [dns] if dns is not None else []
        return found


async def settle_network(draft: NodeNetwork) -> NodeNetwork:
    """Find out what this host has and fill in the rest; makes the directories.

    Raises Invalid for a directory too long for a socket, Conflict where the host's Open vSwitch belongs to another OVN.
    """
    if len(str(draft.run_dir / _LONGEST_SOCKET).encode()) > _SOCKET_BYTES:
        raise Invalid(
            f"{draft.run_dir} is too long for the sockets in it ({_SOCKET_BYTES} bytes with their names).",
            hint="Choose a shorter state or run directory.",
            field="run_dir",
        )
    # what runs in the host's namespace is of no use in another
    elsewhere = bool(draft.netns) and draft.host_run_dir == _HOST_RUN_DIR
    host_switch = not elsewhere and await asyncio.to_thread(answers, draft.host_run_dir / "db.sock")
    datapath = draft.datapath or ("system" if await has_kernel_datapath() else "netdev")
    network = replace(draft, datapath=datapath, host_switch=host_switch)
    if host_switch:
        remote = await _host_setting(network, "ovn-remote")
        if remote and remote != network.sb:
            raise Conflict(
                f"This host's Open vSwitch already belongs to an OVN at {remote}.",
                hint="Remove external_ids:ovn-remote there, or stop that service, and try again.",
            )
    for path in (network.state_dir, network.run_dir, network.log_dir):
        await asyncio.to_thread(path.mkdir, parents=True, exist_ok=True, mode=0o755)
    return network


async def start_network(network: NodeNetwork, supervisor: Supervisor) -> None:
    """Start or adopt all daemons of the node's network and set up its external bridge. Raises Backend."""
    if network.host_switch:
        keep = ("system-id",) if await _host_setting(network, "system-id") else ()
        await _vsctl(network, *_configuration(network, keep=keep))
        if network.external is not None:
            await network.external.up()
    await supervisor.start(network.specs())


async def stop_network(network: NodeNetwork, supervisor: Supervisor) -> None:
    """Stop them, whoever started them, and leave no process, interface, bridge, rule or setting.

    Databases stay in the state directory.
    """
    external = network.external
    if external is not None:
        await external.down()
    supervisor.know(network.specs())
    await supervisor.stop([spec.name for spec in network.specs()])
    if network.host_switch:
        bridges = [network.integration_bridge, *([network.external_bridge] if external else [])]
        argv = [
            "--if-exists",
            "del-br",
            bridges[0],
            *(a for b in bridges[1:] for a in ("--", "--if-exists", "del-br", b)),
        ]
        forget = [
            "--",
            "remove",
            "Open_vSwitch",
            ".",
            "external_ids",
            *(k for k in _settings(network) if k != "system-id"),
        ]
        await _vsctl(network, *argv, *forget)
    await asyncio.to_thread(_sweep, network.run_dir)


def default_run_dir(state_dir: Path) -> Path:
    """Below the state directory where its name is short enough for sockets, else a short one in /run."""
    own = state_dir / "run"
    if len(str(own / _LONGEST_SOCKET).encode()) <= _SOCKET_BYTES:
        return own
    return Path("/run") / ("trilith-" + hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:8])


def _sweep(run_dir: Path) -> None:
    """What daemons that were killed left of sockets and pidfiles."""
    for path in run_dir.iterdir():
        if path.is_socket() or path.suffix == ".pid":
            path.unlink(missing_ok=True)


async def _host_setting(network: NodeNetwork, name: str) -> str:
    said = await _vsctl(network, "--if-exists", "get", "Open_vSwitch", ".", f"external_ids:{name}")
    return said.strip().strip('"')


async def has_kernel_datapath() -> bool:
    """True when the kernel has openvswitch, or can load it."""
    module = Path("/sys/module/openvswitch")
    if await asyncio.to_thread(module.exists):
        return True
    try:
        await run(["modprobe", "-q", "openvswitch"])
    except Backend:
        return False
    return await asyncio.to_thread(module.exists)


def _env(network: NodeNetwork) -> dict[str, str]:
    return {
        "OVS_RUNDIR": str(network.switch_run_dir),
        "OVN_RUNDIR": str(network.run_dir),
        "OVS_LOGDIR": str(network.log_dir),
        "OVN_LOGDIR": str(network.log_dir),
        "OVS_DBDIR": str(network.state_dir),
        "OVN_DBDIR": str(network.state_dir),
        "OVS_SYSCONFDIR": str(network.state_dir),
    }


def _spec(
    network: NodeNetwork,
    name: str,
    argv: tuple[str, ...],
    *,
    ready: Path | Callable[[], Awaitable[bool]],
    clear: tuple[Path, ...] = (),
    prepare: Callable[[], Awaitable[None]] | None = None,
    arrange: Callable[[], Awaitable[None]] | None = None,
    finish: Callable[[], Awaitable[None]] | None = None,
    depends_on: tuple[str, ...] = (),
    restart_with: tuple[str, ...] = (),
    stop_argv: tuple[str, ...] = (),
) -> DaemonSpec:
    slug = hashlib.sha256(f"{network.cloud_id}{network.node}".encode()).hexdigest()[:8]
    return DaemonSpec(
        name=name,
        argv=argv,
        log=network.log_dir / f"{name}.log",
        env=_env(network),
        ready=ready,
        clear=clear,
        prepare=prepare,
        arrange=arrange,
        finish=finish,
        depends_on=depends_on,
        restart_with=restart_with,
        stop_argv=stop_argv,
        cgroup=f"trilith-{slug}-{name}" if network.cgroups else "",
        netns=network.netns,
    )


def _central(network: NodeNetwork) -> list[DaemonSpec]:
    """One ovsdb-server for both databases: both sockets serve both."""
    run_dir, nb, sb = network.run_dir, network.state_dir / "nb.db", network.state_dir / "sb.db"

    async def databases() -> None:
        await asyncio.gather(ensure_database(nb, _NB_SCHEMA), ensure_database(sb, _SB_SCHEMA))

    async def both_answer() -> bool:
        return answers(run_dir / "ovnnb_db.sock") and answers(run_dir / "ovnsb_db.sock")

    remotes = [f"--remote=punix:{run_dir}/ovnnb_db.sock", f"--remote=punix:{run_dir}/ovnsb_db.sock"]
    return [
        _spec(
            network,
            "ovsdb-central",
            (
                "ovsdb-server",
                str(nb),
                str(sb),
                *remotes,
                *(f"--remote={remote}" for remote in network.listen),
                f"--unixctl={run_dir}/ovsdb-central.ctl",
                *_CHATTER,
            ),
            ready=both_answer,
            clear=tuple(run_dir / name for name in ("ovnnb_db.sock", "ovnsb_db.sock", "ovsdb-central.ctl")),
            prepare=databases,
        ),
        _spec(
            network,
            "ovn-northd",
            (
                "ovn-northd",
                f"--ovnnb-db={network.nb}",
                f"--ovnsb-db=unix:{run_dir}/ovnsb_db.sock",
                f"--unixctl={run_dir}/northd.ctl",
                *_CHATTER,
            ),
            ready=run_dir / "northd.ctl",
            depends_on=("ovsdb-central",),
        ),
    ]


def _switch(network: NodeNetwork) -> list[DaemonSpec]:
    run_dir, conf = network.run_dir, network.state_dir / "conf.db"

    async def database() -> None:
        await ensure_database(conf, _OVS_SCHEMA)

    async def configure() -> None:
        await _vsctl(network, "--no-wait", "init")
        await _vsctl(network, "--no-wait", *_configuration(network))

    async def arrange() -> None:
        external = network.external
        if external is not None:
            # without --no-wait: returns when the switch has made the bridge's interface
            await _vsctl(network, "set", "Bridge", network.external_bridge, "fail_mode=standalone")
            await external.up()

    mgmt = run_dir / f"{network.integration_bridge}.mgmt"
    ctl, local, link = run_dir / "ovs-vswitchd.ctl", run_dir / "ovsdb-local.ctl", run_dir / _LINK
    called: set[int] = set()

    async def ready() -> bool:
        """The database calls the switch, and not the other way round: a switch that has lost its database moves no
        packet of the userspace datapath until it has it again (bridge_run of vswitchd/bridge.c returns early), and it
        would wait a second before it called. One that is called needs no patience. To a switch that has just been
        started the database must be sent: after a failed call it, too, waits a second and longer."""
        if not link.exists():
            return False
        born = link.stat().st_ctime_ns
        if born not in called:
            if not answers(link):  # asked once only: the switch takes each call for its database's
                return False
            called.add(born)
            for verb in ("remove-remote", "add-remote"):
                await run(["ovs-appctl", "-t", str(local), f"ovsdb-server/{verb}", f"unix:{link}"])
        return answers(mgmt)

    return [
        _spec(
            network,
            "ovsdb-local",
            (
                "ovsdb-server",
                str(conf),
                f"--remote=punix:{run_dir}/db.sock",
                f"--remote=unix:{link}",
                f"--unixctl={local}",
                *_CHATTER,
            ),
            ready=run_dir / "db.sock",
            clear=(local,),
            prepare=database,
        ),
        _spec(
            network,
            "ovs-vswitchd",
            (
                "ovs-vswitchd",
                f"punix:{link}",
                f"--unixctl={ctl}",
                f"--pidfile={run_dir}/ovs-vswitchd.pid",
                "--no-chdir",
                *_CHATTER,
            ),
            ready=ready,
            clear=(ctl, link, mgmt, run_dir / "ovs-vswitchd.pid"),
            prepare=configure,
            arrange=arrange,
            depends_on=("ovsdb-local",),
            # a plain SIGTERM leaves the kernel datapath's bridges behind
            stop_argv=("ovs-appctl", "-t", str(ctl), "exit", "--cleanup"),
        ),
    ]


def _controller(network: NodeNetwork) -> DaemonSpec:
    run_dir = network.run_dir
    return _spec(
        network,
        "ovn-controller",
        ("ovn-controller", network.db, f"--pidfile={run_dir}/ovn-controller.pid", *_CHATTER),
        ready=run_dir / "ovn-controller.pid",
        depends_on=("ovs-vswitchd",) if not network.host_switch else (),
        restart_with=("ovs-vswitchd",),
        # 23.03 names its socket by pid; asked this way it takes its chassis row with it
        stop_argv=("ovs-appctl", "-t", str(run_dir / "ovn-controller.{pid}.ctl"), "exit"),
    )


def _settings(network: NodeNetwork) -> dict[str, str]:
    """external_ids of Open_vSwitch that ovn-controller reads (ovn-controller(8))."""
    ids = {
        "system-id": network.node,
        "hostname": network.node,
        "ovn-remote": network.sb,
        "ovn-encap-type": network.encap_type,
        "ovn-encap-ip": network.encap_ip,
        "ovn-bridge": network.integration_bridge,
        "ovn-bridge-datapath-type": network.datapath,
        "ovn-monitor-all": "true",
        "ovn-openflow-probe-interval": "0",
        "ovn-remote-probe-interval": "60000",
    }
    if network.external_address:
        ids["ovn-bridge-mappings"] = f"{network.external_name}:{network.external_bridge}"
        ids["ovn-cms-options"] = "enable-chassis-as-gw"
    return ids


def _configuration(network: NodeNetwork, *, keep: tuple[str, ...] = ()) -> list[str]:
    """One ovs-vsctl command line: bridges and what the controller reads, but for the settings to keep."""
    ours = f"external_ids:trilith-cloud={network.cloud_id}"
    bridge = network.integration_bridge
    argv = ["--", "--may-exist", "add-br", bridge, "--", "set", "Bridge", bridge, f"datapath_type={network.datapath}"]
    argv += ["fail_mode=secure", "other_config:disable-in-band=true", ours]
    if network.external_address:
        bridge = network.external_bridge
        # a fixed MAC: neighbours go on after the bridge was made anew
        digits = hashlib.sha256(f"{network.cloud_id}{network.node}{bridge}".encode()).hexdigest()
        address = "0e:74:6c:" + ":".join(digits[i : i + 2] for i in (0, 2, 4))
        argv += ["--", "--may-exist", "add-br", bridge, "--", "set", "Bridge", bridge]
        argv += [f"datapath_type={network.datapath}", "fail_mode=standalone"]
        argv += [f'other_config:hwaddr="{address}"', ours]
    settings = [f'external_ids:{key}="{value}"' for key, value in _settings(network).items() if key not in keep]
    return ["set", "Open_vSwitch", ".", *settings, *argv]


async def ensure_database(path: Path, schema: str) -> None:
    """Create it, or bring it to the installed schema. Crash-safe: the file appears whole."""
    if not await asyncio.to_thread(path.exists):
        partial = path.with_suffix(".new")
        await asyncio.to_thread(partial.unlink, missing_ok=True)
        await run(["ovsdb-tool", "create", str(partial), schema])
        await asyncio.to_thread(partial.rename, path)
    elif (await run(["ovsdb-tool", "needs-conversion", str(path), schema])).strip() == "yes":
        await run(["ovsdb-tool", "convert", str(path), schema])


async def _vsctl(network: NodeNetwork, *argv: str) -> str:
    return await run(["ovs-vsctl", f"--db={network.db}", "--timeout=10", *argv], env=_env(network))
