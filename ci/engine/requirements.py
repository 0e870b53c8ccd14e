"""What a container engine must have, by its answers to `version` and `info`."""

import re
from collections.abc import Mapping
from typing import Any

#: The oldest API of Docker (that of 20.10), and the oldest Podman.
DOCKER_API = (1, 41)
PODMAN = (4, 3)
UNREACHABLE = (
    "this host cannot connect to its containers: services, tunnels and forwarded ports fail"
)


def podman_version(version: Mapping[str, Any]) -> str:
    """Return the version of Podman; empty for another container engine."""
    parts = version.get("Components") or []
    return next((str(part["Version"]) for part in parts if part["Name"] == "Podman Engine"), "")


def refusal(version: Mapping[str, Any]) -> str:
    """Return one sentence that says why a container engine cannot be used; empty if it can."""
    if version.get("Os", "linux") != "linux":
        return f"the container engine runs {version['Os']} containers, not Linux ones"
    podman = podman_version(version)
    if podman and _numbers(podman) < PODMAN:
        return f"Podman {podman} is too old: 4.3 or later is needed"
    if not podman and _numbers(version.get("ApiVersion", "")) < DOCKER_API:
        return f"Docker {version.get('Version')} is too old: 20.10 or later is needed"
    return ""


def limitations(info: Mapping[str, Any], url: str) -> list[str]:
    """Return what does not work with a container engine, a sentence for each.

    Args:
        info: its answer to `info`.
        url: where it answers.
    """
    found = []
    if any(option.startswith("name=rootless") for option in info.get("SecurityOptions") or []):
        found.append(f"it runs without root, so {UNREACHABLE}")
    elif info.get("OperatingSystem") == "Docker Desktop":
        found.append(f"it runs in a virtual machine, so {UNREACHABLE}")
    elif not url.startswith(("unix://", "npipe://", "http+docker://")):
        found.append(f"if it is on another host, {UNREACHABLE}")
    if info.get("PidsLimit") is False:
        found.append("it does not count processes, so every command needs a new container: slower")
    return found


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])
