"""The command line's own parts: what it imports, what it says, how it chooses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from trilith import errors
from trilith.agent.doctor import Level, checks, examine
from trilith.agent.doctor_host import dropping_chains
from trilith.cli import client, follow, image, inside, launch, login, screen, size, top
from trilith.cli.client import from_status
from trilith.cli.image import default_name, parse_properties
from trilith.cli.main import app, one_line
from trilith.cli.native import parse_events
from trilith.cli.network import parse_cidr
from trilith.config import Settings


def commands() -> dict[str, Any]:
    """Every command by its full name, groups taken apart."""
    found: dict[str, Any] = {}

    def walk(command: Any, name: str) -> None:
        for sub, inner in getattr(command, "commands", {}).items():
            walk(inner, f"{name} {sub}".strip())
        if not getattr(command, "commands", None):
            found[name] = command

    walk(get_command(app), "")
    return found


def test_the_command_itself_imports_no_client() -> None:
    """`trilith up` starts by this import: the sdk alone would cost it half a second."""
    script = "import trilith.cli.main, sys; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "typer" in loaded
    assert not {"openstack", "keystoneauth1", "requests", "websockets", "rich", "litestar"} & set(loaded)


def test_every_command_that_was_promised_is_there() -> None:
    promised = {
        "up",
        "down",
        "doctor",
        "launch",
        "explain",
        "advise",
        "list",
        "show",
        "shell",
        "exec",
        "console",
        "delete",
        "top",
        "version",
    }
    promised |= {f"image {v}" for v in ("list", "show", "build", "import", "delete")}
    promised |= {f"flavor {v}" for v in ("list", "create", "delete")}
    promised |= {f"network {v}" for v in ("list", "show", "create", "delete")}
    promised |= {f"jobs {v}" for v in ("list", "show", "cancel")}
    assert promised <= set(commands())


@pytest.mark.parametrize("name", sorted(set(commands()) - {"down"}))
def test_every_command_shows_an_example_and_speaks_json(name: str) -> None:
    command = commands()[name]
    assert "Example" in command.help, name
    assert f"trilith {name}" in command.help, name
    assert "--json" in [o for p in command.params for o in p.opts], name


def test_a_usage_error_is_told_without_a_trace() -> None:
    result = CliRunner().invoke(app, ["launch"])
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_a_tools_many_lines_become_one() -> None:
    assert one_line("a\n  b\x1b[31m\tc") == "a b [31m c"
    assert len(one_line("x" * 10_000)) < 700


def test_version_is_one_json_document() -> None:
    result = CliRunner().invoke(app, ["version", "--json"])
    assert result.exit_code == 0
    assert set(json.loads(result.stdout)) >= {"trilith", "python", "openstacksdk"}


def test_a_table_into_a_pipe_has_no_control_codes_and_is_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    screen.table(("name", "why"), [("[bold]a", "x" * 500), ("b\x1b[31m", None)], empty="nothing")
    out = capsys.readouterr().out
    assert "\x1b" not in out
    lines = out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("[bold]a ")
    assert "x" * 500 in lines[1]
    assert lines[2].endswith("–")


def test_an_empty_table_leaves_stdout_empty(capsys: pytest.CaptureFixture[str]) -> None:
    screen.table(("name",), [], empty="Nothing.")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "Nothing.\n")


def test_progress_into_a_pipe_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with screen.progress() as steps:
        steps.step("one")
        steps.part(0.5, what="half")
        steps.note("done \x1b[2J")
        steps.step("two")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["one …", "done �[2J", "two …"]


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0s"), (59, "59s"), (60, "1m"), (7200, "2h"), (90000, "1d")])
def test_ages(seconds: float, text: str) -> None:
    assert screen.ago(seconds) == text


def test_events_are_read_as_the_standard_says() -> None:
    lines = [
        ": hello",
        "id: 0-7",
        "event: job.updated",
        'data: {"id":',
        'data: "x"}',
        "",
        "retry: 5",
        "",
        "data: plain",
        "",
    ]
    assert list(parse_events(iter([*lines, ""]))) == [
        {"id": "0-7", "event": "job.updated", "data": {"id": "x"}},
        {"id": "", "event": "message", "data": "plain"},
    ]


@pytest.mark.parametrize(
    ("status", "cls"),
    [(400, errors.Invalid), (401, errors.Unauthenticated), (403, errors.Forbidden), (404, errors.Missing),
     (409, errors.Conflict), (503, errors.Backend)],
)  # fmt: skip
def test_an_answer_becomes_an_error_of_ours(status: int, cls: type[errors.TrilithError]) -> None:
    made = from_status(status, "")
    assert type(made) is cls
    assert str(status) in made.message


def test_a_jobs_failure_says_where() -> None:
    job = {
        "id": "j1",
        "state": "failed",
        "error": {"code": "deadline", "message": "late", "step": "start", "node": "n1"},
    }
    made = follow.failure_of(job)
    assert isinstance(made, errors.Deadline)
    assert "late (step start, node n1)" in made.message
    assert "trilith jobs show j1" in made.hint


def test_a_step_of_seconds_shows_them() -> None:
    step = {"name": "start", "node": "n1", "started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:00:02Z"}
    assert follow.step_line(step) == "  · start on n1 2 s"
    assert follow.step_line({"name": "x", "result": "Error", "note": "why"}) == "  ✗ x: why"


# ---- keys

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@here"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8eHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA you@there"


class Keys:
    """The key pairs of a cloud, as the sdk's compute proxy has them."""

    def __init__(self, **known: str) -> None:
        self.known = known

    def find_keypair(self, name: str, ignore_missing: bool = True) -> Any:
        return SimpleNamespace(name=name, public_key=self.known[name]) if name in self.known else None

    def create_keypair(self, name: str, public_key: str) -> None:
        assert name not in self.known
        self.known[name] = public_key


def cloud_with(keys: Keys) -> Any:
    def find(finder: Any, name: str, noun: str, see: str) -> Any:
        found = finder(name)
        if found is None:
            raise errors.Missing(f"There is no {noun} {name!r}.", hint=see)
        return found

    return SimpleNamespace(sdk=SimpleNamespace(compute=keys), find=find)


def test_the_users_own_key_is_imported_once(tmp_path: Any) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_rsa.pub").write_text("ssh-rsa AAAA")
    (tmp_path / ".ssh/id_ed25519.pub").write_text(ED25519 + "\n")
    keys = Keys()
    for _ in range(2):
        assert login.key_pair(cloud_with(keys), "", home=tmp_path) == "trilith"
    assert keys.known == {"trilith": ED25519}


def test_another_machines_key_of_that_name_stays(tmp_path: Any) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_ed25519.pub").write_text(ED25519)
    keys = Keys(trilith=OTHER)
    names = {login.key_pair(cloud_with(keys), "", home=tmp_path) for _ in range(2)}
    assert len(names) == 1
    assert names != {"trilith"}
    assert keys.known["trilith"] == OTHER
    assert keys.known[str(names.pop())] == ED25519


def test_without_a_key_none_is_given(tmp_path: Any) -> None:
    assert login.key_pair(cloud_with(Keys()), "", home=tmp_path) is None
    assert login.key_pair(cloud_with(Keys(trilith=OTHER)), "", home=tmp_path) == "trilith"


def test_a_private_key_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "id_ed25519"
    path.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n")
    with pytest.raises(errors.Invalid, match="private") as caught:
        login.key_pair(cloud_with(Keys()), str(path))
    assert f"{path}.pub" in caught.value.hint
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "ssh-rsa", "ssh-rsa !!!", "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAA", "hello world"])
def test_what_is_no_public_key_is_refused(tmp_path: Any, text: str) -> None:
    path = tmp_path / "k.pub"
    path.write_text(text)
    with pytest.raises(errors.Invalid):
        login.read_public_key(path)


def test_a_named_key_must_exist() -> None:
    with pytest.raises(errors.Missing):
        login.key_pair(cloud_with(Keys()), "nobody")


def test_who_logs_in() -> None:
    def made(**properties: str) -> Any:
        return SimpleNamespace(properties=properties)

    assert login.user_of(made(os_admin_user="me", os_distro="debian")) == "me"
    assert login.user_of(made(os_distro="ubuntu")) == "ubuntu"
    assert login.user_of(SimpleNamespace(properties={}, os_admin_user="tiny")) == "tiny"
    assert login.user_of(made()) == ""
    assert login.user_of(None) == ""


# ---- sizes


def flavor(name: str, ram: int, disk: int, vcpus: int = 1) -> Any:
    return SimpleNamespace(name=name, ram=ram, disk=disk, vcpus=vcpus)


SIZES = [flavor("big", 4096, 40), flavor("nano", 64, 1), flavor("micro", 128, 2, 2), flavor("tiny", 512, 4)]


def an_image(min_ram: int = 0, min_disk: int = 0, virtual_size: int = 0, **properties: str) -> Any:
    return SimpleNamespace(
        name="i", min_ram=min_ram, min_disk=min_disk, virtual_size=virtual_size, properties=properties
    )


@pytest.mark.parametrize(
    ("image", "chosen"),
    [
        (an_image(min_ram=64), "nano"),
        (an_image(trilith_machine_min_ram="80"), "micro"),
        (an_image(min_ram=64, trilith_machine_min_ram="256"), "tiny"),
        (an_image(), "tiny"),  # says nothing of itself: room for a usual distribution
        (an_image(min_ram=64, virtual_size=3 * 1024**3 + 1), "tiny"),
        (an_image(min_ram=64, min_disk=5), "big"),
    ],
)
def test_the_smallest_that_holds_the_image(image: Any, chosen: str) -> None:
    assert size.smallest([*SIZES, flavor("a.kvm", 64, 1)], image).name == chosen


def test_an_image_too_large_for_all_says_what_to_make() -> None:
    with pytest.raises(errors.Missing, match="8192 MiB") as caught:
        size.smallest(SIZES, an_image(min_ram=8192))
    assert "flavor create" in caught.value.hint


def test_a_pillars_flavor_is_the_administrators_to_make() -> None:
    class Compute:
        def find_flavor(self, name: str, **_: Any) -> None:
            return None

    cloud: Any = SimpleNamespace(is_admin=False, sdk=SimpleNamespace(compute=Compute()))
    with pytest.raises(errors.Forbidden, match="administrator") as caught:
        size.copy_for(cloud, flavor("nano", 64, 1), "kvm", screen.Steps(None))
    assert "--like nano --pillar kvm" in caught.value.hint


# ---- small things


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("https://x.org/a/debian-12-generic.qcow2?x=1", "debian-12-generic"),
        ("/tmp/rootfs.tar.xz", "rootfs"),
        ("disk.img.gz", "disk"),
        (".tar", ".tar"),
        ("https://x.org/", "image"),
    ],
)
def test_names_of_imported_images(source: str, name: str) -> None:
    assert default_name(source) == name


def test_properties_are_name_and_value() -> None:
    assert parse_properties(["a=1", "b=x=y"]) == {"a": "1", "b": "x=y"}
    with pytest.raises(errors.Invalid):
        parse_properties(["a"])


def test_a_wrong_cidr_says_so() -> None:
    assert str(parse_cidr("10.0.0.0/8")) == "10.0.0.0/8"
    with pytest.raises(errors.Invalid, match="host bits"):
        parse_cidr("10.0.0.1/8")


def test_user_data_is_bounded(tmp_path: Any) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"x" * 49_000)
    assert len(launch._user_data(path)) <= 65_535
    path.write_bytes(b"x" * 50_000)
    with pytest.raises(errors.TooLarge):
        launch._user_data(path)


def test_usage_of_cpu_is_a_difference() -> None:
    usage = top.Usage()
    assert usage.percent("a", 10.0, 100.0) is None
    assert usage.percent("a", 11.0, 102.0) == 50.0
    assert usage.percent("a", 1.0, 104.0) is None, "a restarted guest counts from 0"
    assert usage.percent("b", None, 0.0) is None


def test_unknown_memory_is_a_dash() -> None:
    assert top.of(None, None) == "–"
    assert top.of(None, 64, "MiB") == "– / 64 MiB"


def test_a_console_log_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in inside._safe("a\x1b]0;title\x07b\r\n")


def test_a_machine_without_a_floating_ip_is_not_reached() -> None:
    server = SimpleNamespace(name="v", addresses={}, image=None)
    with pytest.raises(errors.Unsupported, match="floating IP"):
        inside.ssh_argv(SimpleNamespace(), server, "", "")  # type: ignore[arg-type]


def test_images_show_no_notes_of_the_sdk() -> None:
    made = SimpleNamespace(properties={"owner_specified.openstack.md5": "", "a": "1", "b": None}, os_distro="debian")
    assert image.properties_of(made) == {"a": "1", "os_distro": "debian"}


def test_every_command_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs/cli.md").read_text()
    for name in commands():
        group, _, verb = name.partition(" ")
        line = next((row for row in text.splitlines() if row.startswith(f"| `trilith {group} ")), "")
        line = line or next((row for row in text.splitlines() if row.startswith(f"| `trilith {group}`")), "")
        assert line, name
        assert not verb or verb in line, name


def test_every_check_of_the_doctor_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs/cli.md").read_text()
    assert not [row.name for row in checks() if f"`{row.name}`" not in text]


async def test_without_root_the_doctor_does_what_it_can(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    settings = Settings(state=tmp_path, listen="127.0.0.1:0")
    only = frozenset({"system", "disk", "kvm", "container", "network", "user-namespaces"})
    found = await examine(settings, tell=lambda finding: None, only=only)
    needs_root = {f.check for f in found if f.level is Level.UNKNOWN}
    assert needs_root == {"kvm", "container", "network", "user-namespaces"}
    assert all("sudo" in f.todo for f in found if f.level is Level.UNKNOWN)
    assert {f.check for f in found} == only


def test_chains_that_drop_forwarded_packets() -> None:
    def chain(family: str, hook: str | None, policy: str | None) -> dict[str, Any]:
        return {"chain": {"family": family, "table": "filter", "name": "FORWARD", "hook": hook, "policy": policy}}

    ruleset = [{"metainfo": {}}, chain("ip", "forward", "drop"), chain("ip6", "forward", "drop"),
               chain("ip", "input", "drop"), chain("inet", "forward", "accept"), chain("ip", None, None)]  # fmt: skip
    assert dropping_chains(ruleset) == ["ip filter FORWARD"]


async def test_missing_programs_name_their_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "shutil.which", lambda name, path=None: None if name in ("nft", "lxc-start") else f"/bin/{name}"
    )
    found = await examine(Settings(state=tmp_path), tell=lambda finding: None, only=frozenset({"packages"}))
    assert [f.level for f in found] == [Level.PROBLEM]
    assert found[0].todo == "apt-get install --no-install-recommends lxc nftables"


def test_doctor_reads_the_operators_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(code: int) -> dict[str, Any]:
        result = CliRunner().invoke(app, ["doctor", "--only", "advisor-rules", "--json"])
        assert result.exit_code == code, result.output
        (finding,) = json.loads(result.stdout)["findings"]
        return dict(finding)

    assert said(0)["text"] == "the shipped ones"
    rules = tmp_path / "rules.yaml"
    monkeypatch.setenv("TRILITH_ADVISOR_RULES", str(rules))
    rules.write_text("preferences:\n  - name: table-network-sdn\n    weight: 0.5\n")
    assert said(0)["text"].endswith("adds or changes table-network-sdn")
    rules.write_text("preferences:\n  - name: table-network-sdn\n    weight: heavy\n")
    broken = said(1)
    assert "line 3" in broken["text"]
    assert "from 0 to 10" in broken["todo"]


@pytest.mark.parametrize(
    ("details", "text", "words"),
    [
        ("a spec is wrong, such as this", "whatever", "a spec is wrong, such as this"),
        (None, "BadRequest: 400: Client Error for url: http://h/x, it is wrong, too", "it is wrong, too"),
        (None, "no words of the cloud", "no words of the cloud"),
    ],
)
def test_the_clouds_words_are_told_whole(details: str | None, text: str, words: str) -> None:
    """Regression: of words with a comma only what came after it was told."""

    class Said(Exception):
        def __init__(self) -> None:
            super().__init__(text)
            self.details = details

    assert client._words(Said()) == words


def test_names_of_others_do_not_steer_the_terminal_that_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda text, **_: asked.append(text))
    screen.confirm("Delete", ["web\x1b[2J\x1b]0;gone\x07", "two"], yes=False)
    screen.confirm("Delete", ["three"], yes=True)
    assert len(asked) == 1
    assert "\x1b" not in asked[0]
    assert asked[0].startswith("Delete web")
