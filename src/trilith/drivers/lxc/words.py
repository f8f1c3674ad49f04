"""What a container and liblxc said, from their files."""

from __future__ import annotations

import os
from pathlib import Path


def tail(newest_first: list[Path], max_bytes: int) -> bytes:
    kept = b""
    for path in newest_first:
        if len(kept) >= max_bytes:
            break
        try:
            with path.open("rb") as handle:
                size = handle.seek(0, os.SEEK_END)
                handle.seek(max(0, size - (max_bytes - len(kept))))
                kept = handle.read() + kept
        except FileNotFoundError:
            continue
    return kept[-max_bytes:] if max_bytes > 0 else b""


def log_words(path: Path) -> str:
    """The messages of liblxc's log, without its columns."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
    except OSError:
        return ""
    return "; ".join(dict.fromkeys(line.rpartition(" - ")[2] for line in lines if " ERROR " in line))[:1500]
