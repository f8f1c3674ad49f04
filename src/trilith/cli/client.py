"""The cloud as a client sees it: openstacksdk for what OpenStack names, `native` for the rest.

Failures of the sdk, of the wire and of the cloud leave here as errors of ours, in one or two lines.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trilith import errors
from trilith.cli.native import Native

_BY_STATUS: dict[int, type[errors.TrilithError]] = {
    400: errors.Invalid,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.Missing,
    409: errors.Conflict,
    413: errors.TooLarge,
    429: errors.TooMany,
}


class Cloud:
    """One log-in. `sdk` is an openstack.connection.Connection."""

    def __init__(self, sdk: Any, name: str) -> None:
        self.sdk = sdk
        self.name = name
        self._native: Native | None = None

    @property
    def native(self) -> Native:
        """/trilith/v1 of the same host. Raises Unsupported where the catalogue names none of ours."""
        if self._native is None:
            identity = self.sdk.session.get_endpoint(service_type="identity") or ""
            base, found, _ = identity.rpartition("/identity")
            if not found:
                raise errors.Unsupported(
                    f"The cloud {self.name!r} is not Trilith: its identity service is at {identity or 'no known URL'}.",
                    capability="native",
                    hint="Use the openstack client for it.",
                )
            self._native = Native(self.sdk.session, base)
        return self._native

    @property
    def is_admin(self) -> bool:
        return "admin" in self.sdk.session.auth.get_access(self.sdk.session).role_names

    @property
    def project_id(self) -> str:
        return str(self.sdk.current_project_id)

    def server(self, name: str) -> Any:
        """By name or id, whole. Raises Missing, Conflict for a name that two have."""
        found = self.find(self.sdk.compute.find_server, name, "server", "trilith list")
        return self.sdk.compute.get_server(found.id)

    def find(self, finder: Any, name: str, noun: str, see: str, **how: Any) -> Any:
        from openstack import exceptions

        try:
            found = finder(name, ignore_missing=True, **how)
        except exceptions.DuplicateResource as err:
            raise errors.Conflict(
                f"There is more than one {noun} named {name!r}.", hint=f"Give its id; `{see}` shows it."
            ) from err
        if found is None:
            raise errors.Missing(f"There is no {noun} {name!r}.", hint=f"`{see}` shows what is there.")
        return found


@contextmanager
def connect(os_cloud: str = "", clouds_yaml: Path | None = None) -> Iterator[Cloud]:
    """Log in. Every failure inside, too, becomes an error of ours."""
    import openstack
    from keystoneauth1 import exceptions as auth
    from openstack import exceptions as sdk

    for chatty in ("keystoneauth", "openstack"):
        # what they warn of comes as an error a moment later, in words of ours
        logging.getLogger(chatty).setLevel(logging.ERROR)
    name = os_cloud or os.environ.get("OS_CLOUD", "") or ("envvars" if os.environ.get("OS_AUTH_URL") else "trilith")
    if clouds_yaml is not None and not clouds_yaml.exists():
        raise errors.Missing(f"There is no {clouds_yaml}.", hint="Give --clouds-yaml, or start a cloud: trilith up")
    connection: Any = None
    try:
        files = [str(clouds_yaml)] if clouds_yaml is not None else None
        config = openstack.config.OpenStackConfig(
            config_files=files, app_name="trilith", **({"envvar_prefix": "OS_"} if name == "envvars" else {})
        )
        connection = openstack.connection.Connection(config=config.get_one(cloud=name))
        yield Cloud(connection, name)
    except sdk.HttpException as err:
        raise from_status(err.status_code or 500, _words(err)) from err
    except sdk.ConfigException as err:
        raise errors.Missing(
            _first(str(err)), hint="Start a cloud here with `trilith up`, or give --os-cloud and --clouds-yaml."
        ) from err
    except (sdk.ResourceTimeout, sdk.ResourceFailure) as err:
        raise errors.Backend(_first(str(err)), hint="`trilith jobs list` shows what is going on.") from err
    except auth.Unauthorized as err:
        raise errors.Unauthenticated(
            f"The cloud {name!r} refuses the log-in: {_first(str(err.message))}",
            hint="Is its entry in clouds.yaml right? `trilith up` writes it anew at each start.",
        ) from err
    except (auth.ConnectFailure, auth.DiscoveryFailure, auth.UnknownConnectionError) as err:
        raise unreachable(name, err) from err
    except auth.HttpError as err:
        raise from_status(err.http_status or 500, _first(str(err.message))) from err
    except (sdk.SDKException, auth.ClientException) as err:
        raise errors.Backend(_first(str(err))) from err
    finally:
        if connection is not None:
            connection.close()


def unreachable(name: str, err: Exception) -> errors.Backend:
    return errors.Backend(
        f"The cloud {name!r} does not answer: {_first(str(err).partition(': HTTP')[0])}",
        hint="Is it up? `trilith up` starts it; `trilith doctor` says what is wrong with this host.",
    )


def from_status(status: int, words: str) -> errors.TrilithError:
    """An answer of the API as an error of ours."""
    cls = _BY_STATUS.get(status, errors.Backend)
    hint = {
        401: "Log in again: is the entry in clouds.yaml right?",
        403: "Ask an administrator, or use another --os-cloud.",
    }.get(status, "")
    return cls(words or f"The cloud answered {status}.", hint=hint)


def _words(err: Any) -> str:
    details = err.details if isinstance(err.details, str) else ""
    text = details or str(err)
    _, url, rest = text.rpartition("Client Error for url: ")
    return _first((url and rest.partition(", ")[2]) or text)


def _first(text: str) -> str:
    """One line of at most 300 characters."""
    text = " ".join(text.split())
    return text if len(text) <= 300 else text[:299] + "…"
