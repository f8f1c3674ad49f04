"""A container's root file system, mounted in a mount namespace that only its monitor will hold.

The image's directory and the server's own layer are cloned as idmapped mounts (ids on disk start at 0, ids in the
container at `id_base`), and an overlay joins them. Nothing is copied and nothing is chowned. The namespace is made
by a thread of its own, which starts lxc-start from inside it and ends: the mounts live exactly as long as the
monitor and the container, and never show in the host's table.

mount_setattr(2), open_tree(2), move_mount(2); kernel 5.19 or later for idmapped layers of an overlay.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from trilith.drivers.lxc import tool
from trilith.errors import Backend, Deadline

T = TypeVar("T")

# x86_64 and arm64 give these the same numbers, as all calls after 5.0
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_SETFSUID, _SETFSGID = {"x86_64": (122, 123), "aarch64": (151, 152)}.get(os.uname().machine, (122, 123))
_CLONE_NEWNS = 0x00020000
_MS_NODEV, _MS_REC, _MS_SLAVE, _MS_RDONLY = 4, 1 << 14, 1 << 19, 1
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_OPEN_TREE_CLONE, _CLOEXEC = 1, os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_IDMAP = 0x00100000
_CAP_SYS_RESOURCE = 24

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Root:
    """Where one server's root file system comes from. image: shared directory; layer: holds up/ and work/;
    base: a directory of ours with the empty mount points lower/, layer/, drive/ and rootfs/; drive: the config
    drive's directory or "". It comes idmapped too, so that its files can stay closed to everybody but root.

    own_image, own_layer: of a guest in rescue, whose own root then is at /mnt of what it boots; the directory has the
    mount points own-lower/ and own-layer/, too, and the layer's up/ a mnt/."""

    image: str
    layer: str
    base: str
    id_base: int
    drive: str = ""
    own_image: str = ""
    own_layer: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    exit_code: int
    stderr: str


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return result


def _syscall(number: int, *args: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *args)
    return result


class _CapHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


def _capabilities(change: Callable[[int], int] | None = None, *, restore: Sequence[int] | None = None) -> list[int]:
    """Read this thread's capability words (effective, permitted, inheritable, twice), and set the effective ones."""
    header, words = _CapHeader(0x20080522, 0), (ctypes.c_uint32 * 6)()
    _check(_libc.capget(ctypes.byref(header), words), "capget")
    before = list(words)
    if change is not None:
        words[0] = change(words[0])
    if restore is not None:
        words[0], words[3] = restore[0], restore[3]
    if change is not None or restore is not None:
        _check(_libc.capset(ctypes.byref(header), words), "capset")
    return before


@contextlib.contextmanager
def _as_guest_root(id_base: int) -> Iterator[None]:
    """Mount as the container's root would, because the kernel keeps the mounter's credentials for all work of an
    overlay on its layers: host uid 0 does not exist in an idmapped layer (EOVERFLOW, overlay read-only), and with
    CAP_SYS_RESOURCE every write of the guest would be over the quota's head."""
    before = _capabilities()
    _syscall(_SETFSGID, ctypes.c_long(id_base))
    _syscall(_SETFSUID, ctypes.c_long(id_base))
    try:
        _capabilities(restore=before)  # leaving fsuid 0 took the file capabilities away
        _capabilities(lambda effective: effective & ~(1 << _CAP_SYS_RESOURCE))
        yield
    finally:
        _syscall(_SETFSUID, ctypes.c_long(0))
        _syscall(_SETFSGID, ctypes.c_long(0))
        _capabilities(restore=before)


def _user_namespace(id_base: int) -> int:
    """A descriptor of a user namespace that maps 0 to id_base; the namespace needs a process only while it is made."""
    argv = [tool.find("unshare", "util-linux"), "--user", "--", tool.find("cat", "coreutils")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=tool.clean_env()) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b"x")
        holder.stdin.flush()
        if holder.stdout.read(1) != b"x":  # cat runs, so the namespace exists
            raise Backend(
                "The kernel refused a user namespace.", hint="Check user.max_user_namespaces and kernel.unprivileged_*."
            )
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{holder.pid}/{name}").write_text(f"0 {id_base} 65536\n", encoding="ascii")
        return os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def _clone_idmapped(source: str, userns: int, target: str) -> None:
    tree = _check(
        _syscall(_OPEN_TREE, ctypes.c_int(_AT_FDCWD), os.fsencode(source), ctypes.c_uint(_OPEN_TREE_CLONE | _CLOEXEC)),
        f"open_tree {source}",
    )
    try:
        attributes = struct.pack("=QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, userns)
        _check(
            _syscall(
                _MOUNT_SETATTR,
                ctypes.c_int(tree),
                b"",
                ctypes.c_uint(_AT_EMPTY_PATH),
                attributes,
                ctypes.c_size_t(len(attributes)),
            ),
            f"mount_setattr {source}",
        )
        _check(
            _syscall(
                _MOVE_MOUNT,
                ctypes.c_int(tree),
                b"",
                ctypes.c_int(_AT_FDCWD),
                os.fsencode(target),
                ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH),
            ),
            f"move_mount {target}",
        )
    finally:
        os.close(tree)


def _private_namespace() -> None:
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    # slave, not private: what the host unmounts later must not stay busy because of a guest
    _check(_libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None), "mount --make-rslave /")


def _mount_root(root: Root) -> None:
    _private_namespace()
    userns = _user_namespace(root.id_base)
    try:
        _clone_idmapped(root.image, userns, f"{root.base}/lower")
        _clone_idmapped(root.layer, userns, f"{root.base}/layer")
        if root.own_image:
            _clone_idmapped(root.own_image, userns, f"{root.base}/own-lower")
            _clone_idmapped(root.own_layer, userns, f"{root.base}/own-layer")
        if root.drive:
            _clone_idmapped(root.drive, userns, f"{root.base}/drive")
    finally:
        os.close(userns)
    target = f"{root.base}/rootfs"
    _overlay(root, "lower", "layer", target)
    if root.own_image:
        _overlay(root, "own-lower", "own-layer", f"{target}/mnt")


def _overlay(root: Root, lower: str, layer: str, target: str) -> None:
    base = root.base
    options = f"lowerdir={base}/{lower},upperdir={base}/{layer}/up,workdir={base}/{layer}/work"
    with _as_guest_root(root.id_base):
        _check(
            _libc.mount(b"overlay", os.fsencode(target), b"overlay", ctypes.c_ulong(_MS_NODEV), os.fsencode(options)),
            "mount overlay",
        )
    if os.statvfs(target).f_flag & os.ST_RDONLY:
        raise Backend("The kernel made the root file system read-only.", hint="See dmesg for overlayfs.")


def _mount_frozen(image: str, layer: str, target: str) -> None:
    """The same root as it lies on disk, ids from 0, read-only: both directories as lower layers."""
    _private_namespace()
    _check(
        _libc.mount(
            b"overlay",
            os.fsencode(target),
            b"overlay",
            ctypes.c_ulong(_MS_NODEV | _MS_RDONLY),
            os.fsencode(f"lowerdir={layer}:{image}"),
        ),
        "mount overlay",
    )


def _spawn(prepare: Callable[[], None], argv: Sequence[str], env: Mapping[str, str], timeout: float) -> Ended:
    try:
        prepare()
    except OSError as exc:
        raise Backend(
            f"Mounting a container's root failed: {exc}.",
            hint="Idmapped overlay layers need Linux 5.19 and ext4, xfs, btrfs or tmpfs (6.3) below images and state.",
        ) from exc
    try:
        done = subprocess.run(
            argv,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as exc:
        raise Deadline(f"{os.path.basename(argv[0])} did not end within {timeout:g} s.") from exc
    return Ended(done.returncode, done.stderr.decode(errors="replace"))


async def _in_thread(work: Callable[[], T]) -> T:
    """In a thread that is used once: it has left the process's mount namespace for good, a pool must not get it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)  # type: ignore[arg-type]

    def body() -> None:
        value: T | None = None
        error: BaseException | None = None
        try:
            value = work()
        except (Exception, SystemExit) as exc:  # noqa: BLE001 (handed to the caller whole)
            error = exc
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=body, name="lxc-mount", daemon=True).start()
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        # what the thread does goes on: whoever comes next must find it done, not half-way
        await asyncio.wait([future])
        raise


async def start_in(root: Root, argv: Sequence[str], env: Mapping[str, str], *, timeout: float) -> Ended:
    """Run argv in a new mount namespace that has the root at `root.base`/rootfs. Raises Backend."""
    return await _in_thread(lambda: _spawn(lambda: _mount_root(root), argv, env, timeout))


async def run_on_frozen(
    image: str, layer: str, target: str, argv: Sequence[str], env: Mapping[str, str], *, timeout: float
) -> Ended:
    """Run argv in a new mount namespace with the read-only root, ids as on disk, at `target`. Raises Backend."""
    return await _in_thread(lambda: _spawn(lambda: _mount_frozen(image, layer, target), argv, env, timeout))


async def try_user_namespace(id_base: int) -> None:
    """Make and drop one. Raises Backend where the kernel refuses."""

    def attempt() -> None:
        try:
            os.close(_user_namespace(id_base))
        except OSError as exc:
            raise Backend(f"No user namespace can be made: {exc}.", hint="Check user.max_user_namespaces.") from exc

    await asyncio.to_thread(attempt)
