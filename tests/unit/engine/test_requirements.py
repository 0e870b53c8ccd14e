"""Requirements, by what container engines answer about themselves."""

from typing import Any

import pytest

from ci.engine import requirements


def podman(version: str) -> dict[str, Any]:
    parts = [{"Name": "Podman Engine", "Version": version}, {"Name": "Conmon", "Version": "2"}]
    return {"Os": "linux", "ApiVersion": "1.41", "Version": version, "Components": parts}


def docker(version: str, api: str, system: str = "linux") -> dict[str, Any]:
    parts = [{"Name": "Engine", "Version": version}]
    return {"Os": system, "ApiVersion": api, "Version": version, "Components": parts}


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (docker("20.10.24+dfsg1", "1.41"), ""),
        (docker("28.5.2", "1.51"), ""),
        (docker("29.0.0", "1.52"), ""),
        (podman("4.3.1"), ""),
        (podman("5.8.6"), ""),
        (docker("19.03.15", "1.40"), "Docker 19.03.15 is too old: 20.10 or later is needed"),
        (podman("3.4.4"), "Podman 3.4.4 is too old: 4.3 or later is needed"),
        (
            docker("28.5.2", "1.51", "windows"),
            "the container engine runs windows containers, not Linux ones",
        ),
    ],
)
def test_an_engine_that_cannot_be_used_is_refused_in_a_sentence(
    version: dict[str, Any], reason: str
) -> None:
    assert requirements.refusal(version) == reason


@pytest.mark.parametrize(
    ("info", "url", "parts"),
    [
        ({"SecurityOptions": ["name=seccomp,profile=builtin"]}, "unix:///run/d.sock", []),
        ({"SecurityOptions": None, "PidsLimit": True}, "unix:///run/d.sock", []),
        ({"SecurityOptions": ["name=rootless"]}, "unix:///run/d.sock", ["runs without root"]),
        ({"OperatingSystem": "Docker Desktop"}, "unix:///run/d.sock", ["in a virtual machine"]),
        ({}, "tcp://other:2376", ["on another host"]),
        ({"PidsLimit": False}, "unix:///run/d.sock", ["does not count processes"]),
        ({"PidsLimit": False}, "ssh://me@other", ["on another host", "does not count processes"]),
    ],
)
def test_what_does_not_work_is_said(info: dict[str, Any], url: str, parts: list[str]) -> None:
    found = requirements.limitations(info, url)
    assert len(found) == len(parts)
    assert all(part in sentence for part, sentence in zip(parts, found, strict=True))
