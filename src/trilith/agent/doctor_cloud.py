"""The cloud that runs (or ran) on this host: does it answer, do its daemons live, what did a killed trial leave."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path

import msgspec

from trilith.agent.doctor import Patient, Said, fine, problem, unknown, warning
from trilith.agent.process import boot_id, start_time
from trilith.config import Settings

#: names of namespaces and directories that trials make: this, the pid of the doctor, something random
TRIAL = "tld"


class _Up(msgspec.Struct):
    """What `trilith up` writes of itself."""

    pid: int
    started: int
    url: str


async def cloud(patient: Patient) -> list[Said]:
    return await asyncio.to_thread(_look, patient.settings, patient.work)


def _look(settings: Settings, work: Path) -> list[Said]:
    said = _left_behind(work)
    try:
        record = msgspec.json.decode((settings.state / "run" / "up.json").read_bytes(), type=_Up)
    except FileNotFoundError:
        return [*said, fine(f"no cloud has run from {settings.state}")]
    except PermissionError:
        return [*said, unknown(f"{settings.state} can be read by root only.", "sudo trilith doctor")]
    except msgspec.MsgspecError as err:
        return [*said, problem(f"The record of `trilith up` is broken: {err}", "Start it again: trilith up")]
    running = bool(record.started) and start_time(record.pid) == record.started
    if running:
        said.append(_answer(record))
    else:
        said.append(warning("The control plane is not running; guests may be.", "trilith up"))
    said += _daemons(settings, running=running)
    return said


def _answer(record: _Up) -> Said:
    """Any HTTP answer to the root of the API is one; its versions come with 300."""
    try:
        with urllib.request.urlopen(f"{record.url}/identity/v3", timeout=5) as response:
            status = response.status
    except urllib.error.HTTPError as err:
        status = err.code
    except (OSError, ValueError) as err:
        return problem(
            f"trilith up (pid {record.pid}) runs, its API at {record.url} does not answer: {err}",
            "Look at its log; `trilith down`, then `trilith up`: guests go on.",
        )
    if status >= 500:
        return problem(f"The API at {record.url} answers {status}.", "Look at its log.")
    return fine(f"the API answers at {record.url}", pid=str(record.pid), url=record.url)


def _daemons(settings: Settings, *, running: bool) -> list[Said]:
    """By the supervisor's records. A daemon dead under a running control plane should have been restarted."""
    alive: list[str] = []
    dead: list[str] = []
    broken: list[str] = []
    boot = boot_id()
    for path in sorted((settings.state / "node" / "daemons").glob("*.json")):
        try:
            kept = json.loads(path.read_text())
            same = kept["boot"] == boot and start_time(int(kept["pid"])) == int(kept["start"])
        except (ValueError, KeyError, TypeError, OSError):
            broken.append(path.stem)
            continue
        (alive if same else dead).append(path.stem)
    said: list[Said] = []
    if broken:
        said.append(warning(f"Records of daemons cannot be read: {', '.join(broken)}.", "trilith up writes them anew."))
    if dead and running:
        said.append(
            problem(f"Daemons are dead: {', '.join(dead)}.", f"Their logs are in {settings.state}/node/network/log.")
        )
    elif dead:
        said.append(warning(f"Daemons are dead: {', '.join(dead)}.", "trilith up starts them again."))
    if alive:
        said.append(fine(f"daemons alive: {', '.join(alive)}"))
    return said


def _left_behind(work: Path) -> list[Said]:
    """What doctors left that were killed with -9: told, with the commands that remove it."""
    namespaces = [p.name for p in sorted(Path("/run/netns").glob(f"{TRIAL}-*")) if _orphan(p.name)]
    folders = [p for p in sorted(work.glob(f"{TRIAL}-*")) if _orphan(p.name)]
    remove = []
    for folder in folders:
        containers = folder / "lxc" / "ct"
        if containers.is_dir():
            remove += [f"lxc-stop -k -P {containers} -n {path.name}" for path in sorted(containers.iterdir())]
            remove.append(f"umount -q {folder}/lxc/pool")
    for name in namespaces:
        remove += [f"ip netns pids {name} | xargs -r kill -9", f"ip netns delete {name}"]
    remove += [f"rm -rf --one-file-system {folder}" for folder in folders]
    if not remove:
        return []
    return [warning("A doctor that was killed left its trial behind.", "; ".join(remove))]


def _orphan(name: str) -> bool:
    """Named for a process that is no more."""
    pid = name.split("-")[1]
    return pid.isdigit() and start_time(int(pid)) == 0
