"""Signed images: verified as they come, or refused."""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.api.conftest import ApiCloud

UUID = "11111111-2222-3333-4444-555555555555"
DATA = os.urandom(50_000)
OCTETS = {"Content-Type": "application/octet-stream"}


def _certify(cloud: ApiCloud, key: Any, *, days: int = 1) -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "signer")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    directory = cloud.cloud.settings.state / "image-certificates"
    directory.mkdir(exist_ok=True)
    (directory / f"{UUID}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))


async def _upload(cloud: ApiCloud, signature: bytes, kind: str, data: bytes) -> Any:
    alice = await cloud.member()
    body = {
        "disk_format": "raw",
        "container_format": "bare",
        "img_signature": base64.b64encode(signature).decode(),
        "img_signature_hash_method": "SHA-256",
        "img_signature_key_type": kind,
        "img_signature_certificate_uuid": UUID,
    }
    id = (await cloud.call("POST", "/image/v2/images", alice, json=body)).json()["id"]
    answer = await cloud.call("PUT", f"/image/v2/images/{id}/file", alice | OCTETS, content=data)
    state = (await cloud.call("GET", f"/image/v2/images/{id}", alice)).json()["status"]
    return answer, state


@pytest.mark.parametrize("kind", ["RSA-PSS", "ECC_SECP384R1"])
async def test_only_what_was_signed_is_taken(cloud: ApiCloud, kind: str) -> None:
    key: Any
    if kind == "RSA-PSS":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.MAX_LENGTH)
        signature = key.sign(DATA, pss, hashes.SHA256())
    else:
        key = ec.generate_private_key(ec.SECP384R1())
        signature = key.sign(DATA, ec.ECDSA(hashes.SHA256()))
    answer, state = await _upload(cloud, signature, kind, DATA)
    assert (answer.status_code, state) == (400, "queued")
    assert "no certificate" in answer.text
    _certify(cloud, key)
    answer, state = await _upload(cloud, signature, kind, DATA)
    assert (answer.status_code, state) == (204, "active")
    answer, state = await _upload(cloud, signature, kind, DATA + b"x")
    assert (answer.status_code, state) == (400, "queued")
    assert "not of this data" in answer.text
    answer, state = await _upload(cloud, signature, "DSA", DATA)
    assert (answer.status_code, state) == (400, "queued")
    _certify(cloud, key, days=-1)
    answer, state = await _upload(cloud, signature, kind, DATA)
    assert (answer.status_code, state) == (400, "queued")
    assert "not valid now" in answer.text
