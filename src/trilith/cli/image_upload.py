"""An image's record and its data into the cloud, with progress; and a file from a URL before that."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from trilith import errors
from trilith.cli.client import Cloud
from trilith.cli.screen import Steps

_CHUNK = 1 << 20


class Told:
    """A file that tells how much of it was read. Sized and iterable, as the sdk's wire wants it."""

    def __init__(self, file: IO[bytes], size: int, tell: Callable[[float], None]) -> None:
        self._file, self._size, self._tell, self._read = file, size, tell, 0

    def __len__(self) -> int:
        return self._size

    def read(self, amount: int = -1) -> bytes:
        data = self._file.read(_CHUNK if amount < 0 else amount)
        self._read += len(data)
        self._tell(self._read / max(1, self._size))
        return data


def same_name(cloud: Cloud, name: str) -> list[Any]:
    """Images of this name that are ours: those a new one would stand beside."""
    return [i for i in cloud.sdk.image.images(name=name) if i.owner_id == cloud.project_id]


def upload(
    cloud: Cloud,
    steps: Steps,
    *,
    name: str,
    path: Path,
    disk_format: str,
    public: bool | None,
    min_disk: int = 0,
    min_ram: int = 0,
    properties: Mapping[str, str] | None = None,
) -> Any:
    """Create, upload, and return the active image; what failed half-way is deleted again.

    public: None makes it public where we are the administrator.
    """
    service = cloud.sdk.image
    visible = cloud.is_admin if public is None else public
    steps.step(f"uploading {name}")
    # not the sdk's create_image: it takes a name for a path where a file of that name lies about, and uploads that
    made = service.post(
        "/images",
        json={
            "name": name,
            "disk_format": disk_format,
            "container_format": "bare",
            "visibility": "public" if visible else "private",
            "min_disk": min_disk,
            "min_ram": min_ram,
            **(properties or {}),
        },
        raise_exc=False,
    )
    if made.status_code >= 400:
        raise _refused(made)
    image_id = made.json()["id"]
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            response = service.put(
                f"/images/{image_id}/file",
                data=Told(file, size, steps.part),
                headers={"Content-Type": "application/octet-stream"},
                raise_exc=False,
            )
        if response.status_code >= 400:
            raise _refused(response)
    except BaseException:
        service.delete_image(image_id, ignore_missing=True)
        raise
    steps.finish()
    return service.get_image(image_id)


def _refused(response: Any) -> errors.TrilithError:
    from trilith.cli.client import from_status

    text = " ".join(response.text.split())
    # Glance answers errors as a page of HTML: its words stand between the tags
    inner = text.partition("</h1>")[2].partition("</body>")[0].replace("<br />", " ").replace("<br/>", " ")
    try:
        body = response.json()
        inner = str(body.get("message") or body.get("error", {}).get("message", ""))
    except (ValueError, AttributeError):
        inner = inner.strip() or text
    return from_status(response.status_code, " ".join(inner.split())[:300])


def download(url: str, dest: Path, steps: Steps) -> None:
    """Fetch a URL into a file. Raises Invalid for what is no http(s) URL, Backend with the server's words."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise errors.Invalid(f"{url} is no http or https URL.", field="url")
    steps.step(f"downloading {url}")
    try:
        with urllib.request.urlopen(url, timeout=60) as response, dest.open("wb") as file:
            total = int(response.headers.get("Content-Length") or 0)
            if total and total > shutil.disk_usage(dest.parent).free:
                raise errors.Backend(f"{total >> 20} MiB do not fit into {dest.parent}.", hint="Set TMPDIR elsewhere.")
            done = 0
            while data := response.read(_CHUNK):
                file.write(data)
                done += len(data)
                if total:
                    steps.part(done / total, what=f"{done >> 20} of {total >> 20} MiB")
    except urllib.error.HTTPError as err:
        raise errors.Backend(f"{url}: {err.code} {err.reason}") from err
    except (OSError, ValueError) as err:
        raise errors.Backend(f"{url}: {getattr(err, 'reason', None) or err}") from err
    if total and done != total:
        raise errors.Backend(f"{url} ended after {done} of {total} bytes.", hint="Try again.")
    steps.finish()
