"""A daemon's work with a registry, told as it goes on, with a deadline for its silence.

docker-py's own pull waits for ever, and its push as long as for the slowest other answer.
"""

import re
from collections.abc import Iterator
from typing import Any

import docker.errors
import requests
import urllib3
from docker.auth import encode_header, get_config_header, resolve_repository_name
from docker.utils import parse_repository_tag

#: Seconds in which a pull or push must make some progress.
STALLED = 120
#: How the digest of what was pushed is told.
PUSHED = re.compile(r"digest: (sha256:[0-9a-f]{64})")
#: Hosts to which plain HTTP is as good as TLS.
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
Auth = dict[str, str] | None


def pull(client: Any, reference: str, auth: Auth, *, podman: bool) -> None:
    """Fetch an image from its registry; blocks.

    Podman is asked by its own API: the other one cannot be told to do without TLS.

    Raises:
        docker.errors.DockerException: the registry refuses or is silent.
    """
    name, tag = parse_repository_tag(reference)
    url = client._url("/images/create")
    params = {"fromImage": name, "tag": tag or "latest"}
    if podman:
        url, params = f"{client.base_url}/v4.0.0/libpod/images/pull", {"reference": reference}
    for _ in _progress(client, f"pull of {reference}", url, params, auth):
        pass


def push(client: Any, repository: str, tag: str, auth: Auth) -> str:
    """Push a tag and return the manifest's digest; blocks.

    Raises:
        docker.errors.DockerException: the registry refuses or is silent.
    """
    digest = ""
    url = client._url(f"/images/{repository}/push")
    for line in _progress(client, f"push of {repository}", url, {"tag": tag}, auth or {}):
        if told := PUSHED.search(line.get("status", "")):
            digest = told[1]
    return digest


def _progress(
    client: Any, what: str, url: str, params: dict[str, str], auth: Auth
) -> Iterator[dict[str, Any]]:
    registry, _ = resolve_repository_name(what.rpartition(" ")[2].partition("@")[0])
    if (registry.rpartition(":")[0] or registry) in LOOPBACK:
        params = {**params, "tlsVerify": "false"}  # as Docker has it by itself; Podman asks
    given = get_config_header(client, registry) if auth is None else encode_header(auth)
    headers = {"X-Registry-Auth": given} if given else {}
    try:
        with client._post(url, params=params, headers=headers, stream=True, timeout=STALLED) as got:
            client._raise_for_status(got)
            for line in client._stream_helper(got, decode=True):
                if "error" in line:
                    raise docker.errors.DockerException(f"{what}: {line['error']}")
                yield line
    except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
        silence = f"{what}: nothing came of the registry {registry} for {STALLED} s"
        raise docker.errors.DockerException(silence) from error
