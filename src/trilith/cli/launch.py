"""`trilith launch`: a server with all that it needs, by safe defaults."""

from __future__ import annotations

import base64
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trilith import errors
from trilith.cli import options, screen

if TYPE_CHECKING:
    from trilith.cli.client import Cloud

#: Nova's bound on user data, in base64 (API reference, create server)
_USER_DATA = 65_535


class PillarName(StrEnum):
    LXC = "lxc"
    KVM = "kvm"
    XEN = "xen"


def launch(
    image: Annotated[str, typer.Argument(help="Name or id of an image: `trilith image list`.")],
    name: Annotated[str, typer.Argument(help="Name of the server.")],
    flavor: Annotated[str, typer.Option(help="Size. Default: the smallest that holds the image.")] = "",
    network: Annotated[str, typer.Option(help="Network. Default: the project's own; else `private` is made.")] = "",
    pillar: Annotated[
        PillarName | None, typer.Option(help="Container (lxc) or machine (kvm, xen). Default: the cloud decides.")
    ] = None,
    key: Annotated[str, typer.Option(help="Public key: a file, or a key pair's name. Default: your ~/.ssh key.")] = "",
    public: Annotated[
        bool, typer.Option("--public", help="Reachable from outside: floating IP, and a group for ssh and ping.")
    ] = False,
    user_data: Annotated[Path | None, typer.Option("--user-data", help="File for cloud-init.", exists=True)] = None,
    wait: options.Wait = True,
    timeout: options.Patience = 600,
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Start a server: container or machine, as image, flavor and the cloud's advisor say.

    What is missing is made: your key in the cloud, the network `private` with its router; with --public a floating IP
    and the security group `trilith-ssh`.

    Examples:

      trilith launch debian-12 web1

      trilith launch tiny t1 --public                  # then: ssh tiny@ADDRESS

      trilith launch debian-12 db1 --pillar kvm --flavor m1.small --user-data init.yaml
    """
    from trilith.cli.client import connect

    data = _user_data(user_data) if user_data is not None else None
    with connect(os_cloud, clouds_yaml) as cloud:
        with screen.progress() as steps:
            server = _launch(
                cloud, steps, image, name, flavor, network, pillar, key, public, data, wait=wait, timeout=timeout
            )
        _tell(cloud, server, waited=wait, as_json=as_json)


def _launch(
    cloud: Cloud,
    steps: screen.Steps,
    image: str,
    name: str,
    flavor: str,
    network: str,
    pillar: PillarName | None,
    key: str,
    public: bool,
    data: str | None,
    *,
    wait: bool,
    timeout: float,
) -> Any:
    from trilith.cli import follow, login, size, topology

    steps.step("looking at the cloud")
    found = image_named(cloud, image)
    chosen = size.flavor_for(cloud, flavor, pillar.value if pillar else "", found, steps)
    key_name = login.key_pair(cloud, key)
    net = topology.network_for(cloud, network, steps)
    groups = [{"name": topology.ssh_group(cloud, steps).id}] if public else []
    steps.step(f"{name}: {chosen.name}, {found.name}, network {net.name}")
    server = cloud.sdk.compute.create_server(
        name=name,
        image_id=found.id,
        flavor_id=chosen.id,
        networks=[{"uuid": net.id}],
        **({"key_name": key_name} if key_name else {}),
        **({"security_groups": groups} if groups else {}),
        **({"user_data": data} if data else {}),
    )
    if not (wait or public):
        return server
    server.name = name
    server = follow.wait_server(
        cloud, server, lambda s: s is not None and s.status == "ACTIVE", f"starting {name}", steps, timeout=timeout
    )
    if public:
        topology.publish(cloud, server, steps)
    return cloud.sdk.compute.get_server(server.id)


def image_named(cloud: Cloud, wanted: str) -> Any:
    """An active one. Raises Missing, Conflict."""
    images = cloud.sdk.image
    named = list(images.images(name=wanted, status="active"))
    if len(named) == 1:
        return named[0]
    if len(named) > 1:
        own = [i for i in named if i.owner_id == cloud.project_id]
        if len(own) == 1:
            return own[0]
        raise errors.Conflict(f"There is more than one image named {wanted!r}.", hint="Give its id: trilith image list")
    found = images.find_image(wanted, ignore_missing=True)
    if found is not None and found.status == "active":
        return found
    if found is not None:
        raise errors.Conflict(f"The image {wanted} is {found.status}.", hint="Wait for it: trilith image list")
    from trilith.images import NAMES

    there = ", ".join(sorted({str(i.name) for i in images.images(status="active")})[:10])
    hint = f"There are: {there}." if there else "There is none yet."
    if wanted in NAMES:
        hint += f" Build it: trilith image build {wanted}"
    elif not there:
        hint += " Build one: trilith image build tiny"
    raise errors.Missing(f"There is no image {wanted!r}.", hint=hint)


def _user_data(path: Path) -> str:
    try:
        text = base64.b64encode(path.read_bytes()).decode()
    except OSError as err:
        raise errors.Invalid(f"{path} cannot be read: {err.strerror}", field="user_data") from err
    if len(text) > _USER_DATA:
        raise errors.TooLarge(
            f"{path} is too large for user data ({len(text)} of {_USER_DATA} bytes in base64).",
            hint="Let it fetch the rest itself.",
        )
    return text


def _tell(cloud: Cloud, server: Any, *, waited: bool, as_json: bool) -> None:
    from trilith.cli import login
    from trilith.cli.servers import as_row

    row = as_row(server, cloud.native.server(server.id), image=login.image_of(cloud, server))
    ways = ways_in(cloud, server, str(row["pillar"] or ""))
    if as_json:
        screen.document({**row, "log_in": ways})
        return
    slow = ", emulated: slow" if row["emulated"] else ""
    pillar = f" ({row['pillar']} on {row['node']}{slow})" if row["pillar"] and row["node"] else ""
    screen.line(f"{screen.printable(server.name or '')} is {server.status}{pillar}")
    if not waited:
        screen.line(f"follow it:  trilith show {server.id}")
    for way in ways:
        screen.line(f"log in:     {way}")


def ways_in(cloud: Cloud, server: Any, pillar: str) -> list[str]:
    """Commands that get one into the server, best first."""
    from trilith.cli import login

    _, floating = login.addresses(server)
    user = login.user_of(login.image_of(cloud, server))
    name = server.name or server.id
    ways = [f"ssh {user + '@' if user else ''}{address}" for address in floating] if server.key_name else []
    if pillar == "lxc":
        ways.append(f"trilith shell {name}")
    ways.append(f"trilith console {name}")
    return ways
