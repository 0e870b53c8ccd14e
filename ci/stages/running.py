"""Running stages: one span each, failures as sentences, several at once to their end."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar

import anyio
import dagger

from ci.errors import AcsoError, StageError
from ci.report.progress import stage

T = TypeVar("T")
#: Lines of a tool's output that an error shows; the whole is in the engine's log.
SHOWN = 60


class NotExaminedError(Exception):
    """A gate could not look; what it would have found is not known. `hint` says what to do."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


async def run_gate(name: str, work: Callable[[], Awaitable[str]], *, required: bool = False) -> str:
    """Run one stage that judges the source and return its line.

    Args:
        name: of the stage.
        work: returns what it saw.
        required: whether it is an error if the gate could not look.

    Raises:
        StageError: the gate failed, or could not look and had to.
    """
    async with stage(name) as span:
        try:
            span.result = await work()
        except NotExaminedError as error:
            if required:
                raise StageError(str(error), hint=error.hint) from error
            span.unexamined, span.result = True, str(error)
            return f"{name}: not examined: {error}"
        except dagger.ExecError as error:
            raise StageError(failure(name, error)) from error
    return f"{name}: {span.result}"


async def run_all(works: Mapping[str, Callable[[], Awaitable[T]]]) -> dict[str, T]:
    """Run works at once, all of them to their end, and return their results by name.

    Raises:
        AcsoError: the only failure, as it was raised; or a `StageError` that holds all of them.
    """
    results: dict[str, T] = {}
    errors: list[AcsoError] = []

    async def run(name: str, work: Callable[[], Awaitable[T]]) -> None:
        try:
            results[name] = await work()
        except AcsoError as error:
            errors.append(error)

    async with anyio.create_task_group() as group:
        for name, work in works.items():
            group.start_soon(partial(run, name, work), name=name)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        text = "\n\n".join(str(error) for error in errors)
        hints = "; ".join(error.hint for error in errors if error.hint)
        raise StageError(text, hint=hints)
    return {name: results[name] for name in works}


def failure(name: str, error: dagger.ExecError) -> str:
    """Return what a failed stage has to say: command, exit code and the end of its output."""
    output = "\n".join(part for part in (error.stdout, error.stderr) if part).splitlines()
    cut = [f"... ({len(output) - SHOWN} lines before)"] if len(output) > SHOWN else []
    command = " ".join(error.command)
    head = f"{name} failed: exit code {error.exit_code} of {command}"
    return "\n".join([head, *("  " + line for line in cut + output[-SHOWN:])])
