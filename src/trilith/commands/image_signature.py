"""Signatures of images: what the four img_signature_* properties promise is checked when the data comes in.

The key's certificate is a file that the operator put into the state directory: image-certificates/UUID.pem. There is no
key manager to fetch it from; a signed image whose certificate is not there is refused, never taken unverified.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from trilith import errors

_HASHES = {"SHA-224": "sha224", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}
#: key types of elliptic curves → the curve's name in the cryptography library
_CURVES = {
    "ECC_SECT571K1": "sect571k1",
    "ECC_SECT409K1": "sect409k1",
    "ECC_SECT571R1": "sect571r1",
    "ECC_SECT409R1": "sect409r1",
    "ECC_SECP521R1": "secp521r1",
    "ECC_SECP384R1": "secp384r1",
}
_NAMES = ("img_signature", "img_signature_hash_method", "img_signature_key_type", "img_signature_certificate_uuid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """hash_name: of hashlib. pem: the certificate."""

    signature: bytes
    hash_name: str
    key_type: str
    pem: bytes

    def verify(self, digest: bytes) -> None:
        """digest: of the data, by hash_name. Raises Invalid for another signature than the key's of this data."""
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
        from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
        from cryptography.x509 import load_pem_x509_certificate

        method: dict[str, Callable[[], hashes.HashAlgorithm]]
        method = {"sha224": hashes.SHA224, "sha256": hashes.SHA256, "sha384": hashes.SHA384, "sha512": hashes.SHA512}
        chosen = method[self.hash_name]()
        try:
            certificate = load_pem_x509_certificate(self.pem)
            key = certificate.public_key()
        except (ValueError, UnsupportedAlgorithm) as err:
            raise errors.Invalid(f"Signature verification failed: the certificate cannot be read: {err}.") from err
        now = datetime.now(UTC)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise errors.Invalid("Signature verification failed: the certificate is not valid now.")
        try:
            if self.key_type == "RSA-PSS" and isinstance(key, rsa.RSAPublicKey):
                pss = padding.PSS(mgf=padding.MGF1(chosen), salt_length=padding.PSS.MAX_LENGTH)
                key.verify(self.signature, digest, pss, Prehashed(chosen))
            elif self.key_type == "DSA" and isinstance(key, dsa.DSAPublicKey):
                key.verify(self.signature, digest, Prehashed(chosen))
            elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == _CURVES.get(self.key_type):
                key.verify(self.signature, digest, ec.ECDSA(Prehashed(chosen)))
            else:
                raise errors.Invalid(f"Signature verification failed: the certificate's key is no {self.key_type}.")
        except InvalidSignature as err:
            raise errors.Invalid("Signature verification failed: it is not of this data by this key.") from err


def signature_of(properties: Mapping[str, str], state: Path) -> Signature | None:
    """None for an image that is not signed: one that lacks any of the four properties. Blocking. Raises Invalid for one
    that can never be verified."""
    if any(not properties.get(name) for name in _NAMES):
        return None
    text, hash_method, key_type, certificate = (properties[name] for name in _NAMES)
    if hash_method not in _HASHES:
        raise errors.Invalid(f"Invalid signature hash method: {hash_method}.", field=_NAMES[1])
    if key_type not in ("RSA-PSS", "DSA", *_CURVES):
        raise errors.Invalid(f"Invalid signature key type: {key_type}.", field=_NAMES[2])
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as err:
        raise errors.Invalid("The signature is no base64.", field=_NAMES[0]) from err
    try:
        name = str(uuid.UUID(certificate))
        pem = (state / "image-certificates" / f"{name}.pem").read_bytes()
    except (ValueError, FileNotFoundError) as err:
        raise errors.Invalid(
            f"Signature verification failed: there is no certificate {certificate[:64]}.",
            hint="The operator puts it into the state directory as image-certificates/UUID.pem.",
            field=_NAMES[3],
        ) from err
    return Signature(signature=raw, hash_name=_HASHES[hash_method], key_type=key_type, pem=pem)
