"""Settings of an engine, chosen by the program that starts it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of an engine; none of them is part of a cache key."""

    cache_dir: Path  # contents, results of steps, the key that hashes secrets
    docker: str | None = None  # Docker API's URL; None: DOCKER_HOST or the default socket
    images: Mapping[str, str] = field(default_factory=dict)  # name -> image used instead
    exec_env: Mapping[str, str] = field(default_factory=dict)  # variables added to every command
    ca_bundle: Path | None = None  # PEM file, at CA_PATH for every command
    labels: Mapping[str, str] = field(default_factory=dict)  # on every object created in Docker
    log: Callable[[str], None] = field(default=lambda _line: None)  # gets a line for each step
