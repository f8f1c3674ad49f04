"""`trilith image`: list, show, build, import, delete."""

from __future__ import annotations

import asyncio
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from trilith import errors
from trilith.cli import options, screen

app = typer.Typer(no_args_is_help=True, help="What servers start from.")

#: where `trilith up` keeps its state unless told
_STATE = Path("/var/lib/trilith")


class Buildable(StrEnum):
    TINY = "tiny"
    DEBIAN_12 = "debian-12"
    UBUNTU_24_04 = "ubuntu-24.04"


Public = Annotated[
    bool | None, typer.Option("--public/--private", help="For every project. Default: public for administrators.")
]


def as_row(image: Any) -> dict[str, Any]:
    return {
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "disk_format": image.disk_format,
        "size": image.size,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "visibility": image.visibility,
        "user": _property(image, "os_admin_user"),
        "sha256": image.hash_value if image.hash_algo == "sha256" else None,
        "hash_algo": image.hash_algo,
        "hash": image.hash_value,
        "created_at": image.created_at,
    }


def _property(image: Any, name: str) -> Any:
    return (image.properties or {}).get(name) or getattr(image, name, None)


def _size(number: int | None) -> str:
    if number is None:
        return "–"
    return f"{number / 1024**2:.1f} MiB" if number < 1024**3 else f"{number / 1024**3:.1f} GiB"


@app.command("list")
def list_images(
    os_cloud: options.OsCloud = "", clouds_yaml: options.CloudsYaml = None, as_json: options.AsJson = False
) -> None:
    """List images.

    Example:

      trilith image list
    """
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        rows = [as_row(i) for i in cloud.sdk.image.images()]
    if as_json:
        screen.document({"images": rows})
        return
    screen.table(
        ("name", "status", "format", "size", "min disk", "visibility", "user", "id"),
        [
            (r["name"], r["status"], r["disk_format"], _size(r["size"]), f"{r['min_disk']} GiB", r["visibility"],
             r["user"], r["id"])
            for r in rows
        ],
        empty="No images. Build one: trilith image build tiny",
    )  # fmt: skip


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name or id.")],
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Show an image and its properties.

    Example:

      trilith image show debian-12
    """
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        image = cloud.find(cloud.sdk.image.find_image, name, "image", "trilith image list")
        image = cloud.sdk.image.get_image(image.id)
        row = {**as_row(image), "properties": properties_of(image)}
    screen.answer(
        row,
        as_json=as_json,
        text=lambda: screen.fields(
            {**{k: v for k, v in row.items() if k != "properties"}, "size": _size(row["size"]), **row["properties"]}
        ),
    )


def properties_of(image: Any) -> dict[str, Any]:
    """What is said about the image beside Glance's own fields."""
    ours = ("owner_specified.", "stores")  # the sdk's and the store's own notes
    found = {k: v for k, v in dict(image.properties or {}).items() if v is not None and not k.startswith(ours)}
    for name in ("os_distro", "os_version", "os_type", "os_admin_user", "architecture", "hw_rng_model"):
        value = getattr(image, name, None)
        if value is not None:
            found.setdefault(name, value)
    return found


@app.command("build")
def build(
    what: Annotated[Buildable, typer.Argument(help="Which image.")],
    name: Annotated[str, typer.Option(help="Name in the cloud. Default: the same.")] = "",
    public: Public = None,
    force: Annotated[bool, typer.Option("--force", help="In place of one of the same name.")] = False,
    state: Annotated[
        Path | None, typer.Option(help="State directory of this machine's cloud: gets the kernel for the KVM probe.")
    ] = None,
    mirror: Annotated[str, typer.Option(help="Package mirror. Default: this host's own apt sources.")] = "",
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Build an image here, of the distribution's own packages, and upload it. It serves containers and machines.

    An image of the same name that is there stays, unless --force.

    Examples:

      trilith image build tiny                 # some seconds: busybox, ssh, a set-up of its own

      trilith image build debian-12            # a minute or two: cloud-init, ssh
    """
    from trilith.cli import image_upload
    from trilith.cli.client import connect
    from trilith.images import build as build_image

    called = name or what.value
    with connect(os_cloud, clouds_yaml) as cloud, screen.progress() as steps:
        known = image_upload.same_name(cloud, called)
        if known and not force:
            _there(known[0], as_json=as_json)
            return
        with tempfile.TemporaryDirectory(prefix="trilith-image-") as folder:
            steps.step(f"building {what.value}")
            made = asyncio.run(
                build_image(
                    what.value, Path(folder), progress=lambda now, part: steps.part(part, what=now), mirror=mirror
                )
            )
            image = image_upload.upload(
                cloud,
                steps,
                name=called,
                path=made.path,
                disk_format=made.disk_format,
                public=public,
                min_disk=made.min_disk_gib,
                min_ram=made.min_ram_mib,
                properties=made.properties,
            )
            for old in known:
                cloud.sdk.image.delete_image(old.id)
            kernel = _hand_over(made.path, state, steps) if what is Buildable.TINY else None
    row = {**as_row(image), "built": True, "probe_kernel": str(kernel) if kernel else None}
    screen.answer(row, as_json=as_json, text=lambda: _made(row))


def _there(image: Any, *, as_json: bool) -> None:
    row = {**as_row(image), "built": False, "probe_kernel": None}
    text = f"{image.name} is there already ({image.status}, {image.id}); --force builds it anew."
    screen.answer(row, as_json=as_json, text=lambda: screen.line(screen.printable(text)))


def _made(row: dict[str, Any]) -> None:
    screen.line(f"{row['name']} is {row['status']} ({_size(row['size'])}, {row['visibility']}, {row['id']})")
    screen.line(f"start a server from it:  trilith launch {row['name']} NAME")


def _hand_over(tar: Path, state: Path | None, steps: screen.Steps) -> Path | None:
    """The kernel of `tiny` for the probe that asks whether Linux runs under KVM here. None where no cloud is."""
    import os

    from trilith.cli.probe_kernel import hand_over

    home = (state or _STATE) / "node"
    if state is None and (os.geteuid() != 0 or not home.is_dir()):
        return None
    steps.step("kernel for the KVM probe")
    return hand_over(tar, home / "probe-kernel")


@app.command("import")
def import_image(
    source: Annotated[str, typer.Argument(help="URL or file: qcow2, raw, vmdk; tar(.gz .xz .zst) or squashfs root.")],
    name: Annotated[str, typer.Option(help="Name in the cloud. Default: the file's.")] = "",
    disk_format: Annotated[
        str, typer.Option("--format", help="qcow2, raw, vmdk, root-tar, squashfs. Default: by content.")
    ] = "",
    user: Annotated[str, typer.Option(help="Who logs in (property os_admin_user).")] = "",
    prop: Annotated[list[str] | None, typer.Option("--property", help="NAME=VALUE; several times.")] = None,
    public: Public = None,
    force: Annotated[bool, typer.Option("--force", help="In place of one of the same name.")] = False,
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Bring an image in from a URL or a file. Its format is found by its content.

    Examples:

      trilith image import https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-genericcloud-amd64.qcow2

      trilith image import rootfs.tar.xz --name alpine --user root --property os_distro=alpine
    """
    from trilith.cli import image_content, image_upload
    from trilith.cli.client import connect

    remote = "://" in source
    called = name or default_name(source)
    properties = parse_properties(prop or []) | ({"os_admin_user": user} if user else {})
    if disk_format and disk_format not in image_content.TAKEN:
        raise errors.Invalid(
            f"{disk_format!r} is no format that servers start from.", hint=f"One of {', '.join(image_content.TAKEN)}."
        )
    with (
        tempfile.TemporaryDirectory(prefix="trilith-image-") as folder,
        connect(os_cloud, clouds_yaml) as cloud,
        screen.progress() as steps,
    ):
        known = image_upload.same_name(cloud, called)
        if known and not force:
            _there(known[0], as_json=as_json)
            return
        path = Path(folder) / "image" if remote else Path(source)
        if remote:
            image_upload.download(source, path, steps)
        elif not path.is_file():
            raise errors.Missing(f"There is no file {source}.", hint="A URL starts with https:// or http://.")
        steps.step(f"looking into {called}")
        content = image_content.look(path, raw=disk_format == "raw")
        if disk_format and disk_format != content.disk_format:
            raise errors.Invalid(
                f"{source} is {content.disk_format}, not {disk_format}.", hint="Leave out --format.", field="format"
            )
        image = image_upload.upload(
            cloud,
            steps,
            name=called,
            path=path,
            disk_format=disk_format or content.disk_format,
            public=public,
            min_disk=content.min_disk_gib,
            properties=properties,
        )
        for old in known:
            cloud.sdk.image.delete_image(old.id)
    row = {**as_row(image), "built": False, "probe_kernel": None}
    screen.answer(row, as_json=as_json, text=lambda: _made(row))


def default_name(source: str) -> str:
    """The last part of a path or URL without the endings of images."""
    name = (urlsplit(source).path if "://" in source else source).rstrip("/").rpartition("/")[2] or "image"
    endings = (".gz", ".xz", ".zst", ".tar", ".tgz", ".txz", ".qcow2", ".img", ".raw", ".vmdk", ".squashfs", ".sqfs")
    while any(name.endswith(e) and name != e for e in endings):
        name = next(name.removesuffix(e) for e in endings if name.endswith(e))
    return name


def parse_properties(given: list[str]) -> dict[str, str]:
    """NAME=VALUE each. Raises Invalid."""
    found = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise errors.Invalid(f"{text!r} is not NAME=VALUE.", field="property")
        found[key] = value
    return found


@app.command("delete")
def delete(
    names: Annotated[list[str], typer.Argument(help="Names or ids.", metavar="NAME...")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Delete images. Servers made from them go on.

    Example:

      trilith image delete old-debian
    """
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        found = [cloud.find(cloud.sdk.image.find_image, n, "image", "trilith image list") for n in names]
        screen.confirm("Delete", (i.name or i.id for i in found), yes=yes)
        for image in found:
            cloud.sdk.image.delete_image(image.id)
    screen.deleted(found, as_json=as_json)
