"""The commands, end to end: real processes against a live cloud of two simulated nodes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

PASSWORD = "a password of this test only"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@here"


@dataclass
class Cli:
    """A home of its own with a key and a clouds.yaml."""

    home: Path
    clouds: Path
    cloud: str = "trilith"

    def run(self, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "TRILITH_"))}
        env |= {"HOME": str(self.home), "OS_CLIENT_CONFIG_FILE": str(self.clouds), "OS_CLOUD": self.cloud}
        return subprocess.run(
            [sys.executable, "-m", "trilith.cli.main", *argv],
            capture_output=True,
            text=True,
            env=env,
            input=stdin,
            timeout=120,
            check=False,
        )

    def ok(self, *argv: str) -> str:
        done = self.run(*argv)
        assert done.returncode == 0, (argv, done.stdout, done.stderr)
        assert "\x1b" not in done.stdout + done.stderr, "no control codes into a pipe"
        return done.stdout

    def json(self, *argv: str) -> Any:
        """One JSON document and nothing else on stdout."""
        return json.loads(self.ok(*argv, "--json"))

    def fails(self, *argv: str) -> str:
        done = self.run(*argv)
        assert done.returncode == 1, (argv, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        _, found, said = done.stderr.rpartition("trilith: ")
        assert found, done.stderr
        assert 1 <= len(said.splitlines()) <= 2, said
        return said


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def entry(url: str, user: str, password: str, project: str) -> dict[str, Any]:
    names = {"user_domain_name": "Default", "project_domain_name": "Default"}
    auth = {"auth_url": url, "username": user, "password": password, "project_name": project, **names}
    return {"auth": auth, "region_name": "RegionOne", "identity_api_version": "3"}


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """clouds.yaml of a running cloud, with its administrator and a member of another project."""
    place = tmp_path_factory.mktemp("cloud")
    (place / "vnc.html").touch()  # no browser opens it here
    argv = ["up", "--state", str(place / "state"), "--listen", f"127.0.0.1:{free_port()}", "--simulated", "2", "--json"]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "trilith.cli.main", *argv],
            env=os.environ | {"TRILITH_ADMIN_PASSWORD": PASSWORD, "TRILITH_NOVNC": str(place)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (place / "log").read_text()
        told = json.loads(line)
        admin = entry(told["url"], told["user"], told["password"], told["project"])
        broken = entry(told["url"], told["user"], "wrong", told["project"])
        nobody = entry(f"http://127.0.0.1:{free_port()}/identity/v3", "admin", "x", "admin")
        member = entry(told["url"], "alice", "alice of this test", "alpha")
        path = place / "clouds.yaml"
        known = {"trilith": admin, "alice": member, "broken": broken, "nobody": nobody}
        path.write_text(yaml.safe_dump({"clouds": known}))
        _member(path)
        yield path
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        finally:
            process.kill()
            process.wait()


def _member(clouds: Path) -> None:
    import openstack

    config = openstack.config.OpenStackConfig(config_files=[str(clouds)])
    with openstack.connection.Connection(config=config.get_one(cloud="trilith")) as sdk:
        project = sdk.identity.create_project(name="alpha", domain_id="default")
        user = sdk.identity.create_user(name="alice", password="alice of this test", domain_id="default")
        sdk.identity.assign_project_role_to_user(project, user, sdk.identity.find_role("member"))


@pytest.fixture
def cli(clouds: Path, tmp_path: Path) -> Cli:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_ed25519.pub").write_text(PUBLIC_KEY + "\n")
    return Cli(tmp_path, clouds)


def test_launch_works_on_a_fresh_cloud_and_delete_takes_all_of_it(cli: Cli) -> None:
    done = cli.run("launch", "tiny", "web1", "--public")
    assert done.returncode == 0, done.stderr
    for wanted in ("network private", "subnet 10.31.0.0/24", "trilith-ssh", "  · create on sim-", "floating IP"):
        assert wanted in done.stderr
    assert "web1 is ACTIVE" in done.stdout
    assert "ssh " in done.stdout
    row = cli.json("show", "web1")
    assert row["status"] == "ACTIVE"
    assert row["key"] == "trilith"
    assert row["pillar"] in ("lxc", "kvm")
    assert row["node"] in ("sim-1", "sim-2")
    assert row["reason"]
    assert row["security_groups"] == ["trilith-ssh"]
    assert len(row["addresses"]) == len(row["floating"]) == 1
    assert row["job"]["state"] == "done"
    assert [s["result"] for s in row["job"]["steps"]] == ["Success"] * row["job"]["steps_total"]
    again = cli.run("launch", "tiny", "web2")
    assert again.returncode == 0, again.stderr
    assert "network private …" not in again.stderr.splitlines(), "what is there is not made twice"
    assert {r["name"] for r in cli.json("list")["servers"]} == {"web1", "web2"}
    assert cli.ok("list").splitlines()[0].split()[:3] == ["NAME", "STATUS", "PILLAR"]
    gone = cli.json("delete", "web1", "web2", "--yes")
    assert [len(d["released"]) for d in gone["deleted"]] == [1, 0]
    assert cli.json("list") == {"servers": []}
    networks = {n["name"]: n for n in cli.json("network", "list")["networks"]}
    assert [s["cidr"] for s in networks["private"]["subnets"]] == ["10.31.0.0/24"]
    cli.ok("network", "delete", "private")
    assert "private" not in {n["name"] for n in cli.json("network", "list")["networks"]}


def test_a_member_launches_too_but_only_an_admin_makes_a_pillars_flavor(cli: Cli) -> None:
    alice = Cli(cli.home, cli.clouds, "alice")
    said = alice.fails("launch", "tiny", "p1", "--pillar", "kvm")
    assert "only an administrator" in said
    assert alice.json("list") == {"servers": []}, "nothing half-made"
    row = cli.json("launch", "tiny", "admins", "--pillar", "kvm")
    assert row["flavor"] == "m1.nano.kvm"
    row = alice.json("launch", "tiny", "p1", "--pillar", "kvm")
    assert (row["flavor"], row["status"], row["pillar"]) == ("m1.nano.kvm", "ACTIVE", "kvm")
    assert "admins" not in alice.ok("list")
    assert "admins" in cli.ok("list", "--all")
    alice.ok("delete", "p1")
    cli.ok("delete", "admins")


def test_errors_say_what_to_do(cli: Cli) -> None:
    assert "trilith image list" in cli.fails("image", "show", "nope")
    assert "tiny-alt" in cli.fails("launch", "nope", "x")
    assert "image build debian-12" in cli.fails("launch", "debian-12", "x")
    assert "trilith flavor list" in cli.fails("launch", "tiny", "x", "--flavor", "nope")
    assert "trilith list" in cli.fails("show", "nope")
    assert "trilith up" in Cli(cli.home, cli.clouds, "nobody").fails("list")
    assert "clouds.yaml" in Cli(cli.home, cli.clouds, "broken").fails("list")
    assert "--os-cloud" in Cli(cli.home, cli.clouds, "unknown").fails("list")
    assert "There is no job" in cli.fails("jobs", "show", "7b2fa521-5046-474f-926b-e438405436e9")
    assert "There is no" in cli.fails("list", "--clouds-yaml", str(cli.home / "none.yaml"))


def test_jobs_are_listed_shown_and_followed(cli: Cli) -> None:
    row = cli.json("launch", "tiny", "j1", "--no-wait")
    job = next(j for j in cli.json("jobs", "list", "--server", "j1")["jobs"] if j["kind"] == "server.create")
    assert job["resource_id"] == row["id"]
    followed = cli.json("jobs", "show", job["id"], "--follow", "--timeout", "60")
    assert followed["state"] == "done"
    assert cli.json("show", "j1")["status"] == "ACTIVE"
    assert job["id"] in cli.ok("jobs", "list", "--state", "done")
    said = cli.fails("jobs", "cancel", job["id"])
    assert "done" in said or "ended" in said
    cli.ok("delete", "j1")


def test_images_come_in_by_content_and_stay_unless_forced(cli: Cli, tmp_path: Path) -> None:
    import tarfile

    (tmp_path / "hello").write_text("hello")
    with tarfile.open(tmp_path / "root.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "hello", "etc/hello")
    # a file of the image's name where the command runs is not taken for it
    (tmp_path / "root").write_text("decoy")
    made = cli.json("image", "import", str(tmp_path / "root.tar.gz"), "--user", "root", "--property", "os_distro=x")
    assert (made["name"], made["disk_format"], made["status"]) == ("root", "root-tar", "active")
    assert made["visibility"] == "public"
    shown = cli.json("image", "show", "root")
    assert shown["properties"]["os_admin_user"] == "root"
    assert shown["size"] == (tmp_path / "root.tar.gz").stat().st_size
    again = cli.json("image", "import", str(tmp_path / "root.tar.gz"))
    assert again["id"] == made["id"]
    forced = cli.json("image", "import", str(tmp_path / "root.tar.gz"), "--force")
    assert forced["id"] != made["id"]
    assert [i["id"] for i in cli.json("image", "list")["images"] if i["name"] == "root"] == [forced["id"]]
    assert "--format raw" in cli.fails("image", "import", str(tmp_path / "hello"))
    cli.ok("image", "delete", "root")


def test_an_image_comes_from_a_url(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www/disk.img").write_bytes((b"\0" * 510 + b"\x55\xaa").ljust(1 << 20, b"\0"))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        alice = Cli(cli.home, cli.clouds, "alice")
        made = alice.json("image", "import", f"{url}/disk.img")
        assert (made["name"], made["disk_format"], made["min_disk"]) == ("disk", "raw", 1)
        assert made["visibility"] == "private"
        assert "404" in alice.fails("image", "import", f"{url}/other.img")
        server.shutdown()
    alice.ok("image", "delete", "disk")


def test_flavors_and_networks(cli: Cli) -> None:
    made = cli.json("flavor", "create", "web", "--like", "m1.nano", "--memory", "96", "--pillar", "lxc")
    assert (made["memory_mib"], made["disk_gib"], made["pillar"]) == (96, 1, "lxc")
    listed = {f["name"]: f for f in cli.json("flavor", "list")["flavors"]}
    assert listed["web"]["extra_specs"] == {"trilith:pillar": "lxc"}
    cli.ok("flavor", "delete", "web")
    net = cli.json("network", "create", "back", "--cidr", "10.40.0.0/24", "--isolated")
    assert net["routers"] == []
    assert "There is a network" in cli.fails("network", "create", "back")
    cli.ok("launch", "tiny", "n1", "--network", "back")
    assert "servers are on" in cli.fails("network", "delete", "back")
    ports = cli.json("network", "show", "back")["ports"]
    assert [p["owner"].partition(":")[0] for p in ports if p["device_id"]].count("compute") == 1
    cli.ok("delete", "n1")
    cli.ok("network", "delete", "back")


def test_top_shows_nodes_and_servers_once(cli: Cli) -> None:
    found = cli.json("top")
    assert [n["name"] for n in found["nodes"]] == ["sim-1", "sim-2"]
    assert found["nodes"][0]["state"] == "up"
    assert found["nodes"][0]["vcpus"] == 64
    assert "sim-1" in cli.ok("top", "--once")


def test_explain_says_where_a_server_would_go(cli: Cli) -> None:
    said = cli.ok("explain", "tiny")
    assert " on sim-" in said.splitlines()[0]
    assert said.splitlines()[1].startswith("because ")
    assert "chosen" in said
    found = cli.json("explain", "tiny", "--hint", "build_near_host_ip=10.0.0.1", "--network", "none")
    assert found["possible"]
    assert [n["chosen"] for n in found["nodes"]] == [True, False]
    assert cli.json("list")["servers"] == []
    nowhere = cli.run("explain", "tiny", "--node", "nowhere")
    assert nowhere.returncode == 1
    assert "no node would take it" in nowhere.stdout
    assert "the request names the node nowhere" in nowhere.stdout
    assert "not of the form NAME=VALUE" in cli.fails("explain", "tiny", "--hint", "x")
    assert "There is no image" in cli.fails("explain", "nothing")


WORKLOAD = """title: gateways
site: edge
network: low-latency
start_within: 2 s
"""


def test_advise_answers_a_file_a_request_and_a_server(cli: Cli) -> None:
    file, page = cli.home / "workload.yaml", cli.home / "advice.html"
    file.write_text(WORKLOAD)
    said = cli.ok("advise", "--file", str(file), "--report", str(page))
    assert said.startswith("LXC ")
    assert "scenario-edge" in said
    assert page.read_text().startswith("<!doctype html>")
    assert "LXC" in cli.ok("advise", "--file", str(file), "--language", "zh")
    found = cli.json("advise", "--file", str(file))
    assert found["advice"]["choice"] == "lxc"
    assert cli.json("advise", "--image", "tiny")["asked"]["image"] == "tiny"
    cli.ok("launch", "tiny", "a1", "--pillar", "lxc")
    assert cli.json("advise", "--server", "a1")["asked"]["runs_on"] == "lxc"
    cli.ok("delete", "a1")


def test_the_demo_ends_with_the_advice_for_its_servers(cli: Cli) -> None:
    import openstack
    from demo import advice

    cli.ok("launch", "tiny", "c1", "--pillar", "lxc")
    config = openstack.config.OpenStackConfig(config_files=[str(cli.clouds)])
    with openstack.connection.Connection(config=config.get_one(cloud="trilith")) as sdk:
        told = advice.told(sdk, {"c1": next(sdk.compute.servers(name="c1"))})
    cli.ok("delete", "c1")
    assert told[0] == "c1, which runs on lxc"
    assert any("Ranking" in line for line in told)
    assert any(line.startswith("    1. LXC") for line in told)


def test_advise_asks_at_the_terminal_and_ends_with_1_where_nothing_fits(cli: Cli) -> None:
    asked = cli.run("advise", "--json", stdin="\ny\n\nedge\n\n\n\n\n\n\n\n\n")
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["advice"]["workload"]["site"] == "edge"
    nothing = cli.run("advise", "--file", "-", stdin="own_kernel: true\nstart_within: 10 ms\n")
    assert nothing.returncode == 1
    assert "giving up" in nothing.stdout


def test_advise_refuses_with_line_and_what_is_allowed(cli: Cli) -> None:
    file = cli.home / "workload.yaml"
    file.write_text(WORKLOAD + "colour: red\n")
    assert "workload.yaml, line 5: there is no demand 'colour'" in cli.fails("advise", "--file", str(file))
    file.write_text("start_within: 50\n")
    said = cli.fails("advise", "--file", str(file))
    assert "line 1" in said
    assert "Allowed: a duration" in said
    assert "cannot be read" in cli.fails("advise", "--file", str(cli.home / "none.yaml"))
    assert "two questions" in cli.fails("advise", "--file", str(file), "--server", "x")
    assert "--flavor is given with --image" in cli.fails("advise", "--flavor", "x")


def test_show_says_why_the_advisor_chose_the_pillar(cli: Cli) -> None:
    cli.ok("launch", "tiny", "r1")
    assert cli.json("show", "r1")["reason"].startswith(("lxc (", "kvm ("))
    assert "reason" in cli.ok("show", "r1")
    cli.ok("delete", "r1")


def test_the_console_log_is_read(cli: Cli) -> None:
    cli.ok("launch", "tiny", "c1")
    assert "c1" in cli.ok("console", "c1", "--log")
    assert len(cli.json("console", "c1", "--log", "-n", "3")["output"].splitlines()) <= 3
    cli.ok("delete", "c1")


def test_the_url_of_a_screen_is_printed_where_there_is_one(cli: Cli) -> None:
    cli.ok("launch", "tiny", "v1", "--pillar", "kvm")
    assert "/console/vnc.html?path=" in cli.ok("console", "v1", "--url")
    assert cli.json("console", "v1", "--url")["type"] == "novnc"
    cli.ok("launch", "tiny", "v2", "--pillar", "lxc")
    assert "Unavailable console type novnc" in cli.fails("console", "v2", "--url")
    cli.ok("delete", "v1", "v2")


def test_a_command_runs_inside_and_its_exit_code_is_ours(cli: Cli) -> None:
    cli.ok("launch", "tiny", "e1", "--pillar", "lxc")
    found = json.loads(cli.run("exec", "e1", "--json", "--", "echo", "-n", "hello").stdout)
    assert set(found) == {"exit_code", "stdout", "stderr", "cut"}
    assert cli.run("exec", "e1", "--", "true").returncode == 0
    assert "There is no server" in cli.fails("exec", "nobody", "--", "true")
    shell = cli.run("shell", "e1", stdin="size\nexit\n")
    assert shell.returncode == 0, shell.stderr
    assert "This shell is simulated" in shell.stdout
    assert "24" in shell.stdout.partition("size")[2]
    assert cli.json("shell", "e1")["url"].endswith("/shell")
    cli.ok("delete", "e1")


def test_figures_of_pillars_are_shown_and_forgotten(cli: Cli) -> None:
    assert cli.json("benchmark", "show") == {"figures": []}
    assert cli.json("benchmark", "forget", "sim-1") == {"node": "sim-1", "figures": []}
    alice = Cli(cli.home, cli.clouds, "alice")
    assert "trilith:figures:list" in alice.fails("benchmark", "show")
    assert "administrators" in alice.fails("benchmark", "pillars")


def test_simulated_guests_are_not_measured(cli: Cli) -> None:
    assert "sim-1 is simulated: its guests do not exist" in cli.fails("benchmark", "pillars", "--quick")
    assert cli.json("benchmark", "show") == {"figures": []}
