"""The compute contract on real containers, and what only containers have."""

# ruff: noqa: ASYNC221, ASYNC240 (the loop under test has nothing else to do)
from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import tarfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.contracts.compute_suite", "tests.contracts.lxc_bench")

from tests.contracts.compute_suite import ComputeSuite, Listener, fact, power, said  # noqa: E402
from tests.contracts.lxc_bench import LxcBench, busybox_root, lxc_bench  # noqa: E402
from trilith.drivers.lxc import config, state, watch  # noqa: E402
from trilith.errors import Backend, Conflict, Invalid, Unsupported  # noqa: E402
from trilith.model.guest import GuestEventKind, GuestSpec, MachineIdentity, PowerState, RescueSpec  # noqa: E402
from trilith.model.instance import InjectedFile  # noqa: E402

pytestmark = [pytest.mark.root, pytest.mark.lxc]


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return busybox_root(tmp_path_factory.mktemp("image") / "root")


@pytest.fixture
async def bench(image: Path) -> AsyncIterator[LxcBench]:
    async with lxc_bench(image) as made:
        yield made


class TestLxc(ComputeSuite):
    @pytest.fixture
    async def bench(self, image: Path) -> AsyncIterator[LxcBench]:
        async with lxc_bench(image) as made:
            yield made


async def run(bench: LxcBench, spec: GuestSpec, script: str) -> str:
    done = await bench.driver.execute(spec.server_id, ["sh", "-c", script], timeout=30)
    assert done.exit_code == 0, (script, done)
    return done.stdout.decode().strip()


def rescued(spec: GuestSpec) -> GuestSpec:
    return replace(spec, rescue=RescueSpec(image=spec.image))


async def test_a_rescue_boots_another_root_with_its_own_at_mnt(bench: LxcBench) -> None:
    driver, spec = bench.driver, bench.spec()
    await driver.start(spec)
    await run(bench, spec, "echo mine > /root/mine; chown 1000:1000 /root/mine")
    await driver.stop(spec.server_id, timeout=0)
    for _ in range(2):  # laid out again after a crash it is the same rescue
        await driver.create(rescued(spec))
    await driver.start(rescued(spec))
    assert await run(bench, spec, "cat /mnt/root/mine; stat -c %u /mnt/root/mine; ls /root") == "mine\n1000"
    await run(bench, spec, "echo repaired > /mnt/root/mine; echo gone > /root/rescue")
    await driver.stop(spec.server_id, timeout=0)
    await driver.create(spec)
    assert not (bench.state / "pool" / f"{spec.server_id}.rescue").exists()
    await driver.start(spec)
    assert await run(bench, spec, "cat /root/mine; ls /root") == "repaired\nmine"


async def test_a_rescued_container_is_deleted_whole(bench: LxcBench) -> None:
    spec = bench.spec()
    await bench.driver.create(rescued(spec))
    await bench.driver.start(rescued(spec))
    await bench.driver.delete(spec.server_id)
    assert await bench.leftovers() == []


async def test_files_of_a_personality_lie_in_the_root(bench: LxcBench) -> None:
    """Once: what the guest does with them later is its own affair."""
    files = (InjectedFile(path="/etc/given", content=b"hello"), InjectedFile(path="bin/tool", content=b"#!/bin/sh"))
    spec = replace(bench.spec(), files=files)
    await bench.driver.create(spec)
    await bench.driver.start(spec)
    assert await run(bench, spec, "cat /etc/given; stat -c ' %a %u' /etc/given") == "hello 660 0"
    assert await run(bench, spec, "ls -d /bin/busybox /bin/tool | wc -l") == "2", "the image's own are still seen"
    await run(bench, spec, "echo changed >/etc/given")
    await bench.driver.stop(spec.server_id, timeout=0)
    await bench.driver.start(spec)
    assert await run(bench, spec, "cat /etc/given") == "changed"


async def test_a_password_goes_by_standard_input(bench: LxcBench) -> None:
    driver, spec = bench.driver, bench.spec()
    await driver.create(spec)
    with pytest.raises(Conflict):
        await driver.set_password(spec.server_id, "", "early")
    await driver.start(spec)
    # stands in for shadow's: what it is given must come by its standard input, and by nothing else
    script = "#!/bin/sh\ncat > /root/given\necho $# >> /root/given\n! grep -q Refuse /root/given\n"
    await run(bench, spec, f"cat > /bin/chpasswd <<'E'\n{script}E\nchmod 755 /bin/chpasswd")
    await driver.set_password(spec.server_id, "", "Newpass1234")
    assert await run(bench, spec, "cat /root/given") == "root:Newpass1234\n0"
    with pytest.raises(Invalid):
        await driver.set_password(spec.server_id, "", "two\nlines")
    with pytest.raises(Invalid):
        await driver.set_password(spec.server_id, "root:x", "secret")
    with pytest.raises(Backend, match="chpasswd"):
        await driver.set_password(spec.server_id, "debian", "Refuse-me")


async def test_layers_are_cached_once(bench: LxcBench) -> None:
    """Without direct I/O, cgroup v2 counts the pool file's pages as the writing container's memory."""
    pool = str(bench.state / "pool.img")
    found = subprocess.run(["losetup", "-nO", "DIO", "-j", pool], check=True, capture_output=True, text=True).stdout
    kind = subprocess.run(["stat", "-fc", "%T", pool], check=True, capture_output=True, text=True).stdout.strip()
    assert found.split() == (["0"] if kind == "tmpfs" else ["1"])


async def test_ids_are_the_guests_own_and_unshifted_on_disk(bench: LxcBench, image: Path) -> None:
    spec = bench.spec()
    await bench.driver.start(spec)
    base = spec.identity.id_base
    assert (await run(bench, spec, "cat /proc/self/uid_map")).split() == ["0", str(base), "65536"]
    await run(bench, spec, "touch /root/mine; chown 1000:1000 /root/mine; echo changed > /etc/passwd")
    assert await run(bench, spec, "stat -c %u:%g /bin/busybox /root/mine") == "0:0\n1000:1000"
    found = await fact(bench.driver, spec.server_id)
    assert found is not None
    assert os.stat(f"/proc/{found.pid}").st_uid == base
    layer = bench.state / "pool" / spec.server_id / "up"
    assert (layer / "root/mine").stat().st_uid == 1000
    assert not (layer / "bin").exists(), "nothing of the image is copied"
    assert "user" in (image / "etc/passwd").read_text(), "the image is shared and never written"
    assert f"{bench.state}/ct" not in Path("/proc/self/mounts").read_text(), "no mount of a container shows on the host"


async def test_the_guest_sees_what_cloud_init_looks_for(bench: LxcBench, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "meta_data.json").write_text("{}")
    spec = bench.spec(config_drive=str(tmp_path), hostname="web1")
    await bench.driver.start(spec)
    environment = (await run(bench, spec, "tr '\\0' '\\n' < /proc/1/environ")).splitlines()
    assert {"product_name=OpenStack Nova", "container=lxc"} <= set(environment)
    assert not [line for line in environment if line.startswith(("PYTEST", "VIRTUAL_ENV", "LANG"))]
    assert await run(bench, spec, "cat /config-drive/meta_data.json; hostname") == "{}web1"
    assert "denied" in await run(bench, spec, "touch /config-drive/x 2>&1 && echo written || echo denied")


async def test_state_outlives_a_killed_monitor(bench: LxcBench) -> None:
    spec = bench.spec()
    await bench.driver.start(spec)
    listener = Listener(bench.driver)
    monitor = state.monitor_of(state.Paths(bench.state), spec.server_id)
    assert monitor is not None
    os.kill(monitor.pid, signal.SIGKILL)
    assert await watch.wait_exit(monitor, timeout=20)
    second = await bench.another()
    assert await power(second, spec.server_id) is PowerState.RUNNING
    with pytest.raises(Backend, match="monitor"):
        await second.execute(spec.server_id, ["true"], timeout=5)
    await second.reboot(spec, hard=True)
    assert (await second.execute(spec.server_id, ["true"], timeout=5)).exit_code == 0
    await listener.close()


async def test_power_off_from_inside_and_crash_are_told_apart(bench: LxcBench) -> None:
    spec = bench.spec()
    await bench.driver.start(spec)
    listener = Listener(bench.driver)
    await bench.driver.execute(spec.server_id, ["kill", "-PWR", "1"], timeout=10)
    await listener.until(spec.server_id, GuestEventKind.STOPPED)
    assert await power(bench.driver, spec.server_id) is PowerState.SHUTDOWN
    await bench.driver.start(spec)
    now = state.run_of(state.Paths(bench.state), spec.server_id)
    assert now.monitor is not None
    assert now.init is not None
    os.kill(now.monitor.pid, signal.SIGKILL)
    os.kill(now.init.pid, signal.SIGKILL)
    event = await listener.until(spec.server_id, GuestEventKind.CRASHED)
    assert event.detail
    crashed = await fact(bench.driver, spec.server_id)
    assert crashed is not None
    assert crashed.power is PowerState.CRASHED
    await bench.driver.start(spec)
    assert await power(bench.driver, spec.server_id) is PowerState.RUNNING
    await listener.close()


async def test_a_record_of_an_earlier_boot_is_a_crash(bench: LxcBench) -> None:
    spec = bench.spec()
    await bench.driver.create(spec)
    (bench.state / "run" / f"{spec.server_id}.run").write_text(f"{os.getpid()} 1 another-boot stop\n")
    found = await fact(bench.driver, spec.server_id)
    assert found is not None
    assert (found.power, found.reason) == (PowerState.CRASHED, "The host restarted.")
    await bench.driver.start(spec)
    assert await power(bench.driver, spec.server_id) is PowerState.RUNNING


async def test_console_log_stays_bounded(bench: LxcBench) -> None:
    spec = bench.spec()
    await bench.driver.start(spec)
    await run(
        bench,
        spec,
        "dd if=/dev/zero bs=64k count=80 2>/dev/null | tr '\\0' x | fold -w 99 >/dev/console; echo last >/dev/console",
    )
    await said(bench.driver, spec.server_id, b"last")
    home = bench.state / "ct" / spec.server_id
    sizes = {path.name: path.stat().st_size for path in home.glob("console.log*")}
    assert sum(sizes.values()) <= 2 * config.CONSOLE_BYTES + 65536, sizes
    assert len(await bench.driver.console_log(spec.server_id, max_bytes=1000)) == 1000


async def test_console_session(bench: LxcBench) -> None:
    spec = bench.spec(properties={"trilith_init": "/bin/cat", "trilith_halt_signal": "SIGKILL"})
    await bench.driver.start(spec)
    endpoint = await bench.driver.console(spec.server_id)
    assert endpoint.kind == "unix"
    reader, writer = await asyncio.open_unix_connection(endpoint.address)
    async with asyncio.timeout(20):
        writer.write(b"hello\r")
        seen = b""
        while seen.count(b"hello") < 2:  # the terminal's echo, and cat's answer
            chunk = await reader.read(1000)
            assert chunk, seen
            seen += chunk
        second, other = await asyncio.open_unix_connection(endpoint.address)
        assert b"in use" in await second.read()
        other.close()
    writer.close()
    await writer.wait_closed()


async def test_snapshot_holds_the_merged_root(bench: LxcBench, tmp_path: Path) -> None:
    spec = bench.spec()
    await bench.driver.start(spec)
    await run(
        bench,
        spec,
        "rm /bin/vi; echo new > /etc/new; chown 5:6 /etc/new; ln -s /../../../etc/shadow /etc/out; touch /run/not",
    )
    await run(bench, spec, "mkfifo /tmp/fifo; mkdir /tmp/empty; chmod 1777 /tmp/empty")
    dest = tmp_path / "snap"
    await bench.driver.snapshot(spec.server_id, str(dest))
    raw = subprocess.run(["zstd", "-dc", str(dest)], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        members = {member.name: member for member in tar.getmembers()}
        new = tar.extractfile("./etc/new")
        assert new is not None
        assert new.read() == b"new\n"
    assert (members["./etc/new"].uid, members["./etc/new"].gid) == (5, 6)
    assert members["./bin/busybox"].uid == 0
    assert "./bin/vi" not in members
    assert members["./etc/out"].issym()
    assert members["./tmp/fifo"].isfifo()
    assert members["./tmp/empty"].mode == 0o1777
    for name in ("proc", "sys", "dev", "run"):
        assert f"./{name}" in members
        assert not [member for member in members if member.startswith(f"./{name}/")], name


async def test_live_resize_is_in_force(bench: LxcBench) -> None:
    spec = bench.spec()
    await bench.driver.start(spec)
    group = config.group(spec.server_id)
    cgroups = bench.driver._node.here.cgroups
    await bench.driver.resize(replace(spec, memory_mib=96, vcpus=2, disk_gib=2, processes_max=32))
    memory = cgroups.trees["memory"] / group / ("memory.max" if cgroups.version == 2 else "memory.limit_in_bytes")
    assert int(memory.read_text()) == 96 << 20
    assert int((cgroups.trees["pids"] / group / "pids.max").read_text()) == 32
    await bench.driver.resize(replace(spec, memory_mib=48, disk_gib=2))
    assert int(memory.read_text()) == 48 << 20
    with pytest.raises(Invalid, match="smaller"):
        await bench.driver.resize(replace(spec, disk_gib=1))
    record = json.loads((bench.state / "ct" / spec.server_id / "guest.json").read_text())
    assert (record["memory_mib"], record["disk_mib"]) == (48, 2048)


async def test_what_can_never_start_is_refused(bench: LxcBench) -> None:
    good = bench.spec()
    bad = {
        "id_base": replace(good, identity=MachineIdentity(smbios_uuid="u", id_base=0)),
        "flavor": replace(good, disk_gib=1, image=replace(good.image, size_mib=1025)),
        "trilith_init": replace(good, properties={"trilith_init": "/bin/sh\nlxc.idmap = u 0 0 65536"}),
        "trilith_halt_signal": replace(good, properties={"trilith_halt_signal": "SIGNOPE"}),
        "image": replace(good, image=replace(good.image, path="/tmp/a:b")),
    }
    for field, spec in bad.items():
        with pytest.raises(Invalid) as refused:
            await bench.driver.create(spec)
        assert field in (refused.value.field, "image"), refused.value
    with pytest.raises(Unsupported):
        await bench.driver.suspend(good.server_id)


async def test_a_failed_start_says_why_and_the_next_works(bench: LxcBench) -> None:
    spec = bench.spec()
    with pytest.raises(Backend, match="did not start") as failed:
        await bench.driver.start(replace(spec, properties={"trilith_init": "/no/such/init"}))
    assert "/no/such/init" in str(failed.value)
    await bench.driver.start(spec)
    assert await power(bench.driver, spec.server_id) is PowerState.RUNNING


async def test_a_container_without_its_record_is_not_started_twice(bench: LxcBench) -> None:
    """As after a kill between the start of the container and its hook's first line."""
    spec = bench.spec()
    await bench.driver.start(spec)
    (bench.state / "run" / f"{spec.server_id}.run").unlink()
    await bench.driver.start(spec)
    assert (await bench.driver.execute(spec.server_id, ["true"], timeout=10)).exit_code == 0
    (bench.state / "run" / f"{spec.server_id}.run").unlink()
    (bench.state / "run" / f"{spec.server_id}.monitor").unlink()
    await bench.driver.delete(spec.server_id)
    assert await bench.leftovers() == []


async def test_a_cancelled_start_can_be_deleted(bench: LxcBench) -> None:
    for delay in (0.005, 0.015, 0.03):
        spec = bench.spec()
        await bench.driver.create(spec)
        task = asyncio.create_task(bench.driver.start(spec))
        await asyncio.sleep(delay)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await bench.driver.delete(spec.server_id)
        assert await bench.leftovers() == [], delay


async def test_a_broken_record_hides_nothing(bench: LxcBench) -> None:
    spec, other = bench.spec(), bench.spec()
    await bench.driver.start(spec)
    await bench.driver.start(other)
    (bench.state / "ct" / spec.server_id / "guest.json").write_text("{")
    assert {found.power for found in await bench.driver.facts()} == {PowerState.RUNNING}
    with pytest.raises(Backend, match="broken"):
        await bench.driver.stop(spec.server_id, timeout=0)
    await bench.driver.delete(spec.server_id)
    assert [found.server_id for found in await bench.driver.facts()] == [other.server_id]


async def test_no_quota_group_stays_behind(bench: LxcBench) -> None:
    pool = str(bench.state / "pool")
    for _ in range(3):
        spec = bench.spec()
        await bench.driver.create(spec)
        await bench.driver.delete(spec.server_id)
    subprocess.run(["btrfs", "filesystem", "sync", pool], check=True, capture_output=True)
    subprocess.run(["btrfs", "subvolume", "sync", pool], check=True, capture_output=True, timeout=60)
    await bench.another()
    shown = subprocess.run(["btrfs", "qgroup", "show", pool], check=True, capture_output=True, text=True).stdout
    assert [line.split()[0] for line in shown.splitlines()[2:]] == ["0/5"], shown


async def test_half_made_is_cleared(bench: LxcBench) -> None:
    """As after a kill between any two steps of create: delete knows what is ours without the last file."""
    spec = bench.spec()
    await bench.driver.create(spec)
    (bench.state / "ct" / spec.server_id / "guest.json").unlink()
    assert await bench.driver.facts() == []
    await bench.driver.delete(spec.server_id)
    assert await bench.leftovers() == []


async def test_another_clouds_container_is_not_deleted(bench: LxcBench) -> None:
    spec = bench.spec()
    await bench.driver.create(spec)
    path = bench.state / "ct" / spec.server_id / "config"
    mine = path.read_text()
    path.write_text(mine.replace(spec.cloud_id, "another"))
    assert await bench.driver.facts() == []
    with pytest.raises(Conflict):
        await bench.driver.delete(spec.server_id)
    with pytest.raises(Conflict):
        await bench.driver.create(spec)
    path.write_text(mine)
