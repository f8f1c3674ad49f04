"""/trilith/v1: what has no OpenStack name."""

from __future__ import annotations

from trilith.api.http.openapi import document_route
from trilith.api.http.route import PUBLIC, Route, Service, plain_error
from trilith.api.native import advice, events, explain, jobs, status, token_keys
from trilith.api.native.figures import FIGURE_ROUTES
from trilith.api.native.policy import POLICIES
from trilith.api.native.servers import SERVER_ROUTES, SERVER_SOCKETS
from trilith.commands.advice import Answer

PREFIX = "/trilith/v1"

_ROUTES = (
    Route("GET", "", status.discovery, PUBLIC, response=status.Discovery),
    Route("GET", "/status", status.status, "trilith:status:show", response=status.Status),
    Route("GET", "/nodes", status.nodes, "trilith:nodes:list", response=status.NodeList),
    Route(
        "GET",
        "/jobs",
        jobs.list_jobs,
        "trilith:jobs:list",
        response=jobs.Jobs,
        query=("state", "resource", "resource_id", "kind", "project_id", "limit", "marker"),
    ),
    Route("GET", "/jobs/{job_id}", jobs.show, response=jobs.JobView),
    Route("POST", "/jobs/{job_id}/cancel", jobs.cancel, ok=202, response=jobs.JobView, statuses=(409, 422)),
    Route("GET", "/events", events.follow, "trilith:events:list", statuses=(410,), query=("cursor", "noun")),
    Route("GET", "/token-keys", token_keys.show, "trilith:token_keys:list", response=token_keys.TokenKeyList),
    Route(
        "POST",
        "/token-keys",
        token_keys.create,
        "trilith:token_keys:rotate",
        body=token_keys.Rotate,
        ok=201,
        response=token_keys.TokenKeyList,
    ),
    Route(
        "POST",
        "/advice",
        advice.advise,
        "trilith:advice",
        body=advice.AdviceRequest,
        response=Answer,
        statuses=(409, 503, 504),
    ),
    Route(
        "POST",
        "/explain",
        explain.explain,
        "trilith:explain",
        body=explain.ExplainRequest,
        response=explain.ExplanationView,
        statuses=(409,),
    ),
    *SERVER_ROUTES,
    *FIGURE_ROUTES,
)

SERVICE = Service(
    name="native",
    prefix=PREFIX,
    routes=(*_ROUTES, document_route("native", PREFIX, _ROUTES, plain_error, "what has no OpenStack name")),
    error_body=plain_error,
    policies=POLICIES,
    statuses={"key_reused": 422},
    sockets=SERVER_SOCKETS,
)
