"""A standalone qcow2 of the root disk at one instant, while the guest goes on.

Running or paused: libvirt's push backup. QEMU copies each cluster before the guest overwrites it, so the file is the
disk as it was at the start, and nothing remains on the guest afterwards (an external snapshot would leave a chain to
merge if this process died between the two). Stopped: qemu-img convert.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import libvirt

from trilith.drivers.libvirt.connection import Connection, Happening
from trilith.drivers.libvirt.events import Hub
from trilith.drivers.libvirt.xml import child, render
from trilith.errors import Backend, Deadline, TrilithError

#: seconds without an end after which a backup counts as stuck
DEADLINE = 3600.0


def root_disk_of(xml: str) -> tuple[str, str]:
    """(target, path) of the first writable disk; ("", "") when there is none."""
    for disk in fromstring(xml).findall("./devices/disk[@device='disk']"):
        source, target = disk.find("source"), disk.find("target")
        if disk.find("readonly") is None and source is not None and target is not None:
            return target.get("dev", ""), source.get("file", "")
    return "", ""


def backup_xml(xml: str, target: str, dest: str) -> str:
    """<domainbackup>: https://libvirt.org/formatbackup.html. Every disk that is not named would be copied, too."""
    root = Element("domainbackup", {"mode": "push"})
    disks = child(root, "disks")
    for disk in fromstring(xml).findall("./devices/disk"):
        name = disk.find("target")
        if name is None:
            continue
        if name.get("dev") != target:
            child(disks, "disk", name=name.get("dev", ""), backup="no")
            continue
        wanted = child(disks, "disk", name=target, backup="yes", type="file")
        child(wanted, "driver", type="qcow2")
        child(wanted, "target", file=dest)
    return render(root)


async def running(connection: Connection, hub: Hub, name: str, dest: str) -> None:
    """Raises Backend, and Deadline after an hour. A backup that an earlier process began is ended first."""
    doing = f"snapshot {name}"

    def begin(conn: Any) -> None:
        domain = conn.lookupByName(name)
        if domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE:
            with contextlib.suppress(libvirt.libvirtError):
                domain.abortJob()
        xml = domain.XMLDesc(0)
        domain.backupBegin(backup_xml(xml, root_disk_of(xml)[0], dest), None, 0)

    def done(happening: Happening) -> bool:
        if happening.domain != name:
            return False
        ended = happening.kind == "lifecycle" and happening.event == libvirt.VIR_DOMAIN_EVENT_STOPPED
        return ended or happening.kind == "job_completed"

    with hub.expect(done) as future:
        await connection.call(doing, begin)
        try:
            async with asyncio.timeout(DEADLINE):
                happening = await future
        except BaseException as error:
            await asyncio.shield(_abort(connection, name))
            if isinstance(error, TimeoutError):
                raise Deadline(f"the copy of {name} did not end within {DEADLINE:g} s") from error
            raise
    if happening.kind == "lifecycle":
        raise Backend(f"{name} stopped during its snapshot", hint="Repeat the snapshot.")
    if happening.detail:
        raise Backend(f"the copy of {name} failed: {happening.text or 'no reason given'}")
    await connection.call(doing, lambda conn: _closed(conn, name))


def _closed(conn: Any, name: str) -> None:
    """The job's end is told before QEMU has closed the copy and written the last of its tables. The thread of libvirt
    that sees to that holds the domain's job until then, and a query of a block device waits for it."""
    domain = conn.lookupByName(name)
    domain.blockInfo(root_disk_of(domain.XMLDesc(0))[0])


async def _abort(connection: Connection, name: str) -> None:
    def abort(conn: Any) -> None:
        conn.lookupByName(name).abortJob()

    # nothing to abort means that it had just ended
    with contextlib.suppress(TrilithError):
        await connection.call(f"end the copy of {name}", abort)


async def stopped(path: str, dest: str) -> None:
    """Copy a disk that nobody writes to. Raises Backend with qemu-img's words."""
    argv = ["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", "-T", "none", "-t", "none", path, dest]
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise Backend(f"qemu-img cannot copy {path}: {output.decode(errors='replace').strip()}")


def finish(part: str, dest: str) -> None:
    """Give the file to root, make it durable, and let it appear whole under its name. Raises Backend."""
    try:
        _publish(part, dest)
    except OSError as error:
        raise Backend(f"cannot write the snapshot {dest}: {error}") from error


def _publish(part: str, dest: str) -> None:
    if os.stat(part).st_dev != os.stat(os.path.dirname(dest) or ".").st_dev:
        near = f"{dest}.part"
        try:
            shutil.copyfile(part, near)
            _publish(near, dest)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(near)
            raise
        return
    os.chown(part, os.geteuid(), os.getegid())
    os.chmod(part, 0o600)
    descriptor = os.open(part, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(part, dest)
