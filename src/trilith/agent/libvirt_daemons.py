"""libvirtd and virtlogd of Trilith's own, for hosts where none runs: private directories, no systemd.

Each daemon runs in a mount namespace whose /etc/libvirt, /var/lib/libvirt, /run/libvirt, /var/log/libvirt and
/var/cache/libvirt are ours; the sockets are reached from outside by their real path. virtlogd comes first and must
outlive libvirtd and guests: a guest whose virtlogd died keeps running, but its console log ends until its next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import pwd
import socket
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path

from trilith.agent.supervise import DaemonSpec
from trilith.errors import Backend, Invalid

#: where the distribution's own libvirtd listens
SYSTEM_SOCKET = "/run/libvirt/libvirt-sock"
SCRIPT = Path(__file__).parents[1] / "drivers" / "libvirt" / "private_mounts.sh"
#: accounts that QEMU may run as, by distribution: Debian and Ubuntu; Fedora and RHEL
QEMU_ACCOUNTS = (("libvirt-qemu", "kvm"), ("qemu", "kvm"))
#: bytes of one console log; virtlogd keeps one more behind it
CONSOLE_LOG_BYTES = 1_048_576
_SOCKET_PATH_MAX = 107

_DIRECTORIES = (
    "etc/libvirt/qemu/networks",
    "etc/libvirt/hooks",
    "etc/libvirt/nwfilter",
    "etc/libvirt/secrets",
    "etc/libvirt/storage",
    "var/lib/libvirt/qemu",
    "var/lib/libvirt/images",
    "var/lib/libvirt/swtpm",
    "run/libvirt",
    "var/log/libvirt/qemu",
    "var/cache/libvirt/qemu",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateLibvirt:
    """One private libvirtd with its virtlogd under `root` (short: sockets are below it).

    uri: for the driver, once the daemons run. warnings: what had to be left out, in plain words.
    """

    root: Path
    netns: str = ""

    @property
    def socket(self) -> Path:
        return self.root / "run/libvirt/libvirt-sock"

    @property
    def uri(self) -> str:
        return f"qemu:///system?socket={self.socket}"

    def specs(self) -> list[DaemonSpec]:
        """virtlogd and libvirtd for the supervisor. Raises Invalid when the path is too long for the sockets."""
        # the longest that libvirt makes below it is QEMU's monitor, which it opens by the short compiled-in path;
        # ours is the admin socket
        longest = len(str(self.root / "run/libvirt/libvirt-admin-sock"))
        if longest > _SOCKET_PATH_MAX:
            raise Invalid(f"{self.root} is {longest - _SOCKET_PATH_MAX} characters too long for a socket below it")
        run = self.root / "run/libvirt"
        return [
            DaemonSpec(
                name="virtlogd",
                argv=self._argv("virtlogd"),
                log=self.root / "virtlogd.log",
                ready=run / "virtlogd-sock",
                clear=(run / "virtlogd-admin-sock", run / "virtlogd.pid"),
                prepare=self.prepare,
                netns=self.netns,
            ),
            DaemonSpec(
                name="libvirtd",
                argv=self._argv("libvirtd"),
                log=self.root / "libvirtd.log",
                ready=self.socket,
                clear=(run / "libvirt-sock-ro", run / "libvirt-admin-sock", run / "libvirtd.pid"),
                prepare=self.prepare,
                depends_on=("virtlogd",),
                # guests must not be in a cgroup that ends with the daemon
                cgroup="",
                finish=_remove_partition,
                netns=self.netns,
            ),
        ]

    def _argv(self, daemon: str) -> tuple[str, ...]:
        own = (daemon, "-f", f"/etc/libvirt/{daemon}.conf", "-p", f"/run/libvirt/{daemon}.pid")
        return ("unshare", "--mount", "--propagation", "private", "sh", str(SCRIPT), str(self.root), *own)

    async def prepare(self) -> None:
        """Directories and configuration; the same again is fine. Raises Backend when the disk refuses."""
        try:
            await asyncio.to_thread(self._lay_out)
        except OSError as error:
            raise Backend(f"cannot prepare libvirt under {self.root}: {error}") from error

    def _lay_out(self) -> None:
        for name in _DIRECTORIES:
            (self.root / name).mkdir(parents=True, exist_ok=True)
        user, group = qemu_account()
        etc = self.root / "etc/libvirt"
        _write(etc / "virtlogd.conf", f"max_clients = 1024\nmax_size = {CONSOLE_LOG_BYTES}\nmax_backups = 1\n")
        _write(etc / "libvirtd.conf", _LIBVIRTD.format(host_uuid=host_uuid(self.root)))
        _write(etc / "qemu.conf", _QEMU.format(user=user, group=group) + _cgroups())
        if user != "root":
            _kvm_node(self.root / "dev", group)

    def warnings(self) -> list[str]:
        found = []
        if qemu_account()[0] == "root":
            found.append("QEMU runs as root: there is no libvirt-qemu account. Install libvirt-daemon-system.")
        if _cgroups():
            found.append("libvirt uses no cgroups here (/sys/fs/cgroup is not writable): CPU quotas are refused.")
        return found


_LIBVIRTD = """\
listen_tls = 0
listen_tcp = 0
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
unix_sock_ro_perms = "0700"
unix_sock_admin_perms = "0700"
host_uuid = "{host_uuid}"
log_outputs = "3:stderr"
log_filters = "3:event 3:object"
max_clients = 256
max_workers = 32
max_client_requests = 32
"""

# The files of a guest are chowned to QEMU's account at its start and back to root at its end. Owners are not
# remembered in extended attributes: images are shared between guests, and their owner is always root.
_QEMU = """\
user = "{user}"
group = "{group}"
security_driver = "none"
dynamic_ownership = 1
remember_owner = 0
namespaces = [ "mount" ]
stdio_handler = "logd"
max_core = 0
"""


def _cgroups() -> str:
    """libvirt takes every controller that it finds; where it may not write it must be told to take none."""
    return "" if os.access("/sys/fs/cgroup", os.W_OK) else "cgroup_controllers = [ ]\n"


async def _remove_partition() -> None:
    """The empty cgroup that libvirt leaves behind in each hierarchy. One that is in use refuses, and stays."""

    def remove() -> None:
        root = Path("/sys/fs/cgroup")
        for parent in (root, *root.glob("*/")):
            with contextlib.suppress(OSError):
                (parent / "machine").rmdir()

    await asyncio.to_thread(remove)


def qemu_account() -> tuple[str, str]:
    """User and group that QEMU runs as; root only where the distribution made no account."""
    for user, group in QEMU_ACCOUNTS:
        try:
            pwd.getpwnam(user)
            grp.getgrnam(group)
        except KeyError:
            continue
        return user, group
    return "root", "root"


def host_uuid(root: Path) -> str:
    """The same at each start: libvirt makes one up otherwise when it cannot read the firmware's tables."""
    try:
        machine = Path("/etc/machine-id").read_text().strip()
    except OSError:
        machine = socket.gethostname()
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"trilith:{machine}:{root}"))


def _kvm_node(directory: Path, group: str) -> None:
    """A /dev/kvm for QEMU's group where the host's is root's alone (no udev): seen only in our mount namespace."""
    node = directory / "kvm"
    try:
        host = os.stat("/dev/kvm")
    except FileNotFoundError:
        node.unlink(missing_ok=True)
        return
    gid = grp.getgrnam(group).gr_gid
    open_to_group = host.st_gid == gid and host.st_mode & 0o060 == 0o060
    if open_to_group or host.st_mode & 0o006 == 0o006:
        node.unlink(missing_ok=True)
        return
    directory.mkdir(mode=0o755, exist_ok=True)
    if not node.exists():
        os.mknod(node, stat.S_IFCHR | 0o600, host.st_rdev)
    os.chown(node, 0, gid)
    os.chmod(node, 0o660)


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


async def system_uri() -> str:
    """The URI of the host's own libvirtd, or "" when nothing answers at its socket."""
    try:
        _reader, writer = await asyncio.open_unix_connection(SYSTEM_SOCKET)
    except OSError:
        return ""
    writer.close()
    await writer.wait_closed()
    return f"qemu:///system?socket={SYSTEM_SOCKET}"
