"""Key pairs: a user's public keys. A private key is made for the caller and never kept."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trilith import errors
from trilith.commands import quota
from trilith.model.server import KeyPair
from trilith.store.tx import Tx, new_id

_MAX_KEY = 16 * 1024

#: algorithms that a guest's sshd takes, and how a new pair of each is made
ALGORITHMS = ("ed25519", "ecdsa", "rsa")


@dataclass(frozen=True, slots=True)
class Generated:
    """Both halves in OpenSSH's forms."""

    private_key: str
    public_key: str


def generate(algorithm: str = "ed25519", comment: str = "Generated-by-Trilith") -> Generated:
    """A new pair; RSA has 3072 bits, ECDSA is on P-256. Raises Invalid for another algorithm."""
    private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if algorithm == "ed25519":
        private = ed25519.Ed25519PrivateKey.generate()
    elif algorithm == "ecdsa":
        private = ec.generate_private_key(ec.SECP256R1())
    elif algorithm == "rsa":
        private = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    else:
        raise errors.Invalid(f"There is no key algorithm {algorithm!r}.", hint=f"Known: {', '.join(ALGORITHMS)}.")
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return Generated(secret.decode(), f"{public.decode()} {comment}")


def generate_certificate(user_id: str, project_id: str) -> Generated:
    """A self-signed client certificate of ten years as Nova makes it for Windows guests (WinRM maps it to its user by
    the subject's alternative name), and its RSA key of 2048 bits, both PEM."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user_id[:64])])
    principal = f"{user_id}@{project_id}".encode()
    # an otherName of the type UPN (1.3.6.1.4.1.311.20.2.3) holds a DER UTF8String
    upn = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c" + bytes([len(principal)]) + principal)
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([upn]), critical=False)
        .sign(private, hashes.SHA256())
    )
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Generated(secret.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode())


def fingerprint(public_key: str, type: str) -> str:
    """MD5 of an ssh key's blob, SHA-1 of a certificate: Nova's forms. Raises Invalid for what is no key."""
    if len(public_key) > _MAX_KEY:
        raise errors.Invalid("Keypair data is invalid: the key is over 16 KiB.", field="public_key")
    try:
        if type == "x509":
            found = x509.load_pem_x509_certificate(public_key.encode())
            return found.fingerprint(hashes.SHA1()).hex(":")
        serialization.load_ssh_public_key(public_key.strip().encode())
        blob = base64.b64decode(public_key.split()[1], validate=True)
    except (ValueError, UnsupportedAlgorithm, IndexError, UnicodeEncodeError) as err:
        raise errors.Invalid(f"Keypair data is invalid: failed to generate fingerprint ({err})") from err
    return hashlib.md5(blob, usedforsecurity=False).digest().hex(":")


def create(tx: Tx, *, user_id: str, name: str, public_key: str, print_of_key: str, type: str = "ssh") -> KeyPair:
    """Raises Conflict for a name that the user has already, QuotaExceeded at the quota of key pairs."""
    if tx.first(KeyPair, user_id=user_id, name=name) is not None:
        raise errors.Conflict(f"Key pair '{name}' already exists.", field="name")
    own = quota.user_limits(tx, tx.actor.project_id, user_id)
    limit = own.get("key_pairs", quota.limits(tx, tx.actor.project_id, ("key_pairs",))["key_pairs"])
    if 0 <= limit <= tx.count(KeyPair, user_id=user_id):
        raise errors.QuotaExceeded("Quota exceeded, too many key pairs.", hint="Delete one, or raise the quota.")
    return tx.add(
        KeyPair(id=new_id(), name=name, user_id=user_id, public_key=public_key, fingerprint=print_of_key, type=type)
    )


def delete(tx: Tx, user_id: str, name: str) -> None:
    """Servers keep the key that they were made with. Raises Missing."""
    key = tx.first(KeyPair, user_id=user_id, name=name)
    if key is None:
        raise errors.Missing(f"Keypair {name} not found for user {user_id}")
    tx.remove(key)
