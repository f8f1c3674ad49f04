"""server.start, stop, reboot, pause …: one node call each, and what the server is after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from trilith.agent.calls import RebootArgs, ServerArgs, StopArgs
from trilith.jobs import arguments
from trilith.jobs.kind import Context, Kind, Step
from trilith.jobs.server_steps import fail_softly, finish_action, order, owned, require_node, server, wait_up
from trilith.model import server as model
from trilith.model.guest import PowerState
from trilith.model.job import Job
from trilith.store.tx import Tx

#: what the guest's power is after the verb
_AFTER = {
    "start": PowerState.RUNNING,
    "stop": PowerState.SHUTDOWN,
    "reboot": PowerState.RUNNING,
    "reboot_hard": PowerState.RUNNING,
    "pause": PowerState.PAUSED,
    "unpause": PowerState.RUNNING,
    "suspend": PowerState.SUSPENDED,
    "resume": PowerState.RUNNING,
}


def _act(verb: str) -> Callable[[Context[arguments.Power]], Awaitable[None]]:
    async def act(context: Context[arguments.Power]) -> None:
        found = await server(context)
        node = require_node(found)
        timeout = context.args.timeout
        if verb == "stop":
            await order(context, node, "guest.stop", StopArgs(found.id, timeout), timeout=timeout + 60)
        elif verb in ("reboot", "reboot_hard"):
            await order(
                context, node, "guest.reboot", RebootArgs(found.id, verb == "reboot_hard"), timeout=timeout + 120
            )
        else:
            await order(context, node, f"guest.{verb}", ServerArgs(found.id), timeout=180)

    return act


def _finish(verb: str) -> Callable[[Tx, Job, Any], None]:
    task = arguments.POWER[verb][0]

    def finish(tx: Tx, job: Job, _args: Any) -> None:
        finish_action(tx, job)
        found = owned(tx, job)
        if found is not None and found.job_id == job.id:
            tx.change(found, **model.end(found, task), power=_AFTER[verb], fault=None)

    return finish


def _kind(verb: str) -> Kind:
    steps = [Step(verb, _act(verb), timeout=300, on_node=True, event=f"compute_{verb}_instance")]
    if verb in ("start", "reboot_hard", "resume"):
        steps.append(Step("up", wait_up, timeout=90))
    return Kind(
        name=f"server.{verb}",
        args=arguments.Power,
        steps=tuple(steps),
        finish=_finish(verb),
        fail=fail_softly,
        deadline=arguments.DEADLINES[f"server.{verb}"],
        summary=f"{verb.replace('_', ' ')} a server",
    )


POWER_KINDS: tuple[Kind, ...] = tuple(_kind(verb) for verb in arguments.POWER)
