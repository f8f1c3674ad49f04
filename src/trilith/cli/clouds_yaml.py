"""The `trilith` entry of clouds.yaml: merged, never clobbering what else is there, readable by its owner only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from trilith import errors
from trilith.config import Settings


def path(settings: Settings) -> Path:
    if settings.clouds_yaml:
        return Path(settings.clouds_yaml)
    return Path.home() / ".config" / "openstack" / "clouds.yaml"


def merge(settings: Settings, password: str) -> Path:
    """Write the entry. Raises Conflict for a file that is no mapping of clouds; it is then left alone."""
    file = path(settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    known: Any = {}
    if file.exists():
        try:
            known = yaml.safe_load(file.read_text()) or {}
        except yaml.YAMLError as err:
            raise errors.Conflict(f"{file} is no YAML: {err}", hint="Mend it, or give --clouds-yaml.") from err
    if not isinstance(known, dict) or not isinstance(known.setdefault("clouds", {}), dict):
        raise errors.Conflict(f"{file} holds no `clouds` mapping.", hint="Mend it, or give --clouds-yaml.")
    known["clouds"]["trilith"] = {
        "auth": {
            "auth_url": f"{settings.url}/identity/v3",
            "username": "admin",
            "password": password,
            "project_name": "admin",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
        "region_name": settings.region,
        "identity_api_version": "3",
    }
    fresh = file.with_name(f".{file.name}.trilith")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as f:
        yaml.safe_dump(known, f, sort_keys=False)
    fresh.replace(file)
    return file
