"""Policies of /trilith/v1."""

from __future__ import annotations

from trilith.api.http.route import Policy

_ADMIN = "role:admin"
_OWN_READ = "role:admin or (role:reader and project_id:%(project_id)s)"
#: what one sees inside of a server is its project's alone: an admin goes in with a role there
_INSIDE = "role:member and project_id:%(project_id)s"
_OWN_WRITE = "role:admin or (role:member and project_id:%(project_id)s)"

POLICIES = (
    Policy("trilith:jobs:list", _OWN_READ, "List the jobs of one's project; an admin sees all."),
    Policy("trilith:jobs:show", _OWN_READ, "Show a job with its steps."),
    Policy("trilith:jobs:cancel", _OWN_WRITE, "Ask a job to stop and undo what it did."),
    Policy("trilith:events:list", _OWN_READ, "Follow the changes of one's project; an admin sees all."),
    Policy("trilith:servers:list", _OWN_READ, "List one's project's servers as their nodes have them."),
    Policy("trilith:servers:list:all_projects", _ADMIN, "List the servers of all projects."),
    Policy("trilith:servers:show", _OWN_READ, "Show a server as its node has it."),
    Policy("trilith:servers:exec", _INSIDE, "Run a command inside a server."),
    Policy("trilith:servers:console", _INSIDE, "Use a server's serial console."),
    Policy("trilith:servers:shell", _INSIDE, "Open a login shell inside a server."),
    Policy("trilith:advice", "role:admin or role:reader", "Ask which pillar a workload should have, and why."),
    Policy("trilith:explain", "role:admin or role:member", "Ask where a server would go, and why nowhere else."),
    Policy("trilith:nodes:list", _ADMIN, "List the machines of the cloud."),
    Policy("trilith:figures:list", _ADMIN, "List what the pillars cost on each node."),
    Policy("trilith:figures:keep", _ADMIN, "Keep what was measured on a node."),
    Policy("trilith:figures:forget", _ADMIN, "Forget what was measured on a node."),
    Policy("trilith:token_keys:list", _ADMIN, "List the keys of tokens, without the keys themselves."),
    Policy("trilith:token_keys:rotate", _ADMIN, "Seal tokens with a new key."),
    Policy("trilith:status:show", "role:admin or role:reader", "Show how the cloud is."),
)
