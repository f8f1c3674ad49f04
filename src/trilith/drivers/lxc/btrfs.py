"""Two of btrfs' ioctls (linux/btrfs.h), which every new container needs: the `btrfs` tool costs a process for each.

The rest is left to the tool.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from trilith.errors import Backend

#: struct btrfs_ioctl_vol_args: fd, name
_VOLUME = struct.Struct("=q4088s")
#: struct btrfs_ioctl_qgroup_limit_args: qgroupid (0: the subvolume itself); flags, max_rfer, max_excl, two unused
_LIMIT = struct.Struct("=QQQQQQ")
_SUBVOL_CREATE = 1 << 30 | _VOLUME.size << 16 | 0x94 << 8 | 14
_QGROUP_LIMIT = 2 << 30 | _LIMIT.size << 16 | 0x94 << 8 | 43
_MAX_RFER = 1
#: no limit, as btrfs-progs writes it
_NONE = (1 << 64) - 1


def create_subvolume(path: Path) -> None:
    """Make an empty subvolume. Raises Backend; FileExistsError when there is something."""
    _ask(path.parent, _SUBVOL_CREATE, _VOLUME.pack(0, os.fsencode(path.name)), f"make the subvolume {path}")


def limit_subvolume(path: Path, mib: int) -> None:
    """Bound what the subvolume refers to; 0 takes the bound away. Raises Backend."""
    most = mib << 20 if mib else _NONE
    _ask(path, _QGROUP_LIMIT, _LIMIT.pack(0, _MAX_RFER, most, 0, 0, 0), f"limit {path} to {mib} MiB")


def _ask(path: Path, request: int, argument: bytes, doing: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, request, bytearray(argument))  # what cannot change may have 1,024 bytes only
    except FileExistsError:
        raise
    except OSError as error:
        raise Backend(f"btrfs could not {doing}: {error.strerror}.", hint="See dmesg.") from error
    finally:
        os.close(descriptor)
