"""Runs one host tool (ip, nft, ovs-vsctl …) by an argument list, in a network namespace where one is given."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from trilith.errors import Backend, Deadline

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def enter_netns(netns: str) -> tuple[str, ...]:
    """The prefix of a command that runs in a network namespace, by path or by name under /run/netns.

    Not `ip netns exec`: that mounts /sys anew, and cgroups are gone from it.
    """
    if not netns:
        return ()
    return ("nsenter", f"--net={netns if netns.startswith('/') else f'/run/netns/{netns}'}", "--")


async def run(
    argv: Sequence[str],
    *,
    netns: str = "",
    env: Mapping[str, str] | None = None,
    stdin: str = "",
    timeout: float = 15.0,
    accept: Sequence[int] = (0,),
) -> str:
    """Its standard output. Raises Backend with its own words, Deadline after `timeout` seconds."""
    try:
        child = await asyncio.create_subprocess_exec(
            *enter_netns(netns),
            *argv,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": _PATH, "LC_ALL": "C", **(env or {})},
        )
    except FileNotFoundError as error:
        raise Backend(f"{argv[0]} is not installed.", hint="Run `trilith doctor`.") from error
    try:
        async with asyncio.timeout(timeout):
            out, err = await child.communicate(stdin.encode() if stdin else None)
    except BaseException as error:
        if child.returncode is None:
            child.kill()
            await child.wait()
        if isinstance(error, TimeoutError):
            raise Deadline(f"{argv[0]} did not end in {timeout:g} s.") from None
        raise
    if child.returncode not in accept:
        said = (err or out).decode(errors="replace").strip()
        raise Backend(f"{' '.join(argv[:3])}: {said or f'exit status {child.returncode}'}")
    return out.decode(errors="replace")
