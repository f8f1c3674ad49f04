"""`trilith jobs`: what is being done, step by step."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from trilith.cli import options, screen

app = typer.Typer(no_args_is_help=True, help="What is being done, and what was.")


def _seconds(value: object) -> float:
    from trilith.cli.follow import epoch

    return epoch(value)


def _took(job: dict[str, Any]) -> str:
    began, ended = _seconds(job.get("created_at")), _seconds(job.get("finished_at"))
    return f"{max(0.0, (ended or time.time()) - began):.0f} s" if began else "–"


@app.command("list")
def list_jobs(
    server: Annotated[str, typer.Option(help="Only of this server.")] = "",
    state: Annotated[str, typer.Option(help="Only these: queued, running, undoing, done, failed, cancelled.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many, newest first.", min=1, max=1000)] = 50,
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """List jobs, newest first.

    Examples:

      trilith jobs list --state failed

      trilith jobs list --server web1
    """
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        of = cloud.server(server).id if server else ""
        jobs = cloud.native.jobs(resource_id=of, state=state, limit=str(limit))[:limit]
    if as_json:
        screen.document({"jobs": jobs})
        return
    screen.table(
        ("id", "job", "state", "steps", "resource", "began", "took", "error"),
        [
            (j.get("id"), j.get("kind"), j.get("state"), f"{j.get('step', 0)}/{j.get('steps_total', 0)}",
             j.get("resource_id"), screen.ago(time.time() - _seconds(j.get("created_at"))), _took(j), _error(j))
            for j in jobs
        ],
        empty="No jobs.",
    )  # fmt: skip


def _error(job: dict[str, Any]) -> str:
    error = job.get("error")
    return str(error.get("message", "")) if isinstance(error, dict) else str(error or "")


@app.command("show")
def show(
    job_id: Annotated[str, typer.Argument(help="Id of the job: `trilith jobs list`.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until it ends, each step as it happens.")] = False,
    timeout: options.Patience = 3600,
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Show a job with its steps. With --follow: stay until its end; exit code 1 when it failed.

    Examples:

      trilith jobs show 5d0c…

      trilith jobs show 5d0c… --follow
    """
    from trilith.cli import follow as following
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        job = cloud.native.job(job_id)
        if follow and job.get("state") not in ("done", "failed", "cancelled"):
            with screen.progress() as steps:
                job = following.show_job(cloud, job_id, f"{job.get('kind')}", steps, timeout=timeout)
    if as_json:
        screen.document(job)
    else:
        _print(job)
    if follow and job.get("state") != "done":
        raise typer.Exit(1)


def _print(job: dict[str, Any]) -> None:
    from trilith.cli.follow import failure_of, step_line

    names = ("id", "kind", "state", "resource", "resource_id", "progress", "request_id", "project_id")
    screen.fields({name: job.get(name) for name in names} | {"took": _took(job)})
    if job.get("error"):
        screen.line(f"error: {screen.printable(str(failure_of(job)))}")
    for step in job.get("steps") or []:
        screen.line(screen.printable(step_line(step)))


@app.command("cancel")
def cancel(
    job_id: Annotated[str, typer.Argument(help="Id of the job.")],
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Ask a job to stop and to undo what it did.

    Example:

      trilith jobs cancel 5d0c…
    """
    from trilith.cli.client import connect

    with connect(os_cloud, clouds_yaml) as cloud:
        cloud.native.cancel(job_id)
        job = cloud.native.job(job_id)
    text = f"{job_id}: {job.get('state')}, being cancelled\nfollow it:  trilith jobs show {job_id} --follow"
    screen.answer(job, as_json=as_json, text=lambda: screen.line(text))
