"""What is done inside a container in its administrator's name, and what it boots from while it is in rescue."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from trilith.drivers.lxc import tool
from trilith.errors import Backend, Invalid
from trilith.model.guest import GuestSpec

_USER = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")
_SECONDS = 30.0


def password_line(user: str, password: str) -> bytes:
    """chpasswd(8)'s input. Raises Invalid for what would be another line, or another user's."""
    name = user or "root"
    if _USER.fullmatch(name) is None:
        raise Invalid(f"Not a user name: {name[:40]!r}.", field="user")
    if "\n" in password or "\r" in password or "\0" in password:
        raise Invalid("A password cannot have line breaks.", field="adminPass")
    return f"{name}:{password}\n".encode()


async def set_password(attached: Sequence[str], line: bytes) -> None:
    """attached: arguments that run chpasswd inside. The password goes by standard input only. Raises Backend."""
    ended = await tool.capture(attached, timeout=_SECONDS, given=line)
    if ended.exit_code != 0:
        words = ended.stderr.decode(errors="replace").strip()[-500:] or f"exit code {ended.exit_code}"
        raise Backend(f"chpasswd in the container failed: {words}", hint="The image needs chpasswd (package passwd).")


def rescue_layer(server_id: str) -> str:
    return f"{server_id}.rescue"


def booted(spec: GuestSpec) -> GuestSpec:
    """The spec of what starts: the rescue image in the place of the guest's own, where it has one."""
    return spec if spec.rescue is None else replace(spec, image=spec.rescue.image, rescue=None)
