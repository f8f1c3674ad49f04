"""Sealed columns and the master key."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from trilith import errors
from trilith.store.seal import Sealer, load_master_key

OLD, NEW = b"o" * 32, b"n" * 32


def test_what_is_sealed_is_opened_again_and_never_looks_the_same() -> None:
    sealer = Sealer([NEW])
    one, two = (sealer.seal(b"plain", context="c") for _ in range(2))
    assert one != two
    assert sealer.open(one, context="c") == sealer.open(two, context="c") == b"plain"
    assert b"plain" not in base64.b64decode(one.split(":")[2])
    assert sealer.open(sealer.seal(b"", context="c"), context="c") == b""


def test_a_sealed_text_cannot_be_moved_to_another_row() -> None:
    sealer = Sealer([NEW])
    sealed = sealer.seal(b"plain", context="credential:1")
    with pytest.raises(errors.Backend):
        sealer.open(sealed, context="credential:2")


def test_a_rotated_key_opens_what_the_older_one_sealed() -> None:
    before = Sealer([OLD])
    sealed = before.seal(b"plain", context="c")
    after = Sealer([NEW, OLD])
    assert after.open(sealed, context="c") == b"plain"
    with pytest.raises(errors.Backend):  # and seals with the newer
        before.open(after.seal(b"plain", context="c"), context="c")
    with pytest.raises(errors.Backend):
        Sealer([NEW]).open(sealed, context="c")


def tampered(sealed: str) -> list[str]:
    version, key, text = sealed.split(":")
    raw = bytearray(base64.b64decode(text))
    raw[-1] ^= 1
    flipped = base64.b64encode(bytes(raw)).decode()
    return [
        f"{version}:{key}:{flipped}",
        f"{version}:{key}:{text[:8]}",
        f"{version}:{key}:*",
        f"v2:{key}:{text}",
        f"{version}:00000000:{text}",
        f"{version}:{key}",
        "plain text",
        "",
    ]


@pytest.mark.parametrize("which", range(8))
def test_what_was_tampered_with_is_refused_with_a_hint(which: int) -> None:
    sealer = Sealer([NEW])
    with pytest.raises(errors.Backend) as refused:
        sealer.open(tampered(sealer.seal(b"plain", context="c"))[which], context="c")
    assert "master.key" in refused.value.hint


def test_keys_for_purposes_differ_and_stay() -> None:
    sealer = Sealer([NEW, OLD])
    assert sealer.derive("tokens") == Sealer([NEW]).derive("tokens")
    assert len({sealer.derive("tokens"), sealer.derive("metadata"), Sealer([OLD]).derive("tokens"), NEW}) == 4


def test_the_key_file_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "master.key"
    sealed = load_master_key(path).seal(b"plain", context="c")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["master.key"]
    assert load_master_key(path).open(sealed, context="c") == b"plain"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "master.key"
    load_master_key(path)
    path.chmod(mode)
    with pytest.raises(errors.Backend, match="read by others"):
        load_master_key(path)


@pytest.mark.parametrize("content", [b"", b"\n", base64.b64encode(b"short"), b"***", b"\xff" * 44])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(errors.Backend, match="no 32-byte key"):
        load_master_key(path)
    assert path.read_bytes() == content
