"""The host's disk: what Debian installs, and the packages that scripts/setup.sh names. Built once for a state of this
recipe, and kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trilith.images import apt

HERE = Path(__file__).parent
SETUP = Path(__file__).parents[3] / "scripts" / "setup.sh"
CODENAME = "bookworm"
#: what Debian's installer brings to a server with ssh, as far as it matters here
SYSTEM = (
    "systemd-sysv",
    "libpam-systemd",
    "dbus",
    "udev",
    "kmod",
    "linux-image-amd64",
    "initramfs-tools",
    "zstd",
    "apparmor",
    "openssh-server",
    "netbase",
    "sudo",
    "less",
)
#: of no use in this machine, and most of a kernel's package
WITHOUT = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/qemu/edk2-*",
    "/lib/modules/*/kernel/sound/*",
    *(
        f"/lib/modules/*/kernel/drivers/{name}/*"
        for name in ("gpu", "media", "staging", "infiniband", "iio", "isdn", "usb", "scsi", "hwmon", "input")
    ),
    "/lib/modules/*/kernel/drivers/net/ethernet/*",
    "/lib/modules/*/kernel/drivers/net/wireless/*",
)
#: they would want the emulated processor for themselves
ASLEEP = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "systemd-pstore.service",
)
_NETWORK = "[Match]\nName=e*\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
_GIB = 24


@dataclass(frozen=True)
class HostImage:
    """disk: qcow2, to be the backing file of a run's own. The files of a Linux boot are beside it."""

    folder: Path

    @property
    def disk(self) -> Path:
        return self.folder / "disk.qcow2"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.img"


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trilith-tests" / "ordinary-host"


def wanted() -> dict[str, list[str]]:
    """As scripts/setup.sh says: `package`s, and `unwanted` services of theirs."""
    found: dict[str, list[str]] = {}
    for line in run("bash", str(SETUP), "--list", timeout=30).splitlines():
        kind, _, name = line.partition(" ")
        found.setdefault(kind, []).append(name)
    return found


def run(*argv: str, timeout: float, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=timeout, check=False, env={**os.environ, **(env or {})}
    )
    if done.returncode:
        raise RuntimeError(f"{argv[0]}: {done.returncode} {(done.stderr.strip() or done.stdout.strip())[-3000:]}")
    return done.stdout


def built(root: Path | None = None) -> HostImage:
    """Raises RuntimeError with a tool's words, Unsupported where no package source of this host serves the release."""
    root = root or cache()
    names = wanted()
    digest = hashlib.sha256(repr(sorted(names.items())).encode())
    for path in (Path(__file__), HERE / "early.sh"):
        digest.update(path.read_bytes())
    folder = root / digest.hexdigest()[:12]
    if folder.exists():
        return HostImage(folder)
    for old in root.iterdir() if root.is_dir() else ():
        shutil.rmtree(old)
    root.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".build-", dir=root))
    try:
        _build(work, names["package"], names["unwanted"])
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return HostImage(folder)


def _build(work: Path, packages: Sequence[str], unwanted: Sequence[str]) -> None:
    tree, raw = work / "root", work / "disk.raw"
    run(
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--mode=root",
        "--format=directory",
        f"--include={','.join((*SYSTEM, *packages))}",
        '--aptopt=APT::Install-Recommends "false"',
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=Acquire::Retries "3"',
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in WITHOUT),
        "--dpkgopt=path-include=/lib/modules/*/kernel/drivers/input/serio/*",
        f"--essential-hook={HERE / 'early.sh'}",
        CODENAME,
        str(tree),
        *(str(path) for path in apt.write_sources(work, CODENAME)),
        timeout=1800,
        env={"TMPDIR": str(work), "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
    )
    _configure(tree, unwanted)
    (kernel,) = (tree / "boot").glob("vmlinuz-*")
    (initrd,) = (tree / "boot").glob("initrd.img-*")
    kernel.rename(work / "vmlinuz")
    initrd.rename(work / "initrd.img")
    with raw.open("wb") as file:
        file.truncate(_GIB << 30)
    options = ("-E", "lazy_itable_init=1,lazy_journal_init=1", "-m", "0", "-J", "size=32")
    run("mkfs.ext4", "-q", "-F", *options, "-d", str(tree), str(raw), timeout=600)
    run("qemu-img", "convert", "-O", "qcow2", str(raw), str(work / "disk.qcow2"), timeout=600)
    raw.unlink()
    shutil.rmtree(tree)


def _configure(tree: Path, unwanted: Sequence[str]) -> None:
    """As the installer leaves a host, but for the way in: a key that a run brings on its second disk."""
    etc = tree / "etc"
    (etc / "hostname").write_text("ordinary\n")
    (etc / "hosts").write_text("127.0.0.1 localhost\n127.0.1.1 ordinary\n")
    (etc / "fstab").write_text("/dev/vda / ext4 noatime 0 1\n/dev/vdb /opt/trilith ext4 noatime 0 0\n")
    (etc / "machine-id").write_text(uuid.uuid4().hex + "\n")  # without one, systemd enables all units at the first boot
    (etc / "systemd/network/10-wired.network").write_text(_NETWORK)
    (etc / "ssh/sshd_config.d/test.conf").write_text(
        "PermitRootLogin prohibit-password\nAuthorizedKeysFile /opt/trilith/.login/authorized_keys\nUseDNS no\n"
    )
    (tree / "opt/trilith").mkdir(parents=True)
    for name in ASLEEP:
        (etc / "systemd/system" / name).symlink_to("/dev/null")
    in_tree = ("chroot", str(tree), "systemctl")
    run(*in_tree, "enable", "systemd-networkd", "ssh", timeout=60)
    there = [name for name in unwanted if list((tree / "lib/systemd/system").glob(f"{name}.service"))]
    run(*in_tree, "disable", *there, timeout=60)
