"""A job while it runs, shown step by step; and the wait for a server, with or without a job to look at."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from trilith import errors
from trilith.cli.client import Cloud
from trilith.cli.screen import Steps

_LOOK = 0.5


def show_job(cloud: Cloud, job_id: str, what: str, steps: Steps, *, timeout: float) -> dict[str, Any]:
    """Follow to the end and return the job. Raises Backend with the job's own error when it failed."""
    steps.step(what)
    told = 0
    job: dict[str, Any] = {}
    for job in cloud.native.follow(job_id, timeout=timeout):
        done = job.get("steps") or []
        for step in done[told:]:
            steps.note(step_line(step))
        told = len(done)
        total = int(job.get("steps_total") or 0)
        if total and job.get("state") == "running":
            steps.part(min(int(job.get("step") or 0) / total, 1.0), what=f"{job.get('step', 0)} of {total} steps")
    if job.get("state") != "done":
        raise failure_of(job)
    steps.finish()
    return job


def step_line(step: dict[str, Any]) -> str:
    """Times of the API are whole seconds: a shorter step shows none."""
    took = max(0.0, epoch(step.get("finished_at")) - epoch(step.get("started_at")))
    mark = "✗" if step.get("result") == "Error" else ("↶" if step.get("undo") else "·")
    where = f" on {step['node']}" if step.get("node") else ""
    time_taken = f" {took:.0f} s" if took >= 1 else ""
    note = f": {step['note']}" if step.get("note") else ""
    return f"  {mark} {step.get('name', '?')}{where}{time_taken}{note}"


def epoch(value: object) -> float:
    """Seconds since the epoch, of an ISO 8601 time or a number; 0.0 for none."""
    if isinstance(value, (int, float)):
        return float(value)
    if not value:
        return 0.0
    found = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def failure_of(job: dict[str, Any]) -> errors.TrilithError:
    """The job's own error, as its class again."""
    failed = job.get("error") or {}
    if not isinstance(failed, dict):
        failed = {"message": str(failed)}
    words = str(failed.get("message") or f"the job ended as {job.get('state')}")
    where = ", ".join(f"{k} {failed[k]}" for k in ("step", "node") if failed.get(k))
    hint = str(failed.get("hint") or f"trilith jobs show {job.get('id')} tells all of it.")
    return errors.from_wire(str(failed.get("code", "backend")), f"{words} ({where})" if where else words, hint)


def wait_server(
    cloud: Cloud, server: Any, wanted: Callable[[Any], bool], what: str, steps: Steps, *, timeout: float
) -> Any:
    """The server once `wanted` says so. By its job where there is one, else by looking. Raises Backend with its fault.

    A server that is gone is returned as None, when `wanted` takes that.
    """
    began = time.monotonic()
    job_id = str(cloud.native.server(server.id).get("job_id") or "")
    if not job_id:
        job_id = next((str(j["id"]) for j in cloud.native.jobs_of(server.id) if "id" in j), "")
    if job_id:
        show_job(cloud, job_id, what, steps, timeout=timeout)
    else:
        steps.step(what)
    while True:
        found = cloud.sdk.compute.find_server(server.id, ignore_missing=True)
        if found is not None:
            found = cloud.sdk.compute.get_server(found.id) if found.status == "ERROR" else found
            if found.status == "ERROR" and not wanted(found):
                fault = (found.fault or {}).get("message", "no fault was written")
                raise errors.Backend(
                    f"{found.name} is in ERROR: {fault}", hint=f"trilith show {found.id}; trilith delete {found.id}"
                )
        if wanted(found):
            steps.finish()
            return found
        if time.monotonic() - began > timeout:
            state = found.status if found is not None else "gone"
            raise errors.Deadline(
                f"{server.name} is {state} after {timeout:.0f} s.", hint=f"It goes on: trilith show {server.id}"
            )
        time.sleep(_LOOK)
