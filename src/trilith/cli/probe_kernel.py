"""The kernel inside a built image, laid where the node's KVM probe looks for one."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

from trilith import errors

#: bytes; a kernel is some 10 MiB, more is not one
_LARGEST = 64 << 20


def hand_over(tar: Path, dest: Path) -> Path | None:
    """Write /boot/vmlinuz* of a .tar.zst to `dest`, whole or not at all. None when it holds no kernel.

    Raises Backend when the archive cannot be read, or `dest` cannot be written.
    """
    data = kernel_of(tar)
    if data is None:
        return None
    fresh = dest.with_name(dest.name + ".new")
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(data)
        fresh.chmod(0o644)
        fresh.replace(dest)
    except OSError as err:
        raise errors.Backend(
            f"{dest} cannot be written: {err.strerror}.", hint="Run it as root on the cloud's own host."
        ) from err
    return dest


def kernel_of(tar: Path) -> bytes | None:
    tool = shutil.which("zstd")
    if tool is None:
        raise errors.Unsupported("zstd is not installed here.", capability="image.build", hint="Install zstd.")
    with subprocess.Popen([tool, "-dcq", "--", str(tar)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        try:
            with tarfile.open(fileobj=child.stdout, mode="r|") as archive:
                for member in archive:
                    path = member.name.lstrip("./")
                    if path.startswith("boot/vmlinuz") and member.isfile() and member.size <= _LARGEST:
                        file = archive.extractfile(member)
                        return file.read() if file is not None else None
        except tarfile.TarError as err:
            raise errors.Backend(f"{tar} is no archive that can be read: {err}") from err
        finally:
            child.kill()
    return None
