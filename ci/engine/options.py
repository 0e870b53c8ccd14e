"""What the program that starts an engine chooses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Where an exec finds `Options.ca_bundle`; below /dev, which is in no image.
CA_PATH = "/dev/acso/ca.pem"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the program that starts an engine chooses; nothing of it is part of a cache key."""

    cache_dir: Path  # contents, results of steps, the key that hashes secrets
    docker: str | None = None  # Docker API's URL; None: DOCKER_HOST or the default socket
    images: Mapping[str, str] = field(default_factory=dict)  # asked for -> used instead
    exec_env: Mapping[str, str] = field(default_factory=dict)  # added to every exec
    ca_bundle: Path | None = None  # PEM file that every exec can read at CA_PATH
    labels: Mapping[str, str] = field(default_factory=dict)  # on all that is made in Docker
    log: Callable[[str], None] = field(default=lambda _line: None)  # one line a step
