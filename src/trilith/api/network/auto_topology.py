"""A project's network in one call (Neutron's auto-allocated-topology)."""

from __future__ import annotations

from msgspec import Struct

from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import auto_topology as commands
from trilith.commands import networks
from trilith.commands.network_faults import AutoAllocatedTopologyNotFound, AutoAllocationFailure
from trilith.model.network import AutoTopology
from trilith.store.tx import Tx


class TopologyView(Struct):
    id: str
    project_id: str
    tenant_id: str


def _project(call: Call) -> str:
    given = call.params["project"]
    return call.actor.project_id if given in ("null", "None") else given


async def show(call: Call) -> Answer:
    """200: the network, made now where there is none; with fields=dry-run only whether it could be. 403: another's.
    409: the administrator made no default external network or pools; quota."""
    project = _project(call)
    call.allow("get_auto_allocated_topology", project_id=project)
    if not project:
        raise AutoAllocationFailure("Unable to auto allocate a topology without a project.")
    if "dry-run" in call.all("fields"):
        await call.read(lambda r: commands.parts(r, project))
        return Answer({"auto_allocated_topology": TopologyView("dry-run=pass", project, project)})
    known = await call.read(lambda r: r.first(AutoTopology, project_id=project))
    if known is None:
        mtu = call.host.settings.underlay_mtu - networks.GENEVE_OVERHEAD
        known = await call.write(lambda tx: commands.ensure(tx, project, mtu), "auto_allocated_topology.create")
    return Answer({"auto_allocated_topology": TopologyView(known.network_id, project, project)})


async def delete(call: Call) -> Answer:
    """204: all of it. 404: there is none. 409: in use."""
    project = _project(call)
    call.allow("delete_auto_allocated_topology", project_id=project)

    def act(tx: Tx) -> None:
        found = tx.first(AutoTopology, project_id=project)
        if found is None:
            raise AutoAllocatedTopologyNotFound(f"The topology of project {project} could not be found.")
        commands.delete(tx, found)

    await call.write(act, "auto_allocated_topology.delete")
    return Answer(status=204)
