"""Every table, a noun a line: its name in the database, its noun in the feed, what is unique, what is searched by."""

from __future__ import annotations

from trilith.model import console as c
from trilith.model import identity as i
from trilith.model import identity_extensions as ie
from trilith.model import image as im
from trilith.model import image_metadef as md
from trilith.model import job as j
from trilith.model import network as n
from trilith.model import network_access as na
from trilith.model import network_forwarding as nf
from trilith.model import network_qos as nq
from trilith.model import network_trunks as nt
from trilith.model import node as nd
from trilith.model import pillar_figures as pf
from trilith.model import server as s
from trilith.model import volume as v
from trilith.store.mapping import pending, table_of

# identity
table_of(i.Domain, "domains", noun="domain", unique=(("name",),))
table_of(i.Project, "projects", noun="project", unique=(("domain_id", "name"),), index=(("parent_id",),))
table_of(i.User, "users", noun="user", unique=(("domain_id", "name"),))
table_of(i.Group, "groups", noun="group", unique=(("domain_id", "name"),))
table_of(i.GroupMember, "group_members", noun="user", unique=(("group_id", "user_id"),), index=(("user_id",),))
table_of(i.Role, "roles", noun="role", unique=(("domain_id", "name"),))
table_of(i.ImpliedRole, "implied_roles", noun="role", unique=(("prior_id", "implied_id"),))
table_of(
    i.RoleAssignment,
    "role_assignments",
    noun="role_assignment",
    unique=(("actor_id", "target_id", "role_id", "inherited", "actor_kind", "target_kind"),),
    index=(("target_id",), ("role_id",)),
)
table_of(i.Service, "services", noun="service")
table_of(i.Region, "regions", noun="region")
table_of(i.Endpoint, "endpoints", noun="endpoint", index=(("service_id",),))
table_of(
    i.ApplicationCredential, "application_credentials", noun="application_credential", unique=(("user_id", "name"),)
)
table_of(i.AccessRule, "access_rules", unique=(("user_id", "service", "method", "path"),))
table_of(i.Credential, "credentials", noun="credential", index=(("user_id",), ("project_id",)))
table_of(i.Trust, "trusts", noun="trust", index=(("trustor_user_id",), ("trustee_user_id",), ("project_id",)))
table_of(i.PolicyBlob, "policy_blobs", noun="policy")
table_of(
    i.RegisteredLimit,
    "registered_limits",
    noun="registered_limit",
    unique=(("service_id", "region_id", "resource_name"),),
)
table_of(
    i.Limit,
    "limits",
    noun="limit",
    unique=(("registered_limit_id", "project_id", "domain_id"),),
    index=(("project_id",), ("domain_id",)),
)
table_of(i.Revocation, "revocations", noun="revocation", index=(("audit_id",), ("expires_at",)))
table_of(ie.EndpointGroup, "endpoint_groups", noun="endpoint_group")
table_of(
    ie.ProjectEndpoint,
    "project_endpoints",
    noun="endpoint_group",
    unique=(("project_id", "endpoint_id"),),
    index=(("endpoint_id",),),
)
table_of(
    ie.ProjectEndpointGroup,
    "project_endpoint_groups",
    noun="endpoint_group",
    unique=(("project_id", "endpoint_group_id"),),
    index=(("endpoint_group_id",),),
)
table_of(ie.Consumer, "consumers_oauth1", noun="consumer")
table_of(ie.RequestToken, "request_tokens", noun="request_token", index=(("consumer_id",), ("expires_at",)))
table_of(ie.AccessToken, "access_tokens", noun="access_token", index=(("consumer_id",), ("user_id",), ("project_id",)))
table_of(ie.UsedNonce, "used_nonces", index=(("expires_at",),))
table_of(ie.IdentityProvider, "identity_providers", noun="identity_provider", index=(("domain_id",),))
table_of(ie.FederationMapping, "federation_mappings", noun="mapping")
table_of(
    ie.FederationProtocol,
    "federation_protocols",
    noun="protocol",
    unique=(("idp_id", "name"),),
    index=(("mapping_id",),),
)
table_of(
    ie.FederatedUser,
    "federated_users",
    noun="user",
    unique=(("idp_id", "protocol_id", "unique_id"),),
    index=(("user_id",),),
)
table_of(ie.DomainConfig, "domain_configs", noun="domain")

# nodes and placement
table_of(nd.Node, "nodes", noun="node", unique=(("name",),))
table_of(
    nd.ResourceProvider, "resource_providers", noun="resource_provider", unique=(("name",),), index=(("root_id",),)
)
table_of(nd.Inventory, "inventories", unique=(("provider_id", "resource_class"),))
table_of(
    nd.Allocation, "allocations", unique=(("consumer_id", "provider_id", "resource_class"),), index=(("provider_id",),)
)
table_of(nd.Consumer, "consumers", index=(("project_id",),))
table_of(nd.ProviderTraits, "provider_traits")
table_of(nd.ProviderAggregates, "provider_aggregates")
table_of(nd.Trait, "traits")
table_of(nd.ResourceClass, "resource_classes")
table_of(nd.Quota, "quotas", noun="quota", unique=(("project_id", "resource"),))
table_of(nd.QuotaUse, "quota_uses", unique=(("project_id", "resource"),))
table_of(nd.Aggregate, "aggregates", noun="aggregate", tombstone=True, unique_alive=(("name",),))
table_of(pf.PillarFigures, "pillar_figures", noun="figures", unique=(("node", "pillar", "guest", "emulated"),))

# compute
table_of(
    s.Server,
    "servers",
    noun="server",
    tombstone=True,
    index=(("project_id", "deleted_at", "created_at"), ("node",), ("updated_at",), ("image_sha256",)),
)
table_of(s.Flavor, "flavors", noun="flavor", unique=(("name",),))
table_of(s.KeyPair, "keypairs", noun="keypair", tombstone=True, unique_alive=(("user_id", "name"),))
table_of(s.ServerGroup, "server_groups", noun="server_group", index=(("project_id",),))
table_of(s.InstanceAction, "instance_actions", index=(("server_id",), ("job_id",)))
table_of(s.Migration, "migrations", index=(("server_id",), ("job_id",)))
table_of(
    c.ConsoleToken,
    "console_tokens",
    noun="console",
    unique=(("token_hash",),),
    index=(("server_id",), ("expires_at",)),
)
table_of(s.BootData, "boot_data")
table_of(s.IdRange, "id_ranges", unique=(("base",),))

# images
table_of(im.Image, "images", noun="image", tombstone=True, index=(("owner",), ("name",), ("sha256",)))
table_of(im.ImageMember, "image_members", noun="image", unique=(("image_id", "member_id"),), index=(("member_id",),))
table_of(
    im.BlobReference,
    "blob_references",
    unique=(("sha256", "holder_kind", "holder_id", "store"),),
    index=(("holder_id",),),
)
table_of(im.CachedImage, "cached_images", unique=(("image_id", "node"),), index=(("sha256",),))
table_of(md.MetadefNamespace, "metadef_namespaces", noun="metadef_namespace", unique=(("namespace",),))
table_of(md.MetadefResourceType, "metadef_resource_types", unique=(("name",),))

# networks
table_of(n.Network, "networks", noun="network", index=(("project_id",),))
table_of(n.Subnet, "subnets", noun="subnet", index=(("network_id",), ("project_id",)))
table_of(n.Port, "ports", noun="port", index=(("network_id",), ("device_id",), ("project_id",)))
table_of(
    n.IpAddress,
    "ip_addresses",
    unique=(("subnet_id", "address"),),
    index=(("port_id",), ("address",), ("subnet_id", "position")),
)
table_of(n.MacAddress, "mac_addresses", unique=(("network_id", "mac"),), index=(("port_id",),))
table_of(n.Router, "routers", noun="router", index=(("project_id",), ("external_network_id",)))
table_of(
    n.FloatingIp,
    "floating_ips",
    noun="floating_ip",
    unique=(("floating_network_id", "floating_ip_address"),),
    index=(("port_id",), ("project_id",), ("router_id",)),
)
table_of(n.SecurityGroup, "security_groups", noun="security_group", index=(("project_id",),))
table_of(
    n.SecurityGroupRule,
    "security_group_rules",
    noun="security_group_rule",
    index=(("security_group_id",), ("remote_group_id",), ("project_id",)),
)
table_of(n.AddressScope, "address_scopes", noun="address_scope", index=(("project_id",),))
table_of(n.SubnetPool, "subnet_pools", noun="subnetpool", index=(("project_id",),))
table_of(n.Rbac, "rbac_policies", noun="rbac_policy", index=(("object_id",), ("target",)))
table_of(n.AutoTopology, "auto_topologies", unique=(("project_id",),), index=(("network_id",), ("router_id",)))
table_of(n.DhcpExclusion, "dhcp_exclusions", unique=(("network_id", "node"),))
table_of(na.AddressGroup, "address_groups", noun="address_group", index=(("project_id",),))
table_of(na.DefaultRule, "default_group_rules", noun="default_security_group_rule")
table_of(na.SecurityLog, "security_logs", noun="log", index=(("project_id",), ("resource_id",)))
table_of(nq.QosPolicy, "qos_policies", noun="qos_policy", index=(("project_id",),))
table_of(nq.QosRule, "qos_rules", noun="qos_rule", index=(("policy_id",),))
table_of(
    nf.PortForwarding,
    "port_forwardings",
    noun="port_forwarding",
    unique=(("floating_ip_id", "protocol", "external_port"),),
    index=(("internal_port_id",), ("router_id",)),
)
table_of(nt.Trunk, "trunks", noun="trunk", unique=(("port_id",),), index=(("project_id",),))
table_of(nt.SubPort, "sub_ports", unique=(("port_id",), ("trunk_id", "segmentation_id")))
for _noun in (n.Network, n.Port, n.Router, n.SecurityGroup, na.AddressGroup):
    pending(_noun)

# block storage
table_of(v.VolumeType, "volume_types", noun="volume_type", unique=(("name",),))
table_of(v.VolumePool, "volume_pools", noun="volume_pool", index=(("node",),))
table_of(v.Volume, "volumes", noun="volume", tombstone=True, index=(("project_id",), ("pool",), ("type_id",)))
table_of(
    v.VolumeSnapshot,
    "volume_snapshots",
    noun="volume_snapshot",
    tombstone=True,
    index=(("project_id",), ("volume_id",)),
)

# jobs
table_of(j.Job, "jobs", noun="job", index=(("resource_id",), ("state",), ("project_id",), ("finished_at",)))
table_of(j.JobStep, "job_steps", index=(("job_id", "idx"),))
table_of(j.IdempotencyKey, "idempotency_keys", unique=(("user_id", "key"),), index=(("created_at",),))
