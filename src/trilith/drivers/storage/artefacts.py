"""Where artefacts lie, and how one appears: made in a folder of its own, then renamed into place.

    STATE/artefacts/SHA256/FORM/    artefact.json and what it names; there is either all of it or none
    STATE/making/…                  work in progress; what no living process holds is swept

Folders of root file systems are for root alone (0700): their set-uid files have the ids that they have in a guest,
and must not be reached by this host's users. Disks are readable by the group that QEMU runs in.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from trilith.errors import Invalid
from trilith.model.guest import Artefact, ImageForm

SHA256 = re.compile(r"[0-9a-f]{64}")
RECORD = "artefact.json"


def check_sha256(sha256: str) -> str:
    if not SHA256.fullmatch(sha256):
        raise Invalid(f"{sha256[:80]!r} is not a SHA-256 in hexadecimal.", field="sha256")
    return sha256


class Shelf:
    """All methods block; run them in a thread."""

    def __init__(self, state: Path, *, group: int = -1) -> None:
        self.state = state
        self.artefacts = state / "artefacts"
        self.making = state / "making"
        self.group = group

    def open(self) -> None:
        """Make the folders and sweep what a process that died left behind."""
        for folder in (self.artefacts, self.making):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o711)
        self.sweep()

    def sweep(self) -> list[str]:
        """Names of the abandoned folders that were removed."""
        swept = []
        for path in self.making.iterdir():
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            finally:
                os.close(lock)
            remove_tree(path)
            swept.append(path.name)
        return swept

    @contextmanager
    def work(self) -> Iterator[Path]:
        """A folder to make something in, removed in every case; its lock tells a sweep that it is in use."""
        folder = Path(tempfile.mkdtemp(dir=self.making))
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
        finally:
            remove_tree(folder)
            os.close(lock)

    def folder(self, sha256: str, form: ImageForm) -> Path:
        return self.artefacts / check_sha256(sha256) / form.value

    def find(self, sha256: str, form: ImageForm) -> Artefact | None:
        folder = self.folder(sha256, form)
        try:
            record = json.loads((folder / RECORD).read_text())
        except FileNotFoundError:
            return None

        def place(name: str) -> str:
            return str(folder / name) if name else ""

        return Artefact(
            sha256=sha256,
            form=form,
            path=place(record["path"]),
            kernel=place(record["kernel"]),
            initrd=place(record["initrd"]),
            cmdline=record["cmdline"],
            size_mib=record["size_mib"],
        )

    def publish(self, made: Path, artefact: Artefact) -> Artefact:
        """Move a finished folder into place. The artefact's paths are names inside the folder. Raises OSError."""
        (made / RECORD).write_text(json.dumps(asdict(artefact)))
        made.chmod(0o700 if artefact.form is ImageForm.ROOTFS else 0o750)
        if self.group >= 0:
            os.chown(made, -1, self.group)
        self.settle(made)
        folder = self.folder(artefact.sha256, artefact.form)
        folder.parent.mkdir(exist_ok=True)
        folder.parent.chmod(0o711)
        try:
            made.rename(folder)
        except OSError:
            # another process was first with the same bytes
            if self.find(artefact.sha256, artefact.form) is None:
                raise
        sync_folder(folder.parent)
        sync_folder(self.artefacts)
        found = self.find(artefact.sha256, artefact.form)
        if found is None:
            raise FileNotFoundError(str(folder))
        return found

    def settle(self, folder: Path) -> None:
        """Everything below is on the disk: one syncfs for thousands of files."""
        handle = os.open(folder, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(handle) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        finally:
            os.close(handle)

    def all(self) -> list[Artefact]:
        found = []
        for sha in sorted(os.listdir(self.artefacts)):
            if SHA256.fullmatch(sha):
                found += [a for form in ImageForm if (a := self.find(sha, form)) is not None]
        return found

    def drop(self, sha256: str) -> None:
        """Out of sight in one rename, then removed: half an artefact is never found."""
        with self.work() as work:
            try:
                (self.artefacts / check_sha256(sha256)).rename(work / sha256)
            except FileNotFoundError:
                return
            sync_folder(self.artefacts)


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_tree(folder: Path) -> None:
    """shutil's rmtree does not follow links; folders that deny themselves are opened up when not root."""
    if os.geteuid() != 0:
        for above, _, _ in os.walk(folder):
            os.chmod(above, 0o700)
    shutil.rmtree(folder, ignore_errors=False)
