"""Credentials (sealed), EC2's among them, and the legacy policy documents."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec

from trilith import errors
from trilith.commands.identity_rules import hex_id, merged
from trilith.model.identity import Credential, PolicyBlob, Project, User
from trilith.store.tx import Reader, Tx

#: bytes of a totp secret at least: Keystone asks for 16 letters of base32
TOTP_SHORTEST = 10


class Ec2Blob(msgspec.Struct, omit_defaults=True):
    access: str
    secret: str
    trust_id: str | None = None
    app_cred_id: str | None = None


def ec2_id(access: str) -> str:
    """Keystone's id of an EC2 credential: SHA-256 of its access key, so that the id need not reveal it."""
    return hashlib.sha256(access.encode()).hexdigest()


def _context(credential_id: str) -> str:
    return f"credentials.blob:{credential_id}"


def blob_of(reader: Reader, credential: Credential) -> str:
    return reader.sealer.open(credential.blob, context=_context(credential.id)).decode()


def ec2_blob(text: str) -> Ec2Blob:
    """Raises Invalid."""
    try:
        return msgspec.json.decode(text, type=Ec2Blob)
    except (msgspec.DecodeError, msgspec.ValidationError) as err:
        raise errors.Invalid(
            f"The blob of an EC2 credential must be JSON with access and secret: {err}.", field="blob"
        ) from err


def create_credential(
    tx: Tx, *, user_id: str, type: str, blob: str, project_id: str = "", app_credential_id: str = ""
) -> Credential:
    """Raises Missing for an unknown user or project, Invalid for an EC2 one without project or keys, Conflict."""
    id = hex_id()
    if type == "ec2":
        if not project_id:
            raise errors.Invalid("An EC2 credential needs a project_id.", field="project_id")
        id = ec2_id(ec2_blob(blob).access)
        if tx.find(Credential, id) is not None:
            raise errors.Conflict("That EC2 access key is taken.")
    elif type == "totp":
        totp_secret(blob)
    tx.get(User, user_id)
    if project_id:
        tx.get(Project, project_id)
    return tx.add(
        Credential(
            id=id,
            user_id=user_id,
            type=type,
            blob=tx.sealer.seal(blob.encode(), context=_context(id)),
            project_id=project_id,
            app_credential_id=app_credential_id,
        )
    )


def update_credential(tx: Tx, credential_id: str, changes: dict[str, Any], blob: str | None) -> Credential:
    """What a credential is (id, type, owner, scope) stays; its blob may change.

    Raises Missing; Invalid for another change, or an EC2 blob without keys.
    """
    credential = tx.get(Credential, credential_id)
    for name, value in changes.items():
        if value != getattr(credential, name):
            raise errors.Invalid(f"{name} of a credential cannot be changed.", field=name)
    if blob is None:
        return credential
    if credential.type == "totp":
        totp_secret(blob)
    if credential.type == "ec2":
        given, kept = ec2_blob(blob), ec2_blob(blob_of(tx, credential))
        if (given.trust_id, given.app_cred_id) != (kept.trust_id, kept.app_cred_id):
            raise errors.Invalid("What an EC2 credential was delegated by cannot be changed.", field="blob")
    # a new secret has passcodes of its own, none of which was used
    return tx.change(credential, used_step=0, blob=tx.sealer.seal(blob.encode(), context=_context(credential.id)))


def totp_secret(blob: str) -> bytes:
    """Raises Invalid for what could never log anyone in."""
    text = blob.strip().upper()
    try:
        secret = base64.b32decode(text + "=" * (-len(text) % 8))
    except ValueError as err:
        raise errors.Invalid("The blob of a totp credential must be a secret in base32.", field="blob") from err
    if len(secret) < TOTP_SHORTEST:
        raise errors.Invalid("The secret of a totp credential needs 16 letters of base32 or more.", field="blob")
    return secret


def delete_credential(tx: Tx, credential_id: str) -> None:
    """Raises Missing."""
    tx.remove(tx.get(Credential, credential_id))


def create_policy(tx: Tx, policy: PolicyBlob) -> PolicyBlob:
    return tx.add(policy)


def update_policy(tx: Tx, policy_id: str, changes: dict[str, Any]) -> PolicyBlob:
    """Raises Missing."""
    policy = tx.get(PolicyBlob, policy_id)
    return tx.change(policy, **merged(policy, changes)) if changes else policy


def delete_policy(tx: Tx, policy_id: str) -> None:
    """Raises Missing."""
    tx.remove(tx.get(PolicyBlob, policy_id))
