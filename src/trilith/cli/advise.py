"""`trilith advise`: which pillar a workload should have, and why."""

from __future__ import annotations

import os
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trilith import errors
from trilith.cli import options, screen

if TYPE_CHECKING:
    from trilith.cli.client import Cloud
    from trilith.placement.advisor.answer import Answer

#: characters of a workload's file, which the API bounds
_LARGEST = 65_536


class Language(StrEnum):
    EN = "en"
    ZH = "zh"


def advise(
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Demands as YAML; - is standard input.", metavar="FILE")
    ] = None,
    server: Annotated[str, typer.Option(help="A running server, with what it was seen to use.")] = "",
    image: Annotated[str, typer.Option(help="An image, as a request for a server would name it.")] = "",
    flavor: Annotated[str, typer.Option(help="With --image: the flavor. Default: the smallest that holds it.")] = "",
    report: Annotated[
        Path | None, typer.Option(help="Write a page for people who decide: one HTML file.", metavar="FILE")
    ] = None,
    language: Annotated[Language, typer.Option(help="Of questions, answer and report.")] = Language.EN,
    os_cloud: options.OsCloud = "",
    clouds_yaml: options.CloudsYaml = None,
    as_json: options.AsJson = False,
) -> None:
    """Say which pillar (KVM, Xen or LXC) a workload should have, why, and what would change the answer.

    Without --file, --server or --image it asks at the terminal; Enter passes over a question. The exit code is 1 when
    no pillar of this cloud meets the demands.

    Examples:

      trilith advise

      trilith advise --file workload.yaml --report advice.html --language zh

      trilith advise --server web1 --json | jq .advice.summary
    """
    from trilith.cli.client import connect

    ways = [name for name, given in (("--file", file), ("--server", server), ("--image", image)) if given]
    if len(ways) > 1:
        raise errors.Invalid(f"{' and '.join(ways)} are two questions.", hint="Give one of them.")
    if flavor and not image:
        raise errors.Invalid("--flavor is given with --image.", field="flavor")
    asked = _document(file) if file is not None else None
    with connect(os_cloud, clouds_yaml) as cloud:
        if asked is None:
            asked = _asked(cloud, server, image, flavor, language)
        found = cloud.native.advise(asked)
        answer = decoded(found)
    if report is not None:
        from trilith.cli.report.page import render

        write_whole(report, render(answer, language.value))
    if as_json:
        screen.document(found)
    else:
        from trilith.cli.advice_text import lines

        for line in lines(answer, language.value):
            screen.line(screen.printable(line))
        if report is not None:
            screen.line(f"\n{report}")
    if answer.advice.choice is None:
        raise typer.Exit(1)


def _asked(cloud: Cloud, server: str, image: str, flavor: str, language: Language) -> dict[str, Any]:
    if server:
        return {"server": cloud.server(server).id}
    if image:
        from trilith.cli import launch, size

        chosen = launch.image_named(cloud, image)
        with screen.progress() as steps:
            return {"image": chosen.id, "flavor": size.flavor_for(cloud, flavor, "", chosen, steps).id}
    from trilith.cli.questions import ask

    return {"workload": ask(language.value)}


def _document(file: Path) -> dict[str, Any]:
    """Raises Invalid for a file that cannot be read."""
    try:
        text = sys.stdin.read(_LARGEST + 1) if str(file) == "-" else file.read_text("utf-8")
    except OSError as err:
        raise errors.Invalid(f"{file} cannot be read: {err.strerror}", field="file") from err
    except UnicodeDecodeError as err:
        raise errors.Invalid(f"{file} is not UTF-8: {err.reason}.", field="file") from err
    if len(text) > _LARGEST:
        raise errors.TooLarge(f"{file} is over {_LARGEST} characters.", field="file")
    source = "standard input" if str(file) == "-" else file.name
    return {"document": {"text": text, "source": source[:255]}}


def decoded(found: dict[str, Any]) -> Answer:
    """Raises Backend where the cloud's answer is of another form."""
    import msgspec

    from trilith.placement.advisor.answer import Answer

    try:
        return msgspec.convert(found, Answer)
    except msgspec.ValidationError as err:
        raise errors.Backend(
            f"The cloud's advice cannot be read: {err}", hint="Is this command of the same version? trilith version"
        ) from err


def write_whole(path: Path, text: str) -> None:
    """The whole file or none of it: who reads it meanwhile sees the one before. Raises Invalid."""
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(text)
                file.flush()
                mask = os.umask(0)
                os.umask(mask)
                temporary.chmod(0o666 & ~mask)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as err:
        raise errors.Invalid(f"{path} cannot be written: {err.strerror}", field="report") from err
