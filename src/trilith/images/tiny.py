"""`tiny`: busybox, dropbear and a set-up of its own, made of the distribution's packages; for containers and VMs."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from trilith.errors import Backend, Unsupported
from trilith.images import apt
from trilith.images.archive import Tree, cpio
from trilith.images.kernel import BOOT, LATER, Modules
from trilith.images.process import run
from trilith.images.result import Progress

PACKAGES = (
    "busybox-static",
    "dropbear-bin",
    "openssh-sftp-server",
    "bash",
    "sudo",
    "util-linux",
    "e2fsprogs",
    "curl",
    "iputils-ping",
    "netcat-openbsd",
    "qemu-guest-agent",
)
KERNELS = ("linux-image-cloud-amd64", "linux-image-virtual")
#: program in the image → where the packages may have it
PROGRAMS = {
    "dropbear": ("usr/sbin/dropbear",),
    "dropbearkey": ("usr/bin/dropbearkey",),
    "dbclient": ("usr/bin/dbclient",),
    # busybox's shell prefers its own ping and nc to those in PATH; ours below ask for it by name
    "bash": ("bin/bash", "usr/bin/bash"),
    "sudo": ("usr/bin/sudo",),
    "lsblk": ("bin/lsblk", "usr/bin/lsblk"),
    "blkid": ("sbin/blkid", "usr/sbin/blkid"),
    "mke2fs": ("sbin/mke2fs", "usr/sbin/mke2fs"),
    "e2fsck": ("sbin/e2fsck", "usr/sbin/e2fsck"),
    "resize2fs": ("sbin/resize2fs", "usr/sbin/resize2fs"),
    "curl": ("usr/bin/curl",),
    "ping": ("bin/ping", "usr/bin/ping"),
    "nc.openbsd": ("bin/nc.openbsd", "usr/bin/nc.openbsd"),
    "qemu-ga": ("usr/sbin/qemu-ga", "usr/bin/qemu-ga"),
}
LINKS = {"mkfs.ext2": "mke2fs", "mkfs.ext3": "mke2fs", "mkfs.ext4": "mke2fs", "fsck.ext4": "e2fsck",
         "ping6": "ping", "ssh": "dbclient", "sh": "bash", "mkfs.vfat": "busybox"}  # fmt: skip
SUDO = ("libsudo_util.so.0", "sudoers.so", "sudo_noexec.so")
PAM = ("pam_permit.so", "pam_deny.so")
GUEST = Path(__file__).parent / "guest"
MULTIARCH = "x86_64-linux-gnu"
CMDLINE = "root=/dev/vda rw console=tty0 console=ttyS0,115200 net.ifnames=0"

PROPERTIES = {
    "os_type": "linux",
    "os_distro": "tiny",
    "os_admin_user": "tiny",
    "architecture": "x86_64",
    "hw_rng_model": "virtio",
    "hw_qemu_guest_agent": "yes",
    # measured: unpacking its kernel takes a machine more than 64 MiB
    "trilith_machine_min_ram": "80",
}
MIN_DISK_GIB = 0
MIN_RAM_MIB = 0


def _find(root: Path, places: tuple[str, ...]) -> Path:
    for place in places:
        if (root / place).is_file():
            return (root / place).resolve()
    raise Backend(f"The distribution's packages have no {places[0]}.")


async def _libraries(root: Path, programs: list[Path]) -> dict[str, Path]:
    """Every shared library that the programs need, found by the packages' own loader inside `root`."""
    folders = [root / top / MULTIARCH for top in ("lib", "usr/lib")]
    loader = next((f / "ld-linux-x86-64.so.2" for f in folders if (f / "ld-linux-x86-64.so.2").exists()), None)
    if loader is None:
        raise Backend("The distribution's libc6 has no ld-linux-x86-64.so.2.")
    path = ":".join(str(f) for f in [*folders, root / "usr/libexec/sudo"])
    found: dict[str, Path] = {"ld-linux-x86-64.so.2": loader.resolve()}
    for program in programs:
        out = (await run([loader, "--library-path", path, "--list", program], timeout=30)).decode()
        if "not found" in out:
            raise Backend(f"{program.name} lacks a library: {out.strip()}")
        for name, where in re.findall(r"^\s*(\S+) => (\S+) \(0x", out, re.MULTILINE):
            found[Path(name).name] = Path(where).resolve()  # noqa: ASYNC240
    return found


async def _programs(tree: Tree, root: Path) -> None:
    busybox = _find(root, ("bin/busybox", "usr/bin/busybox"))
    tree.file("usr/bin/busybox", busybox, 0o755)
    applets = (await run([busybox, "--list"], timeout=30)).decode().split()
    for applet in applets:
        if applet not in {"busybox", "dpkg", "dpkg-deb", "rpm", "nc", "linuxrc", "init"}:
            tree.link(f"usr/bin/{applet}", "busybox")
    tree.link("usr/bin/init", "busybox")
    linked: list[Path] = []
    for name, places in PROGRAMS.items():
        path = _find(root, places)
        # ping as set-uid is iputils' own fallback where ping_group_range cannot be set
        tree.file(f"usr/bin/{name}", path, 0o4755 if name in {"sudo", "ping"} else 0o755)
        linked.append(path)
    sftp = _find(root, ("usr/lib/openssh/sftp-server",))
    tree.file("usr/lib/sftp-server", sftp, 0o755)
    linked.append(sftp)
    for name, target in LINKS.items():
        tree.link(f"usr/bin/{name}", target)
    for name in SUDO:
        path = root / "usr/libexec/sudo" / name
        if path.exists():
            tree.file(f"usr/libexec/sudo/{name}", path.resolve(), 0o644)
            linked.append(path)
    for name in PAM:
        path = _find(root, (f"lib/{MULTIARCH}/security/{name}", f"usr/lib/{MULTIARCH}/security/{name}"))
        tree.file(f"usr/lib/{MULTIARCH}/security/{name}", path)
    for name, path in (await _libraries(root, linked)).items():
        tree.file(f"usr/lib/{MULTIARCH}/{name}", path, 0o755)
    tree.link("usr/lib64/ld-linux-x86-64.so.2", f"../lib/{MULTIARCH}/ld-linux-x86-64.so.2")
    # terminals that consoles and ssh clients say they are
    for term in ("linux", "vt100", "vt220", "xterm", "xterm-256color", "screen"):
        found = next(
            (p for top in ("lib", "usr/share") if (p := root / top / "terminfo" / term[0] / term).exists()), None
        )
        if found is not None:
            tree.file(f"usr/share/terminfo/{term[0]}/{term}", found.resolve())
    tree.file("etc/mke2fs.conf", _find(root, ("etc/mke2fs.conf",)))


def _configuration(tree: Tree) -> None:
    for path, mode in (("dev", 0o755), ("proc", 0o555), ("sys", 0o555), ("run", 0o755), ("mnt", 0o755), ("opt", 0o755),
                       ("tmp", 0o1777), ("var/tmp", 0o1777), ("var/log", 0o755), ("var/lib/tiny", 0o755),
                       ("root", 0o700), ("etc/dropbear", 0o755), ("config-drive", 0o755)):  # fmt: skip
        tree.folder(path, mode)
    tree.folder("home/tiny", 0o755, 1000, 1000)
    for path, target in (("bin", "usr/bin"), ("sbin", "usr/bin"), ("usr/sbin", "bin"), ("lib", "usr/lib"),
                         ("lib64", "usr/lib64"), ("var/run", "../run"), ("etc/mtab", "/proc/self/mounts")):  # fmt: skip
        tree.link(path, target)
    tree.file("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n"
                            "tiny:x:1000:1000:tiny:/home/tiny:/bin/bash\n")  # fmt: skip
    tree.file("etc/group", "root:x:0:\ntty:x:5:\ndisk:x:6:\nsudo:x:27:tiny\nnogroup:x:65534:\ntiny:x:1000:\n")
    tree.file(
        "etc/shadow", "root:*:19700:0:99999:7:::\nnobody:*:19700:0:99999:7:::\ntiny:*:19700:0:99999:7:::\n", 0o640
    )
    tree.file("etc/shells", "/bin/sh\n/bin/bash\n/bin/ash\n")
    tree.file("etc/hostname", "tiny\n")
    tree.file("etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n")
    tree.file("etc/resolv.conf", "")
    tree.file("etc/issue", "tiny (\\r on \\m)\n\n")
    tree.file("etc/os-release", 'NAME="tiny"\nID=tiny\nID_LIKE=debian\nPRETTY_NAME="tiny of Trilith"\n')
    tree.file("etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
    tree.file("etc/profile", "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\nPS1='\\u@\\h:\\w\\$ '\n")
    tree.file("etc/sudoers", "Defaults !syslog, secure_path=/usr/sbin:/usr/bin:/sbin:/bin\n"
                             "root ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)  # fmt: skip
    for service in ("sudo", "sudo-i", "other"):
        kind = "pam_deny.so" if service == "other" else "pam_permit.so"
        tree.file(f"etc/pam.d/{service}", "".join(f"{t} required {kind}\n" for t in ("auth", "account", "session")))
    tree.file("etc/inittab", "::sysinit:/usr/lib/tiny/rc.sh\n::respawn:/usr/bin/dropbear -F -P /run/dropbear.pid\n"
                             "::respawn:/usr/lib/tiny/getty.sh\n::ctrlaltdel:/sbin/reboot\n"
                             "::shutdown:/usr/lib/tiny/stop.sh\n::restart:/sbin/init\n")  # fmt: skip
    # busybox's acpid runs this for the power button
    tree.file("etc/acpi/PWRF/00000080", "#!/bin/sh\nexec /sbin/poweroff\n", 0o755)
    for script in (
        "rc",
        "lib",
        "agent",
        "json",
        "first-boot",
        "host-keys",
        "network",
        "udhcpc",
        "user-data",
        "getty",
        "stop",
    ):
        tree.file(f"usr/lib/tiny/{script}.sh", GUEST / f"{script}.sh", 0o755)
    for script in ("nc", "chpasswd"):
        tree.file(f"usr/bin/{script}", GUEST / f"{script}.sh", 0o755)


def _kernel(tree: Tree, root: Path, busybox: Path) -> str:
    """Kernel, initrd and modules; the kernel's version."""
    versions = sorted(p for top in ("lib", "usr/lib") for p in (root / top / "modules").glob("*"))
    kernels = sorted((root / "boot").glob("vmlinuz-*"))
    if len(versions) != 1 or len(kernels) != 1:
        raise Backend(f"The kernel's packages hold {len(kernels)} kernels and {len(versions)} sets of modules.")
    version, modules = versions[0].name, Modules(versions[0])
    tree.file("boot/vmlinuz", kernels[0])
    boot = modules.closure(BOOT)
    early = Tree()
    for name in ("proc", "sys", "dev", "root", "modules"):
        early.folder(name)
    early.file("bin/busybox", busybox, 0o755)
    early.file("init", GUEST / "initrd-init.sh", 0o755)
    for path in boot:
        early.file(f"modules/{modules.plain_name(path)}", modules.content(path))
    early.file("modules/order", "".join(f"{modules.plain_name(path)}\n" for path in boot))
    tree.file("boot/initrd", cpio(early))
    tree.file("boot/cmdline", CMDLINE + "\n")

    def place(path: Path) -> str:
        return str(path.relative_to(versions[0]).with_name(modules.plain_name(path)))

    lines, aliases = [], []
    for path in modules.closure((*BOOT, *LATER)):
        name = modules.plain_name(path).removesuffix(".ko").replace("-", "_")
        content = modules.content(path)
        tree.file(f"usr/lib/modules/{version}/{place(path)}", content)
        # modprobe loads from the right
        needed = reversed(modules.closure([name])[:-1])
        lines.append(f"{place(path)}: {' '.join(map(place, needed))}".rstrip())
        aliases += [f"alias {alias.decode()} {name}" for alias in re.findall(rb"\0alias=([^\0]*)", content)]
    tree.file(f"usr/lib/modules/{version}/modules.dep", "\n".join(lines) + "\n")
    tree.file(f"usr/lib/modules/{version}/modules.alias", "\n".join(aliases) + "\n")
    return version


async def build_tree(work: Path, *, codename: str, mirror: str, progress: Progress) -> Tree:
    """Everything of the image as entries that refer to files under `work`."""
    progress("package lists", 0.02)
    packages = await apt.Apt.prepare(work / "apt", codename, mirror=mirror)
    progress("packages", 0.15)
    wanted = [
        name
        for name in await packages.closure(PACKAGES)
        if name in (*PACKAGES, "ncurses-base")
        or (name.startswith("lib") and not name.endswith("-perl") and "perl" not in name)
    ]
    kernel = ""
    extra: list[str] = []
    for candidate in KERNELS:
        needed = await packages.depends(candidate)
        kernel = next((name for name in needed if re.match(r"linux-image-(unsigned-)?\d", name)), "")
        if kernel:
            extra = [n for n in await packages.depends(kernel) if re.match(r"linux-modules-\d", n)]
            break
    if not kernel:
        raise Unsupported(f"{codename} has none of {', '.join(KERNELS)}.", capability="image.build")
    await packages.extract(wanted, work / "root")
    progress("kernel", 0.45)
    await packages.extract([kernel, *extra], work / "kernel")
    progress("file system", 0.65)
    tree = Tree()
    _configuration(tree)
    await _programs(tree, work / "root")
    busybox = _find(work / "root", ("bin/busybox", "usr/bin/busybox"))
    await asyncio.to_thread(_kernel, tree, work / "kernel", busybox)
    return tree
