"""What Podman needs besides the Docker API."""

import json
import resource
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import docker
import docker.errors
import pytest
import requests

from ci.engine.docker import client, podman, transfers

SOCKET = "http+docker://localhost"


@pytest.fixture
def _few_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hard = {resource.RLIMIT_NOFILE: 20_000, resource.RLIMIT_NPROC: -1}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1024, hard[kind]))
    monkeypatch.setattr(podman, "_PROCESSES", tmp_path / "no such file")


@pytest.mark.usefixtures("_few_files")
def test_a_container_gets_the_limits_that_this_host_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = podman.limits(SOCKET)
    assert [(each.name, each.soft, each.hard) for each in found] == [("nofile", 20_000, 20_000)]
    assert podman.limits("http://elsewhere:2375") == []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1 << 20))
    assert podman.limits(SOCKET) == []


@pytest.mark.usefixtures("_few_files")
@pytest.mark.parametrize(("kernel", "limits"), [(32_768, [32_768]), (1 << 22, [])])
def test_a_container_gets_no_more_processes_than_this_kernel_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kernel: int, limits: list[int]
) -> None:
    (tmp_path / "pid_max").write_text(f"{kernel}\n")
    monkeypatch.setattr(podman, "_PROCESSES", tmp_path / "pid_max")
    found = podman.limits(SOCKET)
    assert [each.hard for each in found if each.name == "nproc"] == limits


@pytest.mark.usefixtures("_few_files")
def test_a_build_gets_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, Any] = {}
    monkeypatch.setattr(
        docker.APIClient, "_post", lambda _, url, **options: sent.update({url: options})
    )
    monkeypatch.setattr(docker.APIClient, "__init__", lambda *_, **_options: None)
    made = client.Client()
    made.build_limits = podman.limits(SOCKET)
    made._post(f"{SOCKET}/v1.41/build", params={"t": "app"})
    made._post(f"{SOCKET}/v1.41/containers/create", params={"name": "a"})
    made.build_limits = []
    made._post(f"{SOCKET}/build", params={"t": "on Docker"})
    build, create, other = sent.values()
    assert build["params"] == {"t": "app", "ulimits": json.dumps(["nofile=20000:20000"])}
    assert create["params"] == {"name": "a"}
    assert other["params"] == {"t": "on Docker"}


def test_a_container_is_removed_at_once_by_podmans_own_api() -> None:
    api = Mock(base_url=SOCKET)
    podman.remove(api, "abc", v=True, force=True)
    (url,), options = api._delete.call_args
    assert url == f"{SOCKET}/v4.0.0/libpod/containers/abc"
    assert options["params"] == {"v": True, "force": True, "timeout": 0}
    api._raise_for_status.assert_called_once_with(api._delete.return_value)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"message": "no such image"}', "no such image"),  # Docker
        (b'{"error": "denied", "errorDetail": {"message": "denied"}}', "denied"),  # Podman 5
        (b"Bad Gateway\n", "Bad Gateway"),
    ],
)
def test_a_refused_transfer_says_why(body: bytes, error: str) -> None:
    answer = requests.Response()
    answer._content = body
    assert transfers.refusal(answer) == error
