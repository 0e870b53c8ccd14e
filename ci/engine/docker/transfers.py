"""Pulls, pushes and questions by the daemon, with a time limit for a registry that does not answer.

docker-py's own pull waits for ever, and its push as long as the slowest other call may take.
"""

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import docker.errors
import requests
import urllib3
from docker.auth import (
    INDEX_NAME,
    INDEX_URL,
    encode_header,
    get_config_header,
    resolve_repository_name,
)
from docker.utils import parse_repository_tag

#: Seconds within which a pull or push must make progress.
STALL_TIMEOUT = 120
#: Seconds within which a registry must say what a tag names, if the image is here already.
ANSWER_TIMEOUT = 10
#: The status line with the digest of the pushed manifest.
PUSHED = re.compile(r"digest: (sha256:[0-9a-f]{64})")
#: Hosts that are reached by plain HTTP.
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
Auth = dict[str, str] | None


def pull(client: Any, reference: str, auth: Auth, *, podman: bool) -> None:
    """Pull an image from its registry; blocks.

    On Podman this uses its own API: the Docker one has no way to turn TLS off.

    Raises:
        docker.errors.DockerException: the registry refuses or does not answer.
    """
    name, tag = parse_repository_tag(reference)
    url = client._url("/images/create")
    params = {"fromImage": name, "tag": tag or "latest"}
    if podman:
        url, params = f"{client.base_url}/v4.0.0/libpod/images/pull", {"reference": reference}
    for _ in _progress(client, f"pull of {reference}", url, params, auth):
        pass


def registry_digest(client: Any, reference: str, auth: Auth) -> str:
    """Return the digest that a reference has in its registry now; blocks.

    Raises:
        docker.errors.DockerException: the registry refuses or does not answer.
    """
    registry, _ = resolve_repository_name(reference)
    url = client._url("/distribution/{0}/json", reference)
    try:
        got = client._get(url, headers=_headers(client, registry, auth), timeout=ANSWER_TIMEOUT)
        found = client._result(got, json=True)
    except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
        silence = f"the registry {registry} sent nothing for {ANSWER_TIMEOUT} s"
        raise docker.errors.DockerException(silence) from error
    return str(found["Descriptor"]["digest"])


def push(client: Any, repository: str, tag: str, auth: Auth) -> str:
    """Push a tag and return the manifest's digest; blocks.

    Raises:
        docker.errors.DockerException: the registry refuses or does not answer.
    """
    digest = ""
    url = client._url(f"/images/{repository}/push")
    for line in _progress(client, f"push of {repository}", url, {"tag": tag}, auth or {}):
        if hit := PUSHED.search(line.get("status", "")):
            digest = hit[1]
    return digest


def _progress(
    client: Any, what: str, url: str, params: dict[str, str], auth: Auth
) -> Iterator[dict[str, Any]]:
    registry, _ = resolve_repository_name(what.rpartition(" ")[2].partition("@")[0])
    if (registry.rpartition(":")[0] or registry) in LOOPBACK:
        params = {**params, "tlsVerify": "false"}  # Docker does so by itself, Podman by this
    silence = f"{what}: the registry {registry} sent nothing for {STALL_TIMEOUT} s"
    latest: dict[Any, Any] = {}
    last_change = time.monotonic()
    try:
        with client._post(
            url,
            params=params,
            headers=_headers(client, registry, auth),
            stream=True,
            timeout=STALL_TIMEOUT,
        ) as got:
            if not got.ok:
                said = f"{what}: {refusal(got)}"
                raise docker.errors.APIError(said, response=got, explanation=said)
            for line in client._stream_helper(got, decode=True):
                if error := reported_error(line):
                    raise docker.errors.DockerException(f"{what}: {error}")
                # Docker's containerd store repeats every layer's state while nothing happens.
                if latest.get(line.get("id")) != line:
                    latest[line.get("id")], last_change = line, time.monotonic()
                elif time.monotonic() - last_change > STALL_TIMEOUT:
                    raise docker.errors.DockerException(silence)
                yield line
    except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise docker.errors.DockerException(silence) from error


def refusal(answer: requests.Response) -> str:
    """Return the error in an answer: Docker's `message`, Podman's `error`, or the whole text."""
    try:
        found = answer.json()
    except ValueError:
        return answer.text.strip()
    return str(found.get("message") or reported_error(found) or answer.text.strip())


def reported_error(line: Mapping[str, Any]) -> str:
    """Return the error in a line of progress; empty if it has none.

    `error` is deprecated since Docker's API 1.48, and `errorDetail` is not in Podman's. The image
    of a load that could not be unpacked is a line of text.
    """
    detail = line.get("errorDetail") or {}
    text = str(line.get("stream", ""))
    unpacked = text if text.startswith("Error unpacking image ") else ""
    return str(line.get("error") or detail.get("message") or unpacked).rstrip()


def _headers(client: Any, registry: str, auth: Auth) -> dict[str, Any]:
    if auth is None:
        given = get_config_header(client, registry)
    else:  # the containerd store wants to know whose credentials they are
        server = INDEX_URL if registry == INDEX_NAME else registry
        given = encode_header({**auth, "serveraddress": server} if auth else auth)
    return {"X-Registry-Auth": given} if given else {}
