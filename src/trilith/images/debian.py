"""Images of a whole distribution: mmdebstrap over the host's own apt sources, with cloud-init and ssh."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from trilith.errors import Unsupported
from trilith.images import apt
from trilith.images.process import run
from trilith.images.result import Progress

GUEST = Path(__file__).parent / "guest"
#: in every one; the kernel's package differs
PACKAGES = (
    "systemd-sysv",
    "systemd-resolved",
    "dbus",
    "udev",
    "kmod",
    "cloud-init",
    "openssh-server",
    "iproute2",
    "iputils-ping",
    "netbase",
    "sudo",
    "ca-certificates",
    "curl",
    "less",
    "vim-tiny",
    "procps",
    "e2fsprogs",
    "initramfs-tools",
)
EXCLUDES = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*")
INCLUDES = ("/usr/share/doc/*/copyright", "/usr/share/locale/locale.alias")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    codename: str
    kernel: str
    properties: dict[str, str]
    min_disk_gib: int = 1
    min_ram_mib: int = 64


def _properties(distro: str, version: str, user: str) -> dict[str, str]:
    return {
        "os_type": "linux",
        "os_distro": distro,
        "os_version": version,
        "os_admin_user": user,
        "architecture": "x86_64",
        "hw_rng_model": "virtio",
        "trilith_machine_min_ram": "256",
    }


RECIPES = {
    "debian-12": Recipe(
        codename="bookworm",
        kernel="linux-image-cloud-amd64",
        properties=_properties("debian", "12", "debian"),
    ),
    "ubuntu-24.04": Recipe(
        codename="noble",
        kernel="linux-image-virtual",
        properties=_properties("ubuntu", "24.04", "ubuntu"),
    ),
}


async def build_tar(
    work: Path, tar: Path, recipe: Recipe, *, mirror: str, mode: str, progress: Progress, timeout: float = 1800
) -> None:
    """Write the root file system as an uncompressed tar with its owners and attributes.

    Raises Unsupported (no mmdebstrap, no source of packages), Backend with mmdebstrap's words, Deadline.
    """
    if shutil.which("mmdebstrap") is None:
        raise Unsupported("mmdebstrap is missing.", capability="image.build", hint="Install the package mmdebstrap.")
    sources = await asyncio.to_thread(apt.write_sources, work, recipe.codename, mirror=mirror)
    early, late = work / "early.sh", work / "late.sh"
    for source, script in ((GUEST / "debian-early.sh", early), (GUEST / "debian-late.sh", late)):
        await asyncio.to_thread(shutil.copyfile, source, script)
        await asyncio.to_thread(script.chmod, 0o755)
    progress(f"packages of {recipe.codename}", 0.05)
    argv: list[str | Path] = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--mode={mode or ('root' if os.geteuid() == 0 else 'unshare')}",
        "--format=tar",
        f"--include={','.join((*PACKAGES, recipe.kernel))}",
        '--aptopt=APT::Install-Recommends "false"',
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=Acquire::Retries "3"',
        # thousands of fsyncs for a tree that is thrown away when the machine dies
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDES),
        *(f"--dpkgopt=path-include={pattern}" for pattern in INCLUDES),
        f"--essential-hook={early}",
        f"--customize-hook={late}",
        recipe.codename,
        tar,
        *sources,
    ]
    env = {**os.environ, "TMPDIR": str(work), "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    await run(argv, timeout=timeout, env=env)
    progress("packed", 0.8)
