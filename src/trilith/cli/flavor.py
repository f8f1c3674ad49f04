"""`trilith flavor`: sizes of servers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from trilith import errors
from trilith.cli import options, screen
from trilith.cli.launch import PillarName

app = typer.Typer(no_args_is_help=True, help="Sizes of servers.")


def as_row(flavor: Any) -> dict[str, Any]:
    specs = dict(flavor.extra_specs or {})
    return {
        "id": flavor.id,
        "name": flavor.name,
        "vcpus": flavor.vcpus,
        "memory_mib": flavor.ram,
        "disk_gib": flavor.disk,
        "pillar": specs.get("trilith:pillar"),
        "public": flavor.is_public,
        "extra_specs": specs,
    }


@app.command("list")
def list_flavors(
    os_cloud: options.OsCloud = "", clouds_yaml: options.CloudsYaml = None, as_json: options.AsJson = False
) -> None:
    """List flavors, smallest first.

    Example:

      trilith flavor list
    """
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        found = cloud.sdk.compute.flavors(details=True, get_extra_specs=True)
        rows = sorted((as_row(f) for f in found), key=lambda r: (r["memory_mib"], r["vcpus"], r["name"]))
    if as_json:
        screen.document({"flavors": rows})
        return
    screen.table(
        ("name", "vcpus", "memory", "disk", "pillar", "public", "id"),
        [
            (r["name"], r["vcpus"], f"{r['memory_mib']} MiB", f"{r['disk_gib']} GiB", r["pillar"], r["public"], r["id"])
            for r in rows
        ],
        empty="No flavors. Make one: trilith flavor create small --vcpus 1 --memory 512 --disk 4",
    )


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Name of the flavor.")],
    vcpus: Annotated[int | None, typer.Option(help="Virtual CPUs.", min=1)] = None,
    memory: Annotated[int | None, typer.Option(help="MiB of memory.", min=1)] = None,
    disk: Annotated[int | None, typer.Option(help="GiB of root disk; 0: the image's own size.", min=0)] = None,
    like: Annotated[str, typer.Option(help="Another flavor, for what is not given here.")] = "",
    pillar: Annotated[PillarName | None, typer.Option(help="Only containers (lxc) or machines (kvm, xen).")] = None,
    prop: Annotated[list[str] | None, typer.Option("--property", help="Extra spec NAME=VALUE; several times.")] = None,
    public: Annotated[bool, typer.Option("--public/--private", help="For every project.")] = True,
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a flavor (administrators).

    Examples:

      trilith flavor create web --vcpus 2 --memory 1024 --disk 8

      trilith flavor create m1.small.kvm --like m1.small --pillar kvm
    """
    from trilith.cli.client import connect
    from trilith.cli.image import parse_properties

    specs = parse_properties(prop or []) | ({"trilith:pillar": pillar.value} if pillar else {})
    if not like and None in (vcpus, memory, disk):
        raise errors.Invalid("A flavor needs --vcpus, --memory and --disk, or --like another.", field="vcpus")
    with connect(os_cloud, clouds_yaml) as cloud:
        compute = cloud.sdk.compute
        base = None
        if like:
            base = cloud.find(compute.find_flavor, like, "flavor", "trilith flavor list", get_extra_specs=True)
            specs = {**dict(base.extra_specs or {}), **specs}
        made = compute.create_flavor(
            name=name,
            vcpus=vcpus if vcpus is not None else base.vcpus,  # type: ignore[union-attr]
            ram=memory if memory is not None else base.ram,  # type: ignore[union-attr]
            disk=disk if disk is not None else base.disk,  # type: ignore[union-attr]
            is_public=public,
        )
        try:
            if specs:
                compute.create_flavor_extra_specs(made, specs)
        except BaseException:
            # a flavor without what was asked for would take servers to the wrong place
            compute.delete_flavor(made.id, ignore_missing=True)
            raise
        row = {**as_row(made), "extra_specs": specs, "pillar": specs.get("trilith:pillar")}
    text = f"{name}: {row['vcpus']} vCPU, {row['memory_mib']} MiB, {row['disk_gib']} GiB ({row['id']})"
    screen.answer(row, as_json=as_json, text=lambda: screen.line(text))


@app.command("delete")
def delete(
    names: Annotated[list[str], typer.Argument(help="Names or ids.", metavar="NAME...")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Delete flavors (administrators). Servers of that size go on.

    Example:

      trilith flavor delete web
    """
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        compute = cloud.sdk.compute
        found = [cloud.find(compute.find_flavor, n, "flavor", "trilith flavor list") for n in names]
        screen.confirm("Delete", (f.name for f in found), yes=yes)
        for flavor in found:
            compute.delete_flavor(flavor.id)
    screen.deleted(found, as_json=as_json)
