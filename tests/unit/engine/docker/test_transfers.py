"""Answers of container engines about transfers, and their errors."""

import base64
import json
import time
from typing import Any
from unittest.mock import MagicMock, Mock

import docker.errors
import pytest
import requests

from ci.engine.docker import transfers


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ({"status": "Pulling fs layer", "id": "1"}, ""),
        ({"error": "denied", "errorDetail": {"message": "denied"}}, "denied"),  # Docker 28
        ({"errorDetail": {"message": "denied"}}, "denied"),  # Docker's API 1.48, by its history
        ({"error": "denied"}, "denied"),  # Podman
        ({"stream": "Loaded image: acso-engine:1\n"}, ""),
        (
            {"stream": "Error unpacking image acso-engine:1: not found\n"},
            "Error unpacking image acso-engine:1: not found",
        ),
    ],
)
def test_an_error_in_the_progress_has_several_forms(line: dict[str, Any], error: str) -> None:
    assert transfers.reported_error(line) == error


def client() -> Mock:
    made = Mock()
    made._url.side_effect = lambda path, *names: path.format(*names)
    made._auth_configs = made._general_configs = {}
    return made


def test_the_registry_says_what_a_tag_names() -> None:
    api = client()
    api._result.return_value = {"Descriptor": {"digest": "sha256:ab", "size": 1}, "Platforms": []}
    assert transfers.registry_digest(api, "localhost:5000/app:1", {"username": "u"}) == "sha256:ab"
    (path,), options = api._get.call_args
    assert path == "/distribution/localhost:5000/app:1/json"
    header = json.loads(base64.urlsafe_b64decode(options["headers"]["X-Registry-Auth"]))
    assert header == {"username": "u", "serveraddress": "localhost:5000"}
    assert options["timeout"] == transfers.ANSWER_TIMEOUT


def test_a_registry_that_is_silent_is_an_error_that_names_it() -> None:
    api = client()
    api._get.side_effect = requests.ReadTimeout()
    with pytest.raises(docker.errors.DockerException, match=r"registry h\.io sent nothing for"):
        transfers.registry_digest(api, "h.io/app:1", {})


def test_a_push_whose_lines_only_repeat_is_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    waiting = {"status": "Waiting", "progressDetail": {}, "id": "042919dd471d"}  # Docker 28.5
    moving = [
        {"status": "Pushing", "progressDetail": {"current": n}, "id": "1"} for n in range(300)
    ]
    api = client()
    api._post.return_value = MagicMock()
    pushed = {"status": f"1: digest: sha256:{'a' * 64} size: 1"}
    api._stream_helper.return_value = [*moving, pushed]
    assert transfers.push(api, "h.io/app", "1", {}) == f"sha256:{'a' * 64}"
    api._stream_helper.return_value = [waiting] * 300
    with pytest.raises(docker.errors.DockerException, match=r"push of h\.io/app: the registry"):
        transfers.push(api, "h.io/app", "1", {})
