"""The distribution's packages, by the host's own sources and through a private apt state: the host is not touched.

No mirror is named here. What `apt` on this host uses is used, so a user's mirror, proxy and keys hold for images too.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trilith.errors import Backend, Unsupported
from trilith.images.process import run

#: codename → vendor, for the suites that images are built of
VENDORS = {
    "bookworm": "debian",
    "trixie": "debian",
    "jammy": "ubuntu",
    "noble": "ubuntu",
}
KEYRINGS = {
    "debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
}
ETC = Path("/etc/apt")


def host_codename(os_release: Path = Path("/etc/os-release")) -> str:
    """VERSION_CODENAME of this host ("" where there is none)."""
    try:
        text = os_release.read_text()
    except FileNotFoundError:
        return ""
    found = re.search(r"^VERSION_CODENAME=\"?([a-z]+)\"?$", text, re.MULTILINE)
    return found[1] if found else ""


def _suite_of(suite: str, codename: str) -> bool:
    return suite in {codename, f"{codename}-updates", f"{codename}-security", f"{codename}/updates"}


def _one_line(text: str, codename: str) -> list[str]:
    kept = []
    for line in text.splitlines():
        entry = re.match(r"^deb\s+(\[[^]]*]\s+)?(\S+)\s+(\S+)\s+(.+)$", line.split("#")[0].strip())
        if entry and _suite_of(entry[3], codename) and "main" in entry[4].split():
            kept.append(entry[0])
    return kept


def _deb822(text: str, codename: str) -> list[str]:
    kept = []
    for stanza in re.split(r"\n\s*\n", text):
        lines = [line for line in stanza.splitlines() if line and not line.startswith("#")]
        fields: dict[str, str] = {}
        name = ""
        for line in lines:
            if line[0].isspace():
                fields[name] += "\n" + line
            else:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        suites = [suite for suite in fields.get("suites", "").split() if _suite_of(suite, codename)]
        wanted = "deb" in fields.get("types", "").split() and "main" in fields.get("components", "").split()
        if suites and wanted and fields.get("enabled", "yes").lower() not in {"no", "false", "0"}:
            fields |= {"types": "deb", "suites": " ".join(suites)}
            kept.append("\n".join(f"{key.title()}: {value}" for key, value in fields.items()))
    return kept


def sources(codename: str, *, mirror: str = "", etc: Path = ETC) -> tuple[str, str]:
    """(one-line entries, deb822 stanzas) that serve a release: the host's own, or of `mirror`.

    Raises Unsupported when neither serves it, saying what is missing.
    """
    vendor = VENDORS[codename]
    if mirror:
        if not re.fullmatch(r"(https?|file|copy)://?[^\s\[\]]+", mirror):
            raise Unsupported(f"{mirror!r} is not the URL of a package mirror.", capability="image.build")
        keyring = KEYRINGS[vendor]
        if not Path(keyring).exists():
            raise Unsupported(
                f"The keys of {vendor} are missing: {keyring}.",
                capability="image.build",
                hint=f"Install the package {vendor}-archive-keyring (on Debian: ubuntu-keyring for Ubuntu's).",
            )
        components = "main universe" if vendor == "ubuntu" else "main"
        lines = [f"deb [signed-by={keyring}] {mirror} {codename} {components}"]
        lines += [f"deb [signed-by={keyring}] {mirror} {codename}-updates {components}"]
        return "\n".join(lines) + "\n", ""
    one_line: list[str] = []
    stanzas: list[str] = []
    lists = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]
    for path in lists:
        if path.exists():
            one_line += _one_line(path.read_text(), codename)
    for path in sorted((etc / "sources.list.d").glob("*.sources")):
        stanzas += _deb822(path.read_text(), codename)
    if not one_line and not stanzas:
        raise Unsupported(
            f"No package source of this host serves {vendor} {codename}.",
            capability="image.build",
            hint=f"Name one with --mirror URL, or add a source of {codename} to /etc/apt/sources.list.d.",
        )
    return "\n".join(one_line) + ("\n" if one_line else ""), "\n\n".join(stanzas) + ("\n" if stanzas else "")


def write_sources(folder: Path, codename: str, *, mirror: str = "") -> list[Path]:
    """The same as files, for tools that take lists of sources."""
    one_line, stanzas = sources(codename, mirror=mirror)
    made = []
    for name, text in (("image.list", one_line), ("image.sources", stanzas)):
        if text:
            (folder / name).write_text(text)
            made.append(folder / name)
    return made


def require_host() -> None:
    """Raises Unsupported where packages cannot be had at all."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Unsupported(
                f"{tool} is missing: images are built from Debian's or Ubuntu's packages.",
                capability="image.build",
                hint="Build on Debian or Ubuntu, or import a ready image.",
            )


@dataclass(frozen=True, slots=True)
class Apt:
    """A private apt: own lists, own cache, nothing installed."""

    folder: Path
    env: dict[str, str]

    @classmethod
    async def prepare(cls, folder: Path, codename: str, *, mirror: str = "", timeout: float = 300) -> Apt:
        """Fetch the package lists. Raises Unsupported (no source) or Backend (apt's own words)."""
        require_host()
        for part in ("state/lists/partial", "cache/archives/partial", "parts", "prefs"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "state" / "status").touch()
        write_sources(folder / "parts", codename, mirror=mirror)
        config = folder / "apt.conf"
        config.write_text(
            f'Dir::State "{folder}/state";\nDir::State::status "{folder}/state/status";\n'
            f'Dir::Cache "{folder}/cache";\nDir::Etc::sourcelist "/dev/null";\n'
            f'Dir::Etc::sourceparts "{folder}/parts";\nDir::Etc::preferences "/dev/null";\n'
            f'Dir::Etc::preferencesparts "{folder}/prefs";\n'
            # apt drops to its own user, which cannot write into a private folder
            'APT::Sandbox::User "root";\nAPT::Install-Recommends "false";\nAcquire::Languages "none";\n'
            'Acquire::Retries "3";\nAcquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";\n'
        )
        made = cls(
            folder, {**os.environ, "APT_CONFIG": str(config), "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
        )
        await run(["apt-get", "-q", "update", "--error-on=any"], timeout=timeout, env=made.env)
        return made

    async def closure(self, packages: Sequence[str], *, timeout: float = 60) -> list[str]:
        """Names of the packages with all they depend on."""
        out = await run(["apt-get", "-q", "-y", "--print-uris", "install", *packages], timeout=timeout, env=self.env)
        return [line.split()[1].split("_")[0] for line in out.decode().splitlines() if line.startswith("'")]

    async def depends(self, package: str, *, timeout: float = 60) -> list[str]:
        """Direct dependencies; empty when there is no such package."""
        try:
            out = await run(["apt-cache", "depends", package], timeout=timeout, env=self.env)
        except Backend:
            return []
        return re.findall(r"^\s+\|?Depends: <?([^\s<>]+)>?$", out.decode(), re.MULTILINE)

    async def extract(self, packages: Iterable[str], root: Path, *, timeout: float = 600) -> None:
        """Download packages and unpack them into `root`, running nothing of theirs."""
        archives = self.folder / "cache" / "archives"
        await run(["apt-get", "-q", "download", *packages], timeout=timeout, env=self.env, cwd=archives)
        os.makedirs(root, exist_ok=True)
        for deb in sorted(archives.glob("*.deb")):
            await run(["dpkg-deb", "-x", deb, root], timeout=timeout)
            deb.unlink()
