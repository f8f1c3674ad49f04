"""python -m trilith.images NAME --dest DIR: build one image from a shell."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from trilith.errors import TrilithError
from trilith.images.build import NAMES, build


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m trilith.images", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--dest", type=Path, required=True, help="folder for NAME.tar.zst")
    parser.add_argument("--mirror", default="", help="package mirror instead of the host's own apt sources")
    parser.add_argument("--mode", default="", choices=["", "root", "unshare"])
    args = parser.parse_args()

    def progress(what: str, part: float) -> None:
        sys.stderr.write(f"{part:4.0%} {what}\n")

    try:
        made = asyncio.run(build(args.name, args.dest, progress=progress, mirror=args.mirror, mode=args.mode))
    except TrilithError as e:
        sys.stderr.write(f"{e.code}: {e}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(made), default=str) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
