"""`trilith explain`: where a server would go before it is asked for, node by node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trilith import errors
from trilith.cli import options, screen

if TYPE_CHECKING:
    from trilith.cli.client import Cloud


def explain(
    image: Annotated[str, typer.Argument(help="Name or id of an image: `trilith image list`.")],
    flavor: Annotated[str, typer.Option(help="Size. Default: the smallest that holds the image.")] = "",
    network: Annotated[
        list[str] | None, typer.Option(help="Network, several times; `none` for none. Default: the project's own.")
    ] = None,
    zone: Annotated[str, typer.Option(help="Availability zone.")] = "",
    node: Annotated[str, typer.Option(help="Only this node (administrators).")] = "",
    hint: Annotated[
        list[str] | None, typer.Option("--hint", help="Scheduler hint NAME=VALUE; several times.", metavar="NAME=VALUE")
    ] = None,
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Say which node and pillar a server would get, and why each other node is passed over. Nothing is made.

    The exit code is 1 when no node would take it, or a quota forbids it.

    Examples:

      trilith explain debian-12

      trilith explain debian-12 --flavor m1.large --zone west --hint different_host=ID

      trilith explain tiny --json | jq '.nodes[] | select(.fits | not) | .why_not'
    """
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        found = cloud.native.explain(_request(cloud, image, flavor, network or [], zone, node, hint or []))
    if as_json:
        screen.document(found)
    else:
        tell(found)
    if not found["possible"]:
        raise typer.Exit(1)


def _request(
    cloud: Cloud, image: str, flavor: str, networks: list[str], zone: str, node: str, hints: list[str]
) -> dict[str, Any]:
    from trilith.cli import launch, size

    chosen = launch.image_named(cloud, image)
    with screen.progress() as steps:
        size_of = size.flavor_for(cloud, flavor, "", chosen, steps)
    find = cloud.sdk.network.find_network
    wanted: Any = "auto"
    if networks == ["none"]:
        wanted = "none"
    elif networks:
        wanted = [cloud.find(find, n, "network", "trilith network list").id for n in networks]
    return {
        "image": chosen.id,
        "flavor": size_of.id,
        "networks": wanted,
        "zone": zone,
        "node": node,
        "hints": parse_hints(hints),
    }


def parse_hints(given: list[str]) -> dict[str, Any]:
    """NAME=VALUE; a name given twice becomes a list, as the openstack client has it. Raises Invalid."""
    found: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name or not value:
            raise errors.Invalid(f"The hint {one!r} is not of the form NAME=VALUE.", field="hint")
        known = found.get(name)
        found[name] = value if known is None else [*(known if isinstance(known, list) else [known]), value]
    return found


def tell(found: dict[str, Any]) -> None:
    """For people: the answer, then a line for each node."""
    what = f"{found['image']}, {found['flavor']}"
    if found["node"]:
        screen.line(screen.printable(f"{what}: {found['pillar']} on {found['node']}"))
        screen.line(screen.printable(f"because    {found['reason']}"))
    else:
        screen.line(screen.printable(f"{what}: no node would take it"))
    for obstacle in found["obstacles"]:
        screen.line(screen.printable(f"refused    {obstacle['reason']}"))
    rows = []
    for one in found["nodes"]:
        why = one["why_not"] or {}
        weight = f"{one['weight']:.2f}" if one["weight"] is not None else None
        state = "chosen" if one["chosen"] else "fits" if one["fits"] else "refused"
        rows.append(
            (one["name"], state, one["pillar"], weight, why.get("rule"), why.get("needed"), why.get("had"),
             why.get("reason"))
        )  # fmt: skip
    screen.line("")
    columns = ("node", "", "pillar", "weight", "rule", "needed", "had", "in words")
    screen.table(columns, rows, empty="The cloud has no nodes.")
