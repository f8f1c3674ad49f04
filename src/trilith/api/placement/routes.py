"""The placement service (Placement's API 1.0 to 1.39): its whole surface."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trilith.api.http.openapi import document_route
from trilith.api.http.route import ANY, PUBLIC, Route, Service
from trilith.api.placement import allocations, inventories, names, providers, search, versions
from trilith.api.placement.policy import POLICIES
from trilith.api.placement.wire import PREFIX, error_answer, fault, precheck

_P = "/resource_providers/{uuid}"
_I = f"{_P}/inventories"
_ONE = f"{_I}/{{name}}"


def _rule(noun: str, action: str) -> str:
    return f"placement:{noun}:{action}"


_ROUTES = (
    Route("GET", "", versions.root, PUBLIC, response=versions.Versions),
    # providers
    Route(
        "GET",
        "/resource_providers",
        providers.list_providers,
        _rule("resource_providers", "list"),
        response=providers.Providers,
        query=("name", "uuid", "member_of", "resources", "in_tree", "required"),
    ),
    Route(
        "POST",
        "/resource_providers",
        providers.create,
        _rule("resource_providers", "create"),
        body=providers.NewProvider,
        response=providers.ProviderView,
        statuses=(201, 409),
    ),
    Route("GET", _P, providers.show, _rule("resource_providers", "show"), response=providers.ProviderView),
    Route(
        "PUT",
        _P,
        providers.update,
        _rule("resource_providers", "update"),
        body=providers.ProviderUpdate,
        response=providers.ProviderView,
        statuses=(409,),
    ),
    Route("DELETE", _P, providers.delete, _rule("resource_providers", "delete"), ok=204, statuses=(409,)),
    # inventories
    Route(
        "GET",
        _I,
        inventories.list_inventories,
        _rule("resource_providers:inventories", "list"),
        response=inventories.Inventories,
    ),
    Route(
        "POST",
        _I,
        inventories.create,
        _rule("resource_providers:inventories", "create"),
        body=inventories.InventoryPost,
        response=inventories.InventoryOne,
        ok=201,
        statuses=(409,),
    ),
    Route(
        "PUT",
        _I,
        inventories.put_all,
        _rule("resource_providers:inventories", "update"),
        body=inventories.InventoriesPut,
        response=inventories.Inventories,
        statuses=(409,),
    ),
    Route("DELETE", _I, inventories.not_yet, _rule("resource_providers:inventories", "delete"), ok=204, until="1.4"),
    Route(
        "DELETE",
        _I,
        inventories.delete_all,
        _rule("resource_providers:inventories", "delete"),
        ok=204,
        since="1.5",
        statuses=(409,),
    ),
    Route(
        "GET",
        _ONE,
        inventories.show,
        _rule("resource_providers:inventories", "show"),
        response=inventories.InventoryOne,
    ),
    Route(
        "PUT",
        _ONE,
        inventories.put,
        _rule("resource_providers:inventories", "update"),
        body=inventories.InventoryPut,
        response=inventories.InventoryOne,
        statuses=(409,),
    ),
    Route(
        "DELETE",
        _ONE,
        inventories.delete,
        _rule("resource_providers:inventories", "delete"),
        ok=204,
        statuses=(409,),
    ),
    # what hangs on a provider
    Route(
        "GET",
        f"{_P}/usages",
        providers.list_usages,
        "placement:resource_providers:usages",
        response=providers.Usages,
    ),
    Route(
        "GET",
        f"{_P}/aggregates",
        providers.list_aggregates,
        _rule("resource_providers:aggregates", "list"),
        since="1.1",
        response=providers.Aggregates,
    ),
    Route(
        "PUT",
        f"{_P}/aggregates",
        providers.put_aggregates,
        _rule("resource_providers:aggregates", "update"),
        since="1.1",
        body=dict[str, Any] | list[str],  # type: ignore[arg-type]
        response=providers.Aggregates,
        statuses=(409,),
    ),
    Route(
        "GET",
        f"{_P}/traits",
        names.list_provider_traits,
        _rule("resource_providers:traits", "list"),
        since="1.6",
        response=names.ProviderTraitsView,
    ),
    Route(
        "PUT",
        f"{_P}/traits",
        names.put_provider_traits,
        _rule("resource_providers:traits", "update"),
        since="1.6",
        body=names.ProviderTraitsPut,
        response=names.ProviderTraitsView,
        statuses=(409,),
    ),
    Route(
        "DELETE",
        f"{_P}/traits",
        names.delete_provider_traits,
        _rule("resource_providers:traits", "delete"),
        since="1.6",
        ok=204,
    ),
    Route(
        "GET",
        f"{_P}/allocations",
        providers.list_allocations,
        _rule("resource_providers:allocations", "list"),
        response=providers.ProviderAllocations,
    ),
    # names
    Route(
        "GET",
        "/traits",
        names.list_traits,
        _rule("traits", "list"),
        since="1.6",
        response=names.Traits,
        query=("name", "associated"),
    ),
    Route("GET", "/traits/{name}", names.show_trait, _rule("traits", "show"), since="1.6", ok=204),
    Route("PUT", "/traits/{name}", names.put_trait, _rule("traits", "update"), since="1.6", ok=201, statuses=(204,)),
    Route(
        "DELETE", "/traits/{name}", names.delete_trait, _rule("traits", "delete"), since="1.6", ok=204, statuses=(409,)
    ),
    Route(
        "GET",
        "/resource_classes",
        names.list_classes,
        _rule("resource_classes", "list"),
        since="1.2",
        response=names.Classes,
    ),
    Route(
        "POST",
        "/resource_classes",
        names.create_class,
        _rule("resource_classes", "create"),
        since="1.2",
        body=names.NewClass,
        ok=201,
        statuses=(409,),
    ),
    Route(
        "GET",
        "/resource_classes/{name}",
        names.show_class,
        _rule("resource_classes", "show"),
        since="1.2",
        response=names.ClassView,
    ),
    Route(
        "PUT",
        "/resource_classes/{name}",
        names.rename_class,
        _rule("resource_classes", "update"),
        since="1.2",
        until="1.6",
        body=names.NewClass,
        response=names.ClassView,
        statuses=(409,),
    ),
    Route(
        "PUT",
        "/resource_classes/{name}",
        names.put_class,
        _rule("resource_classes", "update"),
        since="1.7",
        ok=201,
        statuses=(204,),
    ),
    Route(
        "DELETE",
        "/resource_classes/{name}",
        names.delete_class,
        _rule("resource_classes", "delete"),
        since="1.2",
        ok=204,
        statuses=(409,),
    ),
    # allocations
    Route(
        "POST",
        "/allocations",
        allocations.post,
        _rule("allocations", "manage"),
        since="1.13",
        body=dict[str, allocations.AllocationsBody],
        ok=204,
        statuses=(409,),
    ),
    Route(
        "GET",
        "/allocations/{consumer}",
        allocations.show,
        _rule("allocations", "list"),
        response=allocations.AllocationsView,
    ),
    Route(
        "PUT",
        "/allocations/{consumer}",
        allocations.put,
        _rule("allocations", "update"),
        body=allocations.AllocationsBody,
        ok=204,
        statuses=(409,),
    ),
    Route("DELETE", "/allocations/{consumer}", allocations.delete, _rule("allocations", "delete"), ok=204),
    Route(
        "GET",
        "/allocation_candidates",
        search.list_candidates,
        _rule("allocation_candidates", "list"),
        since="1.10",
        response=search.Candidates,
        query=(
            "resources",
            "required",
            "member_of",
            "in_tree",
            "group_policy",
            "limit",
            "root_required",
            "same_subtree",
        ),
    ),
    Route(
        "GET",
        "/usages",
        allocations.usages,
        ANY,
        since="1.9",
        response=allocations.UsagesView,
        query=("project_id", "user_id", "consumer_type"),
    ),
    Route(
        "POST",
        "/reshaper",
        allocations.reshape,
        _rule("reshaper", "reshape"),
        since="1.30",
        body=allocations.ReshapeBody,
        ok=204,
        statuses=(409,),
    ),
)

#: with what the headers of any request can lead to: an unknown version or Accept, a body that is no JSON
_DOCUMENTED = tuple(replace(r, statuses=(*r.statuses, 406, *((415,) if r.body else ()))) for r in _ROUTES)

SERVICE = Service(
    name="placement",
    prefix=PREFIX,
    routes=(*_DOCUMENTED, document_route("placement", PREFIX, _DOCUMENTED, fault, "Placement API")),
    error_body=fault,
    error_answer=error_answer,
    precheck=precheck,
    policies=POLICIES,
    microversions=versions.MICROVERSIONS,
)
