"""Does KVM work here? Only a guest that ran is an answer: /dev/kvm may exist and boot nothing, or only tiny guests.

`kvm.bare`: a 4 MiB guest printed its line. `kvm.linux`: a Linux kernel reached user space. QEMU is run directly, each
try with a deadline; the answer is cached by kernel, QEMU and processor, since a kernel that hangs costs the deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from trilith.drivers.libvirt import tiny_guests
from trilith.errors import Backend

EMULATOR = "qemu-system-x86_64"
#: seconds for one try
BARE_DEADLINE, LINUX_DEADLINE = 5.0, 15.0
#: QEMU's name of a processor → libvirt's, in order of preference
CPUS = {"host": "host-passthrough", "qemu64": "qemu64"}
#: raised when what is probed changes, so that older answers are asked again
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KvmProbe:
    """What ran. cpu_bare and cpu_linux are libvirt cpu modes (or models) that it ran with; why_* say what did not."""

    bare: bool
    linux: bool
    cpu_bare: str = ""
    cpu_linux: str = ""
    why_bare: str = ""
    why_linux: str = ""
    bare_seconds: float = 0.0


#: for hosts without /dev/kvm, and for tests of emulation
NO_KVM = KvmProbe(bare=False, linux=False, why_bare="not tried", why_linux="not tried")


async def probe_kvm(
    state_dir: str,
    *,
    kernel: str = "",
    initrd: str = "",
    marker: bytes = tiny_guests.LINUX_LINE,
    deadline: float = LINUX_DEADLINE,
    fresh: bool = False,
) -> KvmProbe:
    """Try, or read what an earlier try found.

    kernel: path of a Linux kernel that boots without modules; "" leaves kvm.linux unproven, that is false.
    initrd: "" for a built-in one of a few hundred bytes that prints `marker` and powers off.
    deadline: seconds for Linux to reach user space.
    Raises Backend when QEMU itself is missing.
    """
    emulator = shutil.which(EMULATOR)
    if emulator is None:
        raise Backend(f"{EMULATOR} is not installed", hint="Install the qemu-system-x86 package.")
    cache = Path(state_dir) / "kvm-probe.json"
    key = await _key(emulator, kernel, initrd)
    if not fresh and (known := await asyncio.to_thread(_read, cache, key)) is not None:
        return known
    if not await asyncio.to_thread(os.path.exists, "/dev/kvm"):
        found = KvmProbe(bare=False, linux=False, why_bare="there is no /dev/kvm", why_linux="there is no /dev/kvm")
    else:
        with tempfile.TemporaryDirectory(prefix="kvm-probe-") as work:
            found = await _try_all(emulator, Path(work), kernel, initrd, marker, deadline)
    await asyncio.to_thread(_write, cache, key, found)
    return found


async def _try_all(emulator: str, work: Path, kernel: str, initrd: str, marker: bytes, deadline: float) -> KvmProbe:
    rom, own = work / "rom.bin", work / "initrd"
    await asyncio.to_thread(rom.write_bytes, tiny_guests.rom())
    await asyncio.to_thread(own.write_bytes, tiny_guests.initramfs(tiny_guests.init_elf(marker)))
    bare, cpu_bare, why_bare, seconds = False, "", "", 0.0
    for cpu, mode in CPUS.items():
        argv = _argv(emulator, cpu, "pc", 4, "-bios", str(rom))
        clock = asyncio.get_running_loop().time()
        bare, why = await _ran(argv, tiny_guests.BARE_LINE, BARE_DEADLINE)
        if bare:
            cpu_bare, seconds = mode, asyncio.get_running_loop().time() - clock
            break
        why_bare = f"{why_bare}{'; ' if why_bare else ''}cpu {cpu}: {why}"
    linux, cpu_linux, why_linux = False, "", "" if kernel else "no kernel to try was given"
    for cpu, mode in CPUS.items() if kernel and bare else ():
        boot = ("-kernel", kernel, "-initrd", initrd or str(own), "-append", "console=ttyS0 quiet panic=-1")
        linux, why = await _ran(_argv(emulator, cpu, "q35", 256, *boot), marker, deadline)
        if linux:
            cpu_linux = mode
            break
        why_linux = f"{why_linux}{'; ' if why_linux else ''}cpu {cpu}: {why}"
    if kernel and not bare:
        why_linux = "not even a bare guest ran"
    return KvmProbe(
        bare=bare,
        linux=linux,
        cpu_bare=cpu_bare,
        cpu_linux=cpu_linux,
        why_bare="" if bare else why_bare,
        why_linux="" if linux else why_linux,
        bare_seconds=round(seconds, 3),
    )


def _argv(emulator: str, cpu: str, machine: str, memory_mib: int, *rest: str) -> list[str]:
    base = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"]
    return [emulator, *base, "-accel", "kvm", "-cpu", cpu, "-machine", machine, "-m", str(memory_mib), *rest]


async def _ran(argv: list[str], marker: bytes, deadline: float) -> tuple[bool, str]:
    """Whether the guest printed the marker in time, else why not. The process is gone on return."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.create_task(process.stderr.read(65_536))
    seen = b""
    try:
        async with asyncio.timeout(deadline):
            while marker not in seen:
                chunk = await process.stdout.read(4096)
                if not chunk:
                    break
                seen = (seen + chunk)[-65_536:]
            else:
                return True, ""
        code = await process.wait()
        words = (await errors).decode(errors="replace").strip().splitlines()
        return False, words[-1] if words else f"QEMU ended with {code} before the guest said anything"
    except TimeoutError:
        return False, f"no sign of life within {deadline:g} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        errors.cancel()
        await asyncio.gather(errors, return_exceptions=True)


async def _key(emulator: str, kernel: str, initrd: str) -> str:
    process = await asyncio.create_subprocess_exec(emulator, "--version", stdout=asyncio.subprocess.PIPE)
    version, _ = await process.communicate()

    def digest() -> str:
        system = os.uname()
        text = [str(VERSION), system.release, system.version, version.decode(errors="replace").splitlines()[0]]
        text += [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")][:1]
        for path in (kernel, initrd):
            if path:
                status = os.stat(path)
                text.append(f"{path} {status.st_size} {status.st_mtime_ns}")
        text.append(f"kvm {os.path.exists('/dev/kvm')}")
        return hashlib.sha256("\n".join(text).encode()).hexdigest()

    return await asyncio.to_thread(digest)


def _read(cache: Path, key: str) -> KvmProbe | None:
    try:
        kept = json.loads(cache.read_text())
        return KvmProbe(**kept["probe"]) if kept["key"] == key else None
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        # written by another version, or cut short: ask again
        return None


def _write(cache: Path, key: str, found: KvmProbe) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    part = cache.with_suffix(".part")
    part.write_text(json.dumps({"key": key, "probe": asdict(found)}))
    part.replace(cache)
