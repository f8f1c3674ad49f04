"""One frozen settings object, from a TOML file, the environment and the command line, in that order of weight.

Every key is documented in docs/settings.md; a test holds the two together.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

import msgspec

from trilith import errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    #: directory of everything this cloud keeps on this machine
    state: Path = Path("/var/lib/trilith")
    #: HOST:PORT of the API
    listen: str = "127.0.0.1:7480"
    #: URL under which clients reach the API; builds catalogue and links. "" is http://<listen>
    public_url: str = ""
    #: region of the catalogue
    region: str = "RegionOne"
    #: "" for the embedded SQLite, or postgresql://…
    database: str = ""
    #: number of simulated nodes; 0 runs the real drivers on this machine
    simulated: int = 0
    #: pillars of the simulated nodes, one entry a node and again from the first, several joined by +: `kvm,xen,lxc+kvm`
    simulated_pillars: tuple[str, ...] = ("lxc+kvm",)
    #: name of this node; "" is the host's name
    node_name: str = ""
    #: seconds that a token is valid
    token_lifetime: float = 24 * 3600.0
    #: failed log-ins before a user is locked out, 0 for never; and for how many seconds
    lockout_attempts: int = 0
    lockout_seconds: float = 1800.0
    #: password rules: unique passwords kept, days until expiry (0: never), regular expression ("" for any)
    password_history: int = 0
    password_days: float = 0.0
    password_regex: str = ""
    #: what password_regex asks for, in words
    password_regex_description: str = ""
    #: days that a user keeps a password before changing it again, 0 for none
    password_minimum_days: float = 0.0
    #: true makes a password that an administrator set expire at once: it must be changed before it can be used
    password_first_use: bool = False
    #: days without a log-in after which a user counts as disabled, 0 for never
    inactive_days: float = 0.0
    #: seconds after which tokens are sealed with a new key, 0 for never by itself; tokens that are out stay good
    token_key_seconds: float = 30 * 24 * 3600.0
    #: how unified limits of domains and projects relate: flat or strict_two_level
    limit_model: Literal["flat", "strict_two_level"] = "flat"
    #: OpenID Connect providers whose tokens are taken, each `issuer|audience`: this cloud's client id there
    oidc_issuers: tuple[str, ...] = field(default_factory=tuple)
    #: bytes of a request body other than an image's
    max_body: int = 1024 * 1024
    #: bytes of an uploaded image
    max_image: int = 64 * 1024**3
    #: false takes an upload whose content is not of the declared disk format (unsafe images are refused always)
    image_format_check: bool = True
    #: hosts, addresses or CIDRs that `web-download` may reach though they are loopback or link-local
    image_import_allow: tuple[str, ...] = field(default_factory=tuple)
    #: further stores of image data: NAME[:WEIGHT]=DIRECTORY, one NAME=http for URLs of others; local:WEIGHT
    image_stores: tuple[str, ...] = field(default_factory=tuple)
    #: disk format that imports are converted to: raw or qcow2; "" leaves them as they are
    image_conversion: str = ""
    #: images show the locations of their data, and PATCH changes them (Glance's show_multiple_locations)
    image_locations: bool = False
    #: YAML file of an operator's own rules for the advisor, over the shipped ones; "" for none
    advisor_rules: str = ""
    #: what limits servers: `database` (os-quota-sets) or `unified` (Keystone's registered limits and limits)
    quota_driver: str = "database"
    #: services (compute) that refuse tokens of a scope that their rules are not for, as Nova does by default
    enforce_scope: tuple[str, ...] = field(default_factory=tuple)
    #: JSON file that every server finds as vendor_data.json; "" for none
    vendordata_file: str = ""
    #: NAME@URL of services that are asked for vendor_data2.json when a server is made or rebuilt
    vendordata_targets: tuple[str, ...] = field(default_factory=tuple)
    #: seconds that each may take; and whether a server fails without its answer
    vendordata_timeout: float = 5.0
    vendordata_required: bool = False
    #: host-only external network
    external_cidr: str = "172.24.4.0/24"
    external_bridge: str = "br-ex"
    integration_bridge: str = "br-int"
    #: "auto" measures the underlay; else bytes
    underlay_mtu: int = 1500
    #: overcommit, as Nova's defaults
    cpu_allocation_ratio: float = 16.0
    ram_allocation_ratio: float = 1.0
    disk_allocation_ratio: float = 1.0
    #: how often the size of a thin pool may be promised to volumes
    volume_allocation_ratio: float = 1.0
    #: kbit/s that this node's servers may be promised together (QoS rules minimum_bandwidth), 0 for no promises
    egress_kbps: int = 0
    ingress_kbps: int = 0
    #: MiB of memory kept for the host
    reserved_memory_mib: int = 512
    #: GiB of the pool for containers' own writes
    container_pool_gib: int = 64
    #: seconds for which tombstones and ended jobs are kept
    tombstone_seconds: float = 30 * 24 * 3600.0
    #: seconds for which the audit (who changed what) is kept
    audit_seconds: float = 90 * 24 * 3600.0
    #: seconds between full reconciliations
    reconcile_seconds: float = 30.0
    #: path of clouds.yaml that `trilith up` merges its entry into; "" is ~/.config/openstack/clouds.yaml
    clouds_yaml: str = ""
    #: seconds in which the URL of a console can be used, which is once
    console_token_seconds: float = 600.0
    #: seconds after which an open console over which nothing passes is closed; 0: never
    console_idle_seconds: float = 3600.0
    #: host names besides this cloud's own whose pages may open a console (Origin of the websocket)
    console_origins: tuple[str, ...] = field(default_factory=tuple)
    #: directory of noVNC's files; "" looks where the distribution's package and scripts/setup.sh put them
    novnc: str = ""
    #: where a test kills the process, `kind:step:moment`
    crash_at: str = ""
    #: name servers for guests when the host's cannot be used
    dns: tuple[str, ...] = field(default_factory=tuple)
    #: run directory of sockets; "" is <state>/run (short enough for unix sockets), or /run/trilith
    run: str = ""

    @property
    def issuers(self) -> dict[str, str]:
        """Of oidc_issuers: issuer → audience. Raises Invalid."""
        found: dict[str, str] = {}
        for entry in self.oidc_issuers:
            issuer, bar, audience = entry.partition("|")
            if not bar or not audience or not issuer.startswith(("https://", "http://")):
                raise errors.Invalid(
                    f"oidc_issuers: {entry!r} is not of the form URL|audience.",
                    hint="For example https://login.example.org/realms/staff|my-cloud.",
                    field="oidc_issuers",
                )
            found[issuer] = audience
        return found

    @property
    def bandwidth(self) -> dict[str, int]:
        """kbit/s to be promised, by Placement's resource classes; what is 0 is not in it."""
        both = {"NET_BW_EGR_KILOBIT_PER_SEC": self.egress_kbps, "NET_BW_IGR_KILOBIT_PER_SEC": self.ingress_kbps}
        return {name: amount for name, amount in both.items() if amount > 0}

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]") or "127.0.0.1"

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return (self.public_url or f"http://{self.listen}").rstrip("/")


def load(path: Path | None = None, **given: Any) -> Settings:
    """File (TOML), then TRILITH_<KEY> of the environment, then what the command line gave. Raises Invalid."""
    settings = Settings()
    if path is not None:
        try:
            settings = _apply(settings, tomllib.loads(path.read_text()), str(path))
        except (OSError, tomllib.TOMLDecodeError) as err:
            raise errors.Invalid(f"{path}: {err}") from err
    names = {f.name for f in fields(Settings)}
    env = {n: os.environ[f"TRILITH_{n.upper()}"] for n in names if f"TRILITH_{n.upper()}" in os.environ}
    settings = _apply(settings, env, "the environment")
    settings = _apply(settings, {k: v for k, v in given.items() if v is not None}, "the command line")
    _ = settings.issuers  # what is wrong in it is told at the start, not at the first log-in
    return settings


def _apply(settings: Settings, values: dict[str, Any], origin: str) -> Settings:
    hints = get_type_hints(Settings)
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in hints:
            known = ", ".join(sorted(hints))
            raise errors.Invalid(f"{origin}: unknown setting {name!r}.", hint=f"Known: {known}.", field=name)
        try:
            if hints[name] is Path:
                changes[name] = Path(value)
            elif hints[name] == tuple[str, ...] and isinstance(value, str):
                changes[name] = tuple(v for v in value.split(",") if v)
            else:
                changes[name] = msgspec.convert(value, hints[name], strict=False)
        except msgspec.ValidationError as err:
            raise errors.Invalid(f"{origin}: {name}: {err}", field=name) from err
    return replace(settings, **changes)
