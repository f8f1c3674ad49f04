"""What Nova passed on to other services in its older microversions: images with their metadata, groups, addresses."""

from __future__ import annotations

from typing import Any

from tests.api.compute_calls import Caller, admin, member
from tests.api.conftest import ApiCloud


def error(answer: Any, status: int) -> None:
    assert answer.status_code == status, answer.text
    (body,) = answer.json().values()
    assert body["code"] == status
    assert body["message"]


async def _image(caller: Caller, name: str, **fields: Any) -> str:
    body = {"name": name, "container_format": "bare", "disk_format": "raw", "visibility": "private", **fields}
    made = await caller.cloud.client.post("/image/v2/images", headers=caller.headers, json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def test_images_are_listed_filtered_and_paged(cloud: ApiCloud) -> None:
    alice, bob = await member(cloud), await member(cloud, "bob", "beta")
    server = "11111111-2222-3333-4444-555555555555"
    first = await _image(alice, "first", image_type="snapshot", instance_uuid=server)
    second = await _image(alice, "second", min_ram=64, min_disk=2)
    other = await _image(bob, "theirs")

    async def ids(query: str, path: str = "/images") -> list[str]:
        return [i["id"] for i in (await alice.get(f"{path}{query}"))["images"]]

    everything = await ids("")
    assert everything[:2] == [second, first], "the latest first"
    assert other not in everything
    assert await ids("?type=snapshot") == [first]
    assert await ids(f"?server=http://testserver/compute/v2.1/servers/{server}", "/images/detail") == [first]
    assert await ids("?name=second&status=saving&minRam=10&minDisk=2") == [second]
    assert await ids("?property-image_type=snapshot&minRam=1") == []
    assert await ids("?changes-since=2100-01-01T00:00:00Z") == []
    page = await alice.get("/images?limit=1")
    assert [i["id"] for i in page["images"]] == [second]
    assert page["images_links"][0]["href"].endswith(f"limit=1&marker={second}")
    assert (await ids(f"?limit=1&marker={second}")) == [first]
    error(await alice.ask("GET", f"/images?marker={other}"), 400)
    error(await alice.ask("GET", "/images?minRam=many"), 400)
    shown = (await alice.get(f"/images/{first}"))["image"]
    assert shown["server"]["id"] == server
    assert shown["metadata"]["image_type"] == "snapshot"
    error(await alice.ask("GET", f"/images/{other}"), 404)


async def test_an_images_metadata_is_its_properties(cloud: ApiCloud) -> None:
    alice, bob = await member(cloud), await member(cloud, "bob", "beta")
    image = await _image(alice, "one", a="1")
    path = f"/images/{image}/metadata"
    assert (await alice.get(path, "2.38")) == {"metadata": {"a": "1"}}
    error(await alice.ask("GET", path, "2.39"), 404)
    made = await alice.ask("POST", path, json={"metadata": {"b": "2"}})
    assert made.json() == {"metadata": {"a": "1", "b": "2"}}
    assert (await alice.ask("PUT", f"{path}/b", json={"meta": {"b": "3"}})).json() == {"meta": {"b": "3"}}
    error(await alice.ask("PUT", f"{path}/b", json={"meta": {"c": "3"}}), 400)
    assert await alice.get(f"{path}/b") == {"meta": {"b": "3"}}
    assert (await alice.ask("DELETE", f"{path}/a")).status_code == 204
    error(await alice.ask("DELETE", f"{path}/a"), 404)
    assert (await alice.ask("PUT", path, json={"metadata": {"z": "9"}})).json() == {"metadata": {"z": "9"}}
    image_view = (await cloud.client.get(f"/image/v2/images/{image}", headers=alice.headers)).json()
    assert image_view["z"] == "9"
    assert "b" not in image_view
    error(await alice.ask("PUT", path, json={"metadata": {str(n): "x" for n in range(129)}}), 403)
    error(await alice.ask("PUT", path, json={"metadata": {"os_glance_stage": "x"}}), 403)
    error(await bob.ask("PUT", path, json={"metadata": {}}), 404)
    public = await alice.image()
    error(await bob.ask("POST", f"/images/{public}/metadata", json={"metadata": {"mine": "1"}}), 403)

    error(await bob.ask("DELETE", f"/images/{image}"), 404)
    error(await bob.ask("DELETE", f"/images/{public}"), 403)
    assert (await alice.ask("DELETE", f"/images/{image}")).status_code == 204
    error(await alice.ask("GET", f"/images/{image}"), 404)


async def test_a_path_with_an_empty_id_is_not_there(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    error(await alice.ask("DELETE", "/images/"), 404)
    error(await alice.ask("DELETE", "/os-security-groups/"), 404)
    error(await alice.ask("GET", "/os-simple-tenant-usage/"), 404)
    assert (await cloud.client.get("/compute/v2.1/")).status_code == 200
    assert (await cloud.client.get("/compute/")).status_code == 200


async def test_the_versions_lead_to_their_documents(cloud: ApiCloud) -> None:
    for version in (await cloud.client.get("/compute")).json()["versions"]:
        link = next(x["href"] for x in version["links"] if x["rel"] == "self")
        shown = (await cloud.client.get(link)).json()["version"]
        assert shown["id"] == version["id"]
        assert shown["media-types"]
        assert [x["href"] for x in shown["links"] if x["rel"] == "self"] == [link]


async def test_what_neutron_calls_a_conflict_is_a_bad_request_in_the_group_proxy(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    groups = (await alice.get("/os-security-groups"))["security_groups"]
    (default,) = [g for g in groups if g["name"] == "default"]
    error(await alice.ask("DELETE", f"/os-security-groups/{default['id']}"), 400)
    made = await alice.ask("POST", "/os-security-groups", json={"security_group": {"name": " a b ", "description": ""}})
    group = made.json()["security_group"]
    assert group["name"] == " a b "
    rule = {"parent_group_id": group["id"], "ip_protocol": "tcp", "from_port": 1, "to_port": 2}
    assert (await alice.ask("POST", "/os-security-group-rules", json={"security_group_rule": rule})).status_code == 200
    error(await alice.ask("POST", "/os-security-group-rules", json={"security_group_rule": rule}), 400)
    bad = {**rule, "parent_group_id": "no uuid"}
    error(await alice.ask("POST", "/os-security-group-rules", json={"security_group_rule": bad}), 400)


async def test_hosts_are_those_of_every_service_until_2_42(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    hosts = (await root.ask("GET", "/os-hosts")).json()["hosts"]
    assert {(h["service"], h["zone"]) for h in hosts} == {
        ("conductor", "internal"),
        ("scheduler", "internal"),
        ("compute", "nova"),
    }
    internal = (await root.ask("GET", "/os-hosts?zone=internal")).json()["hosts"]
    assert [h["service"] for h in internal] == ["conductor", "scheduler"]
    zones = (await root.ask("GET", "/os-availability-zone/detail")).json()["availabilityZoneInfo"]
    (services,) = next(z["hosts"] for z in zones if z["zoneName"] == "internal").values()
    assert set(services) == {"nova-conductor", "nova-scheduler"}
    assert all(s["available"] and s["active"] for s in services.values())


async def test_hosts_are_enabled_and_disabled_until_2_42(cloud: ApiCloud) -> None:
    root, alice = await admin(cloud), await member(cloud)
    answer = await root.ask("PUT", "/os-hosts/sim-1", json={"status": "disable"})
    assert answer.json() == {"host": "sim-1", "status": "disabled"}
    (service,) = (await root.get("/os-services?host=sim-1&binary=nova-compute"))["services"]
    assert service["status"] == "disabled"
    assert (await root.ask("PUT", "/os-hosts/sim-1", json={"status": "Enable"})).json()["status"] == "enabled"
    error(await root.ask("PUT", "/os-hosts/sim-1", json={}), 400)
    error(await root.ask("PUT", "/os-hosts/sim-1", json={"status": "on"}), 400)
    error(await root.ask("PUT", "/os-hosts/sim-1", json={"maintenance_mode": "enable"}), 501)
    error(await root.ask("PUT", "/os-hosts/none", json={"status": "enable"}), 404)
    for verb in ("startup", "shutdown", "reboot"):
        error(await root.ask("GET", f"/os-hosts/sim-1/{verb}"), 501)
        error(await root.ask("GET", f"/os-hosts/none/{verb}"), 404)
        error(await alice.ask("GET", f"/os-hosts/sim-1/{verb}"), 403)
    error(await root.ask("PUT", "/os-hosts/sim-1", "2.43", json={"status": "enable"}), 404)


async def test_a_certificate_is_made_for_windows_guests(cloud: ApiCloud) -> None:
    from cryptography import x509

    alice = await member(cloud)
    made = await alice.ask("POST", "/os-keypairs", "2.2", json={"keypair": {"name": "w", "type": "x509"}})
    key = made.json()["keypair"]
    certificate = x509.load_pem_x509_certificate(key["public_key"].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (principal,) = names.get_values_for_type(x509.OtherName)
    assert principal.value[2:].decode().startswith(f"{key['user_id']}@")
    assert key["type"] == "x509"
    assert key["private_key"].startswith("-----BEGIN PRIVATE KEY")


async def test_a_private_flavor_is_for_its_projects_servers_only(cloud: ApiCloud) -> None:
    root, alice = await admin(cloud), await member(cloud)
    body = {"name": "p", "ram": 64, "vcpus": 1, "disk": 1, "os-flavor-access:is_public": False}
    flavor = (await root.ask("POST", "/flavors", json={"flavor": body})).json()["flavor"]["id"]
    server = {"name": "x", "flavorRef": flavor, "imageRef": await alice.image()}
    error(await alice.ask("POST", "/servers", json={"server": server}), 400)
    project = (await cloud.user("alice", "alpha"))[1]
    access = {"addTenantAccess": {"tenant": project}}
    assert (await root.ask("POST", f"/flavors/{flavor}/action", json=access)).status_code == 200
    made = await alice.ask("POST", "/servers", json={"server": server})
    assert made.status_code == 202, made.text
    await alice.settle(made.json()["server"]["id"])


async def test_a_network_is_made_for_whom_has_none(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    body = {"name": "x", "flavorRef": await alice.flavor(), "imageRef": await alice.image(), "networks": "auto"}
    made = await alice.ask("POST", "/servers", "2.37", json={"server": {**body, "min_count": 2}})
    assert made.status_code == 202, made.text
    again = await alice.ask("POST", "/servers", "2.37", json={"server": body})
    assert again.status_code == 202, again.text
    await alice.settle(again.json()["server"]["id"])
    servers = (await alice.get("/servers/detail", "2.37"))["servers"]
    assert [list(s["addresses"]) for s in servers] == [["auto_allocated_network"]] * 3
    routers = (await cloud.client.get("/network/v2.0/routers", headers=alice.headers)).json()["routers"]
    assert len(routers) == 1
    assert routers[0]["external_gateway_info"]
    bob = await member(cloud, "bob", "beta")
    none = await bob.ask("POST", "/servers", "2.37", json={"server": {**body, "networks": "none"}})
    assert none.status_code == 202, none.text
    assert (await cloud.client.get("/network/v2.0/routers", headers=bob.headers)).json()["routers"] == []


async def test_an_allocated_network_can_be_taken_apart_again(cloud: ApiCloud) -> None:
    """In the order in which its owner sees its parts, the port of the metadata service among them."""
    alice = await member(cloud)
    body = {"name": "x", "flavorRef": await alice.flavor(), "imageRef": await alice.image(), "networks": "auto"}
    made = await alice.ask("POST", "/servers", "2.37", json={"server": body})
    server_id = made.json()["server"]["id"]
    await alice.settle(server_id)
    assert (await alice.ask("DELETE", f"/servers/{server_id}")).status_code == 204
    await alice.settle(server_id)

    async def ask(method: str, path: str, **fields: Any) -> Any:
        answer = await cloud.client.request(method, f"/network/v2.0{path}", headers=alice.headers, **fields)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    (network,) = (await ask("GET", "/networks?name=auto_allocated_network"))["networks"]
    (router,) = (await ask("GET", "/routers"))["routers"]
    (subnet,) = network["subnets"]
    await ask("PUT", f"/routers/{router['id']}/remove_router_interface", json={"subnet_id": subnet})
    await ask("DELETE", f"/routers/{router['id']}")
    ports = (await ask("GET", f"/ports?network_id={network['id']}"))["ports"]
    assert [p["device_owner"] for p in ports] == ["network:distributed"]
    for port in ports:
        await ask("DELETE", f"/ports/{port['id']}")
    (again,) = (await ask("GET", f"/ports?network_id={network['id']}"))["ports"]
    assert again["id"] != ports[0]["id"]
    assert [ip["subnet_id"] for ip in again["fixed_ips"]] == [subnet], "the metadata service goes on"
    await ask("DELETE", f"/subnets/{subnet}")
    await ask("DELETE", f"/networks/{network['id']}")
    again_made = await alice.ask("POST", "/servers", "2.37", json={"server": body})
    assert again_made.status_code == 202, again_made.text
