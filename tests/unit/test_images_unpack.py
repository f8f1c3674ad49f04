"""The rules of unpacking, on headers alone: no root and no disk needed."""

from __future__ import annotations

import tarfile

import pytest

from trilith.drivers.storage.inside.unpack import Policy, Refused


def member(name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", size: int = 0, uid: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.uid = kind, link, size, uid
    return info


@pytest.fixture
def policy() -> Policy:
    return Policy(max_bytes=1000, max_files=5)


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "./..", "a/b/../c"])
def test_climbing_names_are_refused(policy: Policy, name: str) -> None:
    with pytest.raises(Refused, match="climbs out"):
        policy.admit(member(name))


def test_absolute_names_are_refused(policy: Policy) -> None:
    with pytest.raises(Refused, match="absolute"):
        policy.admit(member("/etc/passwd"))


def test_nothing_is_written_below_a_symbolic_link(policy: Policy) -> None:
    assert policy.admit(member("out", tarfile.SYMTYPE, link="/etc")) == "out"
    with pytest.raises(Refused, match="below the symbolic link 'out'"):
        policy.admit(member("./out/cron.d/evil"))


def test_a_link_that_was_replaced_is_no_link_any_more(policy: Policy) -> None:
    policy.admit(member("a", tarfile.SYMTYPE, link="/etc"))
    assert policy.admit(member("a")) == "a"
    with pytest.raises(Refused, match="below the file"):
        policy.admit(member("a/b"))


def test_a_folder_cannot_replace_a_link(policy: Policy) -> None:
    policy.admit(member("a", tarfile.SYMTYPE, link="/etc"))
    with pytest.raises(Refused, match="replaces"):
        policy.admit(member("a", tarfile.DIRTYPE))


@pytest.mark.parametrize("target", ["/etc/shadow", "../../etc/shadow", "not-there"])
def test_hard_links_lead_to_unpacked_files_only(policy: Policy, target: str) -> None:
    with pytest.raises(Refused):
        policy.admit(member("x", tarfile.LNKTYPE, link=target))


def test_a_hard_link_to_a_link_is_refused(policy: Policy) -> None:
    policy.admit(member("a", tarfile.SYMTYPE, link="/etc/shadow"))
    with pytest.raises(Refused, match="hard link"):
        policy.admit(member("b", tarfile.LNKTYPE, link="a"))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_device_nodes_are_passed_over(policy: Policy, kind: bytes) -> None:
    assert policy.admit(member("dev/sda", kind)) is None


def test_bytes_are_bounded(policy: Policy) -> None:
    policy.admit(member("a", size=600))
    with pytest.raises(Refused, match="unpacks to more"):
        policy.admit(member("b", size=600))


def test_files_are_counted(policy: Policy) -> None:
    for number in range(5):
        policy.admit(member(f"f{number}"))
    with pytest.raises(Refused, match="more than 5 files"):
        policy.admit(member("one-more"))


def test_owners_outside_of_a_containers_range_are_refused(policy: Policy) -> None:
    with pytest.raises(Refused, match="outside of 0 to 65535"):
        policy.admit(member("a", uid=100_000))
