"""What a planted fault is: one sentence, the checks that should find it, and how it is planted.

The faults were written before the checks, by somebody who had not seen them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from ci.release import ReleaseContext
from tests.validation.faults.scene import Answer, Metric, Scene

#: What a check that finds the fault says. NOT_EXAMINED: the fault is that nothing can be known.
Outcome = Literal["FAIL", "NOT_EXAMINED"]
#: Breaks an environment up to its `yield`, and repairs it after it.
Change = Callable[[ReleaseContext], AsyncIterator[None]]
Read = Callable[[ReleaseContext], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class OnEmulator:
    """A fault of an environment in the embedded AWS, made through the AWS APIs.

    `read` returns the part of the environment that is changed, `shows` whether the fault is in it.
    """

    change: Change
    read: Read
    shows: Callable[[Any], bool]
    needs: Literal["stack", "services", "releases"] = "stack"  # releases: two successful ones

    @asynccontextmanager
    async def planted(self, place: ReleaseContext) -> AsyncIterator[None]:
        """Plant the fault for the block; it is repaired however the block ends."""
        steps = self.change(place)
        await anext(steps)
        try:
            yield
        finally:
            async for _ in steps:
                raise AssertionError("a change has exactly one yield")


@dataclass(frozen=True, kw_only=True)
class InResponses:
    """A fault that is visible in documented responses of AWS alone."""

    answers: Callable[[Scene], tuple[Answer | Metric, ...]]


@dataclass(frozen=True, kw_only=True)
class InAgent:
    """A fault of an agent's behaviour: one HTTP answer that differs from what docs/agents.md says.

    `status` is the wrong one, None if the status is right; `fields` replace those of the answer's
    JSON object. `caller` limits it to requests with this credential, `when` to a situation.
    """

    agent: str
    method: Literal["GET", "POST", "PUT"]
    path: str  # as in the agent's routes, such as /tickets/{ticket_id}
    status: int | None = None
    fields: Mapping[str, Any]
    caller: Literal["any", "none", "wrong", "revoked", "rotated", "agent"] = "any"
    when: str = "always"

    def answer(self, status: int, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return what the faulty agent answers in place of a good answer."""
        return self.status or status, {**body, **self.fields}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One planted fault; a variation that no check may report has no `found_by`."""

    id: str
    wrong: str
    found_by: tuple[str, ...]
    planted: OnEmulator | InResponses | InAgent
    outcome: Outcome = "FAIL"

    @property
    def where(self) -> Literal["emulator", "responses", "agents"]:
        """Where the fault can be planted."""
        match self.planted:
            case OnEmulator():
                return "emulator"
            case InResponses():
                return "responses"
            case InAgent():
                return "agents"

    @property
    def harmless(self) -> bool:
        """Whether this is a variation that no check may report."""
        return not self.found_by


def on_emulator(
    *found_by: str,
    wrong: str,
    read: Read,
    shows: Callable[[Any], bool],
    needs: Literal["stack", "services", "releases"] = "stack",
) -> Callable[[Change], Fault]:
    """Make a fault of a function that changes an environment; its id is the function's name."""

    def make(change: Change) -> Fault:
        planted = OnEmulator(change=change, read=read, shows=shows, needs=needs)
        return Fault(id=_id(change), wrong=wrong, found_by=found_by, planted=planted)

    return make


def in_responses(
    *found_by: str, wrong: str, outcome: Outcome = "FAIL"
) -> Callable[[Callable[[Scene], tuple[Answer | Metric, ...]]], Fault]:
    """Make a fault of a function that returns responses; its id is the function's name."""

    def make(answers: Callable[[Scene], tuple[Answer | Metric, ...]]) -> Fault:
        planted = InResponses(answers=answers)
        return Fault(
            id=_id(answers), wrong=wrong, found_by=found_by, planted=planted, outcome=outcome
        )

    return make


def faults(*modules: ModuleType) -> tuple[Fault, ...]:
    """Return the faults that are names of these modules, in their order."""
    return tuple(
        item for module in modules for item in vars(module).values() if isinstance(item, Fault)
    )


def _id(function: Callable[..., Any]) -> str:
    return function.__name__.replace("_", "-")
