"""`trilith list`, `show`, `delete`: the servers of the project."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trilith import errors
from trilith.cli import options, screen

if TYPE_CHECKING:
    from trilith.cli.client import Cloud


#: Nova's numbers (API reference, OS-EXT-STS:power_state)
_POWER = {0: "unknown", 1: "running", 3: "paused", 4: "shutdown", 6: "crashed", 7: "suspended"}


def list_servers(
    everyone: Annotated[bool, typer.Option("--all", help="Of all projects (administrators).")] = False,
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """List servers with their pillar, node and addresses.

    Examples:

      trilith list

      trilith list --json | jq -r '.servers[] | select(.status=="ERROR") | .name'
    """
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        rows = rows_of(cloud, everyone=everyone)
    if as_json:
        screen.document({"servers": rows})
        return
    screen.table(
        ("name", "status", "pillar", "node", "addresses", "image", "flavor", "age"),
        [
            (r["name"], _status(r), r["pillar"], r["node"], [*r["floating"], *r["addresses"]], r["image"], r["flavor"],
             screen.ago(time.time() - r["created_at"]))
            for r in rows
        ],
        empty="No servers. Start one: trilith launch tiny first",
    )  # fmt: skip


def _status(row: dict[str, Any]) -> str:
    return f"{row['status']} ({row['task']})" if row["task"] else str(row["status"])


def rows_of(cloud: Cloud, *, everyone: bool = False) -> list[dict[str, Any]]:
    servers = list(cloud.sdk.compute.servers(all_projects=True) if everyone else cloud.sdk.compute.servers())
    native = cloud.native.servers(all_projects=everyone) if servers else {}
    wanted = {(s.image or {}).get("id") for s in servers if s.image} - {None}
    images = {i.id: i for i in cloud.sdk.image.images()} if wanted else {}
    return [
        as_row(s, native.get(s.id, {}), image=images.get((s.image or {}).get("id")) if s.image else None)
        for s in servers
    ]


def as_row(server: Any, native: dict[str, Any], *, image: Any = None) -> dict[str, Any]:
    """One server under the names that --json keeps stable."""
    from trilith.cli import follow, login

    fixed, floating = login.addresses(server)
    flavor = server.flavor or {}
    return {
        "id": server.id,
        "name": server.name,
        "status": server.status,
        "task": server.task_state,
        "pillar": native.get("pillar") or None,
        "node": native.get("node") or server.hypervisor_hostname or server.compute_host or None,
        "addresses": fixed,
        "floating": floating,
        "image": getattr(image, "name", None) or ((server.image or {}).get("id") if server.image else None),
        "flavor": flavor.get("original_name") or flavor.get("name") or flavor.get("id"),
        "emulated": native.get("emulated"),
        "created_at": follow.epoch(server.created_at),
    }


def show(
    name: Annotated[str, typer.Argument(help="Name or id of the server.")],
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Show a server: where it runs and why there, its addresses, its fault, and its last job step by step.

    Examples:

      trilith show web1

      trilith show web1 --json | jq .reason
    """
    from trilith.cli import follow, launch, login
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        server = cloud.server(name)
        native = cloud.native.server(server.id)
        row = as_row(server, native, image=login.image_of(cloud, server))
        job_id = str(native.get("job_id") or "") or next((j["id"] for j in cloud.native.jobs_of(server.id)), "")
        job = cloud.native.job(job_id) if job_id else None
        fault = server.fault or None
        ways = launch.ways_in(cloud, server, str(row["pillar"] or "")) if server.status == "ACTIVE" else []
    whole = {
        **row,
        "reason": native.get("reason") or None,
        "power": native.get("power") or _POWER.get(server.power_state),
        "fault": fault,
        "key": server.key_name,
        "security_groups": sorted({g["name"] for g in server.security_groups or []}),
        "volumes": [v.get("id") for v in server.attached_volumes or []],
        "log_in": ways,
        "job": job,
    }
    if as_json:
        screen.document(whole)
        return
    told = {
        "name": row["name"], "id": row["id"], "status": _status(row), "pillar": _pillar(row), "node": row["node"],
        "reason": whole["reason"], "power": whole["power"], "fault": _fault(fault), "addresses": row["addresses"],
        "floating": row["floating"], "image": row["image"], "flavor": row["flavor"], "key": whole["key"],
        "groups": whole["security_groups"], "age": screen.ago(time.time() - row["created_at"]),
    }  # fmt: skip
    screen.fields(told)
    for way in ways:
        screen.line(f"log in     {way}")
    if job is not None:
        screen.line(f"\nlast job   {job.get('kind')} {job.get('state')}  {job.get('id')}")
        for step in job.get("steps") or []:
            screen.line(screen.printable(follow.step_line(step)))
        if job.get("error"):
            screen.line(f"  {screen.printable(str(follow.failure_of(job)))}")


def _pillar(row: dict[str, Any]) -> str | None:
    return f"{row['pillar']} (emulated: slow)" if row["emulated"] else row["pillar"]


def _fault(fault: Any) -> str | None:
    if not fault:
        return None
    return f"{fault.get('message', '')} (code {fault.get('code', '?')}, {fault.get('created', '')})"


def delete(
    names: Annotated[list[str], typer.Argument(help="Names or ids of servers.", metavar="NAME...")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Even when it is in the midst of something.")] = False,
    wait: options.Wait = True,
    timeout: options.Patience = 300,
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Delete servers, their root disks, and the floating IPs that `launch --public` made for them.

    Examples:

      trilith delete web1

      trilith delete web1 web2 web3 --yes --no-wait
    """
    from trilith.cli import follow, topology
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        servers = {s.id: s for s in (cloud.server(n) for n in names)}
        screen.confirm("Delete", (s.name or s.id for s in servers.values()), yes=yes)
        done: list[dict[str, Any]] = []
        failed: list[str] = []
        with screen.progress() as steps:
            released: dict[str, list[str]] = {}
            for server in servers.values():
                cloud.sdk.compute.delete_server(server.id, force=force)
                released[server.id] = topology.release(cloud, server.id)
            for server in servers.values():
                if wait:
                    try:
                        follow.wait_server(
                            cloud, server, lambda s: s is None, f"deleting {server.name}", steps, timeout=timeout
                        )
                    except errors.TrilithError as err:
                        failed.append(f"{server.name}: {err}")
                        continue
                done.append({"id": server.id, "name": server.name, "gone": wait, "released": released[server.id]})
    if as_json:
        screen.document({"deleted": done, "failed": failed})
    else:
        for one in done:
            ips = f", floating IP {', '.join(one['released'])} released" if one["released"] else ""
            screen.line(f"{screen.printable(one['name'])}: {'deleted' if wait else 'being deleted'}{ips}")
    if failed:
        raise errors.Backend(failed[0] if len(failed) == 1 else f"{len(failed)} failed; the first: {failed[0]}")
