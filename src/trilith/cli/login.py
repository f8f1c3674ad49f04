"""Key pairs and log-ins: which key goes into a server, and how its user gets in."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

from trilith import errors
from trilith.cli.client import Cloud

#: tried in this order; the name that such a key gets in the cloud
KEY_FILES = ("id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub")
KEY_NAME = "trilith"
#: image property `os_distro` → its first user, where the image does not say `os_admin_user`
_USERS = {"tiny": "tiny", "debian": "debian", "ubuntu": "ubuntu", "fedora": "fedora", "centos": "cloud-user",
          "rocky": "rocky", "almalinux": "almalinux", "alpine": "alpine", "arch": "arch", "cirros": "cirros",
          "rhel": "cloud-user", "opensuse": "opensuse"}  # fmt: skip


def key_pair(cloud: Cloud, wanted: str, *, home: Path | None = None) -> str | None:
    """The name of a key pair in the cloud, imported where it has to be; None when there is none to give.

    wanted: a name in the cloud, a path of a public key, or "" for the user's own.
    """
    compute = cloud.sdk.compute
    if wanted:
        path = Path(wanted).expanduser()
        if path.is_file():
            name = KEY_NAME if path.name in KEY_FILES else path.name.removesuffix(".pub")
            return _import(cloud, name, path)
        cloud.find(compute.find_keypair, wanted, "key pair or file", "openstack keypair list")
        return wanted
    folder = (home or Path.home()) / ".ssh"
    own = next((folder / name for name in KEY_FILES if (folder / name).is_file()), None)
    if own is not None:
        return _import(cloud, KEY_NAME, own)
    return KEY_NAME if compute.find_keypair(KEY_NAME, ignore_missing=True) is not None else None


def _import(cloud: Cloud, name: str, path: Path) -> str:
    compute = cloud.sdk.compute
    text = read_public_key(path)
    known = compute.find_keypair(name, ignore_missing=True)
    if known is None:
        compute.create_keypair(name=name, public_key=text)
    elif key_body(known.public_key or "") != key_body(text):
        # another machine's key has this name: that one stays, ours gets a name by its content
        name = f"{name}-{(key_body(text) or '')[-8:].translate(str.maketrans('+/=', '-_x'))}"
        if compute.find_keypair(name, ignore_missing=True) is None:
            compute.create_keypair(name=name, public_key=text)
    return name


def read_public_key(path: Path) -> str:
    """Raises Invalid for what is no public key, a private one above all."""
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as err:
        raise errors.Invalid(f"{path} cannot be read as a public key: {err}") from err
    if "PRIVATE KEY" in text:
        raise errors.Invalid(f"{path} is a private key.", hint=f"Give its public half: {path}.pub")
    if key_body(text) is None:
        raise errors.Invalid(f"{path} holds no public key of OpenSSH.", hint="Make one: ssh-keygen -t ed25519")
    return text


def key_body(text: str) -> str | None:
    """The key itself, without type and comment; None when it is none."""
    words = text.split()
    if len(words) < 2:
        return None
    try:
        blob = base64.b64decode(words[1], validate=True)
    except binascii.Error:
        return None
    kind = words[0].encode()
    return words[1] if blob[4 : 4 + len(kind)] == kind else None


def user_of(image: Any) -> str:
    """Who logs in to a server from this image, or "" when nothing tells."""
    properties = dict(getattr(image, "properties", None) or {}) if image is not None else {}
    for name in ("os_admin_user", "os_distro"):
        value = getattr(image, name, None)
        if value and name not in properties:
            properties[name] = value
    if properties.get("os_admin_user"):
        return str(properties["os_admin_user"])
    return _USERS.get(str(properties.get("os_distro") or ""), "")


def image_of(cloud: Cloud, server: Any) -> Any:
    """The image that it was made from, or None when that is gone."""
    image_id = (server.image or {}).get("id") if server.image else None
    return cloud.sdk.image.find_image(image_id, ignore_missing=True) if image_id else None


def addresses(server: Any) -> tuple[list[str], list[str]]:
    """Fixed and floating addresses of a server, as Nova tells them."""
    fixed: list[str] = []
    floating: list[str] = []
    for entries in (server.addresses or {}).values():
        for entry in entries:
            (floating if entry.get("OS-EXT-IPS:type") == "floating" else fixed).append(str(entry["addr"]))
    return fixed, floating
