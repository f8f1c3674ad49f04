"""Kernel modules that a guest needs, in the order in which they can be loaded."""

from __future__ import annotations

import lzma
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from trilith.errors import Backend

#: for the root disk and the network of a KVM or Xen guest; what is built in is passed over
BOOT = (
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "xen-blkfront",
    "ext4",
)
#: later, from the root file system
LATER = (
    "virtio_net",
    "xen-netfront",
    "virtio_console",
    "virtio_balloon",
    "virtio_rng",
    "button",
    "evdev",
    "isofs",
    "sr_mod",
    "8021q",
    "vfat",
    "nls_utf8",
    "nls_ascii",
    "nls_cp437",
    "loop",
    "dm_mod",
    "dummy",
)


def _plain(name: str) -> str:
    return name.replace("-", "_")


class Modules:
    """The modules of one kernel, read from their `.modinfo` (packages carry no modules.dep). All methods block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._content: dict[Path, bytes] = {}
        self._paths = {_plain(path.name.split(".ko")[0]): path for path in folder.rglob("*.ko*") if ".ko" in path.name}
        builtin = folder / "modules.builtin"
        lines = builtin.read_text().split() if builtin.exists() else []
        self._builtin = {_plain(Path(line).name.split(".ko")[0]) for line in lines}

    def content(self, path: Path) -> bytes:
        """The plain module (Ubuntu compresses its own). Raises Backend."""
        if path not in self._content:
            data = path.read_bytes()
            if path.suffix == ".xz":
                data = lzma.decompress(data)
            elif path.suffix == ".zst":
                done = subprocess.run(["zstd", "-dcq", path], capture_output=True, timeout=60, check=False)
                if done.returncode:
                    words = done.stderr.decode(errors="replace").strip()
                    raise Backend(f"{path.name} cannot be unpacked: {words}")
                data = done.stdout
            elif path.suffix != ".ko":
                raise Backend(f"{path.name} is packed in a way that is not known here.")
            self._content[path] = data
        return self._content[path]

    @staticmethod
    def plain_name(path: Path) -> str:
        """File name without the ending of a compression."""
        return path.name.split(".ko")[0] + ".ko"

    def depends(self, path: Path) -> list[str]:
        """Names of the modules that one needs first."""
        data = b"\0" + self.content(path)
        found = re.search(rb"\0depends=([^\0]*)\0", data)
        soft = re.search(rb"\0softdep=pre: ([^\0]*)\0", data)
        names = found[1].decode().split(",") if found else []
        return [_plain(name) for name in names + (soft[1].decode().split() if soft else []) if name]

    def closure(self, names: Iterable[str]) -> list[Path]:
        """Paths with what they depend on, each after what it needs. Unknown and built-in names are passed over."""
        ordered: dict[str, Path] = {}

        def add(name: str, above: tuple[str, ...]) -> None:
            if name in ordered or name in above or name in self._builtin or name not in self._paths:
                return
            for needed in self.depends(self._paths[name]):
                add(needed, (*above, name))
            ordered[name] = self._paths[name]

        for name in names:
            add(_plain(name), ())
        return list(ordered.values())
