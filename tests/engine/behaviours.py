"""Behaviours: a claim, the calls that show it, and the answer that a Dagger engine gave to them.

Recorder: a real Dagger engine v0.21.8 (the privileged container that its own program starts), with
the Python client dagger-io 0.21.8, on 2026-11-24; each answer was recorded twice and was the same.
`test_behaviour` in each file runs the same calls here, with the same client, and expects the same.
"""

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import dagger
import pytest
from beartype.roar import BeartypeCallHintReturnViolation

from ci import engine

#: The image that all tests ask for; the options say what this machine has instead.
IMAGE = "python:3.11-slim"


@dataclass(kw_only=True)
class Lab:
    """A session with a connected client, and what can be observed besides its answers."""

    options: engine.Options
    session: engine.Session
    dag: dagger.Client
    lines: list[str]
    registry: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> dagger.Container:
        """A container of the base image."""
        return self.dag.container().from_(IMAGE)

    def sh(
        self, script: str, on: dagger.Container | None = None, **options: Any
    ) -> dagger.Container:
        """Run a script with `sh -c`, in a container of the base image unless `on` is given."""
        return (on or self.base).with_exec(["sh", "-c", script], **options)

    def files(self, *paths: str) -> dagger.Directory:
        """Return a directory of empty files."""
        found = self.dag.directory()
        for path in paths:
            found = found.with_new_file(path, "")
        return found

    async def keep(self, container: dagger.Container, name: str) -> None:
        """Store a container as an image of Docker's."""
        # The client declares that exportImage never returns None, and then returns None.
        with contextlib.suppress(BeartypeCallHintReturnViolation):
            await container.export_image(name)

    def ran(self, text: str) -> int:
        """Return how many steps with this text were executed, not cached."""
        return sum(line.startswith("exec ") and text in line for line in self.lines)


Shows = Callable[[Lab], Awaitable[Any]]


class Behaviours(list[tuple[Shows, Any]]):
    """Behaviours of one topic, in the order of their definition."""

    def __call__(self, answer: Any) -> Callable[[Shows], Shows]:
        """Register a function with the recorded answer to its calls."""

        def record(shows: Shows) -> Shows:
            self.append((shows, answer))
            return shows

        return record

    def cases(self) -> pytest.MarkDecorator:
        """Return the mark that runs a test once for each behaviour."""
        names = [shows.__name__ for shows, _ in self]
        return pytest.mark.parametrize(("shows", "answer"), list(self), ids=names)
