"""The inside of confinement: run as a script of its own (`python -I jail.py SPEC`), standard library only.

Whatever reads bytes that a tenant wrote runs here: in user, mount, network, IPC and PID namespaces of its own, with
ids 0 to 65,535 mapped to themselves (so that files keep their unshifted owners, while no capability reaches the
host), in a root that holds nothing but /usr read-only, the inputs read-only and one output folder, with limits on
memory, CPU time and file size, and with all but five capabilities dropped.

SPEC is JSON: base (an empty folder for the new root), inputs {name: path} (seen as /in/name), output (seen as /out),
memory_bytes, cpu_seconds, file_bytes, and either argv or unpack (see unpack.py). The last line of standard output of
`unpack` is JSON. Exit 125: the confinement itself could not be made.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import sys
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 2, 4, 4096, 16384, 1 << 18, 2
AT_FDCWD, AT_RECURSIVE, SYS_MOUNT_SETATTR = -100, 0x8000, 442
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
#: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETFCAP: what writing a root file system takes
KEPT = (0, 1, 3, 4, 31)
LAST_CAP = 40


class MountAttr(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


def check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    check(
        _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()),
        f"mount {target}",
    )


def read_only(path: str) -> None:
    attr = MountAttr(attr_set=ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV)
    check(
        _libc.syscall(
            ctypes.c_long(SYS_MOUNT_SETATTR),
            AT_FDCWD,
            path.encode(),
            ctypes.c_uint(AT_RECURSIVE),
            ctypes.byref(attr),
            ctypes.c_size_t(ctypes.sizeof(attr)),
        ),
        f"mount_setattr {path}",
    )


def enter_namespaces() -> None:
    """A user namespace where the kernel gives one. Its maps can only be written from outside, so a child does it."""
    others = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
    uid, gid = os.geteuid(), os.getegid()
    wait, go = os.pipe()
    writer = os.fork()
    if writer == 0:
        os.close(go)
        code = 0
        if os.read(wait, 1):
            try:
                where = f"/proc/{os.getppid()}"
                if uid != 0:
                    _write(f"{where}/setgroups", "deny")
                _write(f"{where}/uid_map", "0 0 65536" if uid == 0 else f"0 {uid} 1")
                _write(f"{where}/gid_map", "0 0 65536" if uid == 0 else f"0 {gid} 1")
            except OSError as e:
                sys.stderr.write(f"id map: {e}\n")
                code = 1
        os._exit(code)
    os.close(wait)
    if _libc.unshare(CLONE_NEWUSER | others) == 0:
        os.write(go, b"1")
        os.close(go)
        _, status = os.waitpid(writer, 0)
        if status != 0:
            raise OSError(errno.EPERM, "the user namespace's id map was refused")
        return
    refused = ctypes.get_errno()
    os.close(go)
    os.waitpid(writer, 0)
    if uid != 0:
        raise OSError(refused, "user namespaces are switched off on this host")
    check(_libc.unshare(others), "unshare")


def _write(path: str, text: str) -> None:
    with open(path, "w") as f:
        f.write(text)


def build_root(spec: dict[str, Any]) -> None:
    base: str = spec["base"]
    check(_libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None), "mount /")
    mount("tmpfs", base, "tmpfs", MS_NOSUID | MS_NODEV, "size=16m,mode=755")
    for name in ("usr", "in", "out", "dev", "tmp"):
        os.mkdir(f"{base}/{name}")
    _bind("/usr", f"{base}/usr")
    read_only(f"{base}/usr")
    for name in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{base}/{name}")
        elif os.path.isdir(f"/{name}"):
            os.mkdir(f"{base}/{name}")
            _bind(f"/{name}", f"{base}/{name}")
            read_only(f"{base}/{name}")
    for name in ("null", "zero", "urandom"):
        os.close(os.open(f"{base}/dev/{name}", os.O_CREAT, 0o600))
        _bind(f"/dev/{name}", f"{base}/dev/{name}")
    for name, path in spec["inputs"].items():
        if os.path.isdir(path):
            os.mkdir(f"{base}/in/{name}")
        else:
            os.close(os.open(f"{base}/in/{name}", os.O_CREAT, 0o600))
        _bind(path, f"{base}/in/{name}")
        read_only(f"{base}/in/{name}")
    _bind(spec["output"], f"{base}/out")
    os.chdir(base)
    check(_libc.pivot_root(b".", b"."), "pivot_root")
    check(_libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")


def _bind(source: str, target: str) -> None:
    mount(source, target, "", MS_BIND | MS_REC)


def drop(spec: dict[str, Any]) -> None:
    """Limits, then capabilities: bounding set, then effective, permitted and inheritable."""
    for kind, value in (
        (resource.RLIMIT_AS, spec["memory_bytes"]),
        (resource.RLIMIT_CPU, spec["cpu_seconds"]),
        (resource.RLIMIT_FSIZE, spec["file_bytes"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 256),
    ):
        resource.setrlimit(kind, (value, value))
    mask = 0
    for cap in range(LAST_CAP + 1):
        if cap in KEPT:
            mask |= 1 << cap
        elif _libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(cap), 0, 0, 0) != 0 and ctypes.get_errno() != errno.EINVAL:
            raise OSError(ctypes.get_errno(), "capability bounding set")
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    check(_libc.capset(header, data), "capset")
    check(_libc.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0), "no_new_privs")


def main() -> int:
    spec: dict[str, Any] = json.loads(sys.argv[1])
    if "unpack" in spec:
        # imported while the interpreter's own library is still in sight
        sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
        import encodings.utf_8  # noqa: F401
        import subprocess  # noqa: F401

        import unpack  # type: ignore[import-not-found]
    try:
        _libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
        enter_namespaces()
        build_root(spec)
        child = os.fork()
        if child == 0:
            _libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
            drop(spec)
            if "unpack" in spec:
                code: int = unpack.main(spec["unpack"])
                sys.stdout.flush()
                os._exit(code)
            os.execve(spec["argv"][0], spec["argv"], {"PATH": "/usr/bin:/usr/sbin", "LC_ALL": "C", "TMPDIR": "/tmp"})
    except OSError as e:
        sys.stderr.write(f"confinement: {e}\n")
        sys.stderr.flush()
        os._exit(125)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        sys.stderr.write(f"ended by signal {os.WTERMSIG(status)} ({signal.Signals(os.WTERMSIG(status)).name})\n")
        return 124
    return os.WEXITSTATUS(status)


if __name__ == "__main__":
    sys.exit(main())
