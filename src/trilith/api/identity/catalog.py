"""The service catalogue, and the body of a token."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from trilith.api.http.tokens import Valid
from trilith.api.identity.wire import isotime, naive_isotime, or_none
from trilith.commands.bootstrap import CATALOG
from trilith.commands.identity_directory import Directory
from trilith.model.identity import AccessRule, Domain, Endpoint, Project, Service

_PATHS = {type_: path for _name, type_, path in CATALOG}


class CatalogEndpoint(Struct):
    id: str
    interface: str
    region_id: str | None
    url: str
    region: str | None


class CatalogEntry(Struct):
    endpoints: list[CatalogEndpoint]
    id: str
    type: str
    name: str


class DomainRef(Struct):
    id: str
    name: str


class ProjectRef(Struct):
    domain: DomainRef
    id: str
    name: str


class IdRef(Struct):
    id: str


class FederationRef(Struct):
    groups: list[IdRef]
    identity_provider: IdRef
    protocol: IdRef


class UserRef(Struct, rename={"federation": "OS-FEDERATION"}):
    domain: DomainRef
    id: str
    name: str
    password_expires_at: str | None
    federation: FederationRef | UnsetType = UNSET


class RoleRef(Struct):
    id: str
    name: str


class SystemRef(Struct):
    all: bool = True


class RuleRef(Struct):
    id: str
    service: str
    method: str
    path: str


class AppCredentialRef(Struct):
    id: str
    name: str
    restricted: bool
    access_rules: list[RuleRef] | UnsetType = UNSET


class OAuthRef(Struct):
    access_token_id: str
    consumer_id: str


class TrustRef(Struct):
    id: str
    impersonation: bool
    trustor_user: IdRef
    trustee_user: IdRef


class TokenBody(Struct, rename={"trust": "OS-TRUST:trust", "oauth1": "OS-OAUTH1"}):
    methods: tuple[str, ...]
    user: UserRef
    audit_ids: tuple[str, ...]
    expires_at: str
    issued_at: str
    domain: DomainRef | UnsetType = UNSET
    project: ProjectRef | UnsetType = UNSET
    is_domain: bool | UnsetType = UNSET
    system: SystemRef | UnsetType = UNSET
    roles: list[RoleRef] | UnsetType = UNSET
    catalog: list[CatalogEntry] | UnsetType = UNSET
    application_credential: AppCredentialRef | UnsetType = UNSET
    trust: TrustRef | UnsetType = UNSET
    oauth1: OAuthRef | UnsetType = UNSET


class TokenAnswer(Struct):
    token: TokenBody


def endpoint_url(base: str, service: Service, endpoint: Endpoint, project_id: str = "") -> str:
    """Absolute; "" for one that needs a project where there is none. base: public_url without a slash at its end."""
    url = endpoint.url or base + _PATHS.get(service.type, "")
    if "(" not in url and "{" not in url:
        return url
    for form in ("%(project_id)s", "%(tenant_id)s", "$(project_id)s", "$(tenant_id)s", "{project_id}"):
        if form in url and not project_id:
            return ""
        url = url.replace(form, project_id)
    return url


def catalog(base: str, directory: Directory, project_id: str) -> list[CatalogEntry]:
    """What the project is shown: all, unless endpoints were chosen for it (OS-EP-FILTER)."""
    entries = []
    only = directory.shown.get(project_id) if project_id else None
    for service, endpoints in directory.catalog:
        if only is not None and not any(e.id in only for e in endpoints):
            continue
        shown = [
            CatalogEndpoint(
                id=e.id,
                interface=e.interface,
                region_id=or_none(e.region_id),
                region=or_none(e.region_id),
                url=url,
            )
            for e in endpoints
            if (only is None or e.id in only) and (url := endpoint_url(base, service, e, project_id))
        ]
        entries.append(CatalogEntry(endpoints=shown, id=service.id, type=service.type, name=service.name))
    return entries


def _domain(domain: Domain) -> DomainRef:
    return DomainRef(id=domain.id, name=domain.name)


def _project(project: Project, domain: Domain) -> ProjectRef:
    return ProjectRef(domain=_domain(domain), id=project.id, name=project.name)


def rule_refs(rules: tuple[AccessRule, ...] | list[AccessRule]) -> list[RuleRef]:
    return [RuleRef(id=r.id, service=r.service, method=r.method, path=r.path) for r in rules]


def token_body(base: str, valid: Valid, *, with_catalog: bool) -> TokenAnswer:
    token, user = valid.token, valid.user
    expires = 0.0 if user.options.get("ignore_password_expiry") else user.password_expires_at
    body = TokenBody(
        methods=token.methods,
        user=UserRef(
            domain=_domain(valid.user_domain),
            id=user.id,
            name=user.name,
            password_expires_at=naive_isotime(expires) if expires else None,
        ),
        audit_ids=token.audit_ids,
        expires_at=isotime(token.expires_at),
        issued_at=isotime(token.issued_at),
    )
    if valid.project is not None and valid.project_domain is not None:
        body.project = _project(valid.project, valid.project_domain)
        body.is_domain = False
    elif valid.domain is not None:
        body.domain = _domain(valid.domain)
    elif token.system:
        body.system = SystemRef()
    if valid.roles:
        body.roles = [RoleRef(id=r.id, name=r.name) for r in valid.roles]
        if with_catalog:
            body.catalog = catalog(base, valid.directory, token.project_id)
    if valid.app_credential is not None:
        body.application_credential = AppCredentialRef(
            id=valid.app_credential.id,
            name=valid.app_credential.name,
            restricted=not valid.app_credential.unrestricted,
            access_rules=rule_refs(valid.access_rules) if valid.access_rules else UNSET,
        )
    if valid.trust is not None:
        body.trust = TrustRef(
            id=valid.trust.id,
            impersonation=valid.trust.impersonation,
            trustor_user=IdRef(valid.trust.trustor_user_id),
            trustee_user=IdRef(valid.trust.trustee_user_id),
        )
    if valid.access is not None:
        body.oauth1 = OAuthRef(access_token_id=valid.access.id, consumer_id=valid.access.consumer_id)
    if token.idp_id:
        body.user.federation = FederationRef(
            groups=[IdRef(id) for id in token.group_ids],
            identity_provider=IdRef(token.idp_id),
            protocol=IdRef(token.protocol_id),
        )
    return TokenAnswer(body)
