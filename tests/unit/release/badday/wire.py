"""Processes and their calls: what the code under test sees of AWS, with the faults of the day.

It replaces `Aws.call` and `Aws.pages`, and does what botocore does there: it validates each request
against the API's model, retries, and raises botocore's errors.
"""

import contextvars
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
from botocore import exceptions, xform_name
from botocore.validate import ParamValidator

from ci.aws import elb
from ci.aws.failures import failure
from ci.aws.session import QUICK_TIMEOUT, Aws, loader, while_throttled
from tests.unit.release.badday.timeline import RefusedError
from tests.unit.release.badday.weather import CALM, Weather

if TYPE_CHECKING:
    from tests.unit.release.badday.account import Account

LATENCY, SILENCE, ATTEMPTS = 0.05, 5.0, 6
CURRENT: contextvars.ContextVar["Process"] = contextvars.ContextVar("process")


class KilledError(BaseException):
    """The process is dead: nothing that it still does reaches anything."""


class _NoReplyError(Exception):
    """An attempt that botocore repeats."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass
class Process:
    """One run of a command."""

    name: str
    account: "Account"
    weather: Weather = CALM
    calls: int = 0
    dead: bool = False
    started: float = field(default=0.0)

    def __post_init__(self) -> None:
        self.started = self.account.time.clock()

    def check(self) -> None:
        """Raise if the process is dead."""
        if self.dead:
            raise KilledError(self.name)

    def number(self) -> int:
        """Count a call."""
        self.calls += 1
        return self.calls

    def storm(self, service: str) -> str:
        """Return what happens to a call to a service now."""
        return self.weather.storm(service, self.account.time.clock() - self.started)

    def kill(self) -> None:
        """Kill it."""
        self.dead = True
        self.account.alive.discard(self.name)
        self.check()


@dataclass(frozen=True, kw_only=True)
class ModelAws(Aws):
    """Access to the modelled AWS for one process."""

    process: Process = field(repr=False, compare=False)

    def quick(self) -> "ModelAws":
        """Return the same access with one attempt for each call."""
        return replace(self, _quick=True)

    async def call(self, service: str, operation: str, /, **arguments: Any) -> dict[str, Any]:
        """Call one operation."""

        async def attempt() -> dict[str, Any]:
            try:
                return await self._attempts(service, operation, arguments)
            except Exception as error:
                known = failure(self, service, operation, error, ())
                if known is None:
                    raise
                raise known from None

        return await (attempt() if self._quick else while_throttled(attempt))

    async def pages(self, service: str, operation: str, key: str, /, **arguments: Any) -> list[Any]:
        """Call an operation for all its pages."""
        page = paginator(service, operation)
        items: list[Any] = []
        more: dict[str, Any] = {}
        while True:
            answer = await self.call(service, operation, **arguments, **more)
            items += answer.get(key, [])
            if page["output_token"] not in answer:
                return items
            more = {page["input_token"]: answer[page["output_token"]]}

    async def _attempts(
        self, service: str, operation: str, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        validate(service, operation, arguments)
        number = self.process.number()
        attempts = 1 if self._quick else ATTEMPTS
        error: Exception = AssertionError("no attempt")
        for attempt in range(attempts):
            # Between two attempts a call may be cancelled; an attempt itself runs to its end.
            await anyio.lowlevel.checkpoint_if_cancelled()
            with anyio.CancelScope(shield=True):
                if attempt:
                    await anyio.sleep(0.5 * 2 ** (attempt - 1))
            await anyio.lowlevel.checkpoint_if_cancelled()
            with anyio.CancelScope(shield=True):
                try:
                    return await self._attempt(number, attempt, (service, operation), arguments)
                except _NoReplyError as lost:
                    error = lost.error
        raise error

    async def _attempt(
        self, number: int, attempt: int, name: tuple[str, str], arguments: dict[str, Any]
    ) -> dict[str, Any]:
        process, (service, operation) = self.process, name
        dying = process.weather.dies_at == number
        process.check()
        if dying and not process.weather.acted:
            process.kill()
        storm = process.storm(service)
        await anyio.sleep(self._seconds(storm))
        process.check()
        if storm:
            raise _NoReplyError(_storm_error(storm, operation))
        answer = self._perform(service, operation, arguments)
        if dying:
            process.kill()
        await anyio.sleep(LATENCY)
        process.check()
        for lost in process.weather.lost:
            if lost.number == number and attempt < lost.times:
                await anyio.sleep(min(lost.seconds, QUICK_TIMEOUT) if self._quick else lost.seconds)
                raise _NoReplyError(exceptions.ConnectionClosedError(endpoint_url="https://aws"))
        if isinstance(answer, RefusedError):
            raise _client_error(answer, operation)
        return answer

    def _seconds(self, storm: str) -> float:
        if storm != "silent":
            return LATENCY
        return QUICK_TIMEOUT if self._quick else SILENCE

    def _perform(
        self, service: str, operation: str, arguments: Mapping[str, Any]
    ) -> dict[str, Any] | RefusedError:
        try:
            return self.process.account.call(self.process, service, operation, arguments)
        except RefusedError as error:
            return error


async def answer(url: str, *, seconds: float = 5.0) -> elb.Answer:
    """Replace `elb.get`: what an agent answers to the current process."""
    process = CURRENT.get()
    process.check()
    storm = process.storm("http")
    await anyio.sleep(seconds if storm else LATENCY)
    process.check()
    if storm:
        return elb.Answer(status=0, error="no answer: timed out")
    return process.account.answer(url)


def _storm_error(storm: str, operation: str) -> Exception:
    if storm == "throttled":
        return _client_error(RefusedError("ThrottlingException", "Rate exceeded"), operation)
    silence: Exception = exceptions.ConnectTimeoutError(endpoint_url="https://aws")
    return silence


def _client_error(error: RefusedError, operation: str) -> Exception:
    details = {"Code": error.code, "Message": error.message}
    found: Exception = exceptions.ClientError({"Error": details}, operation)
    return found


@cache
def _model(service: str) -> tuple[Any, dict[str, str]]:
    from botocore.session import Session

    session = Session()
    session.register_component("data_loader", loader())
    model = session.get_service_model(service)
    return model, {xform_name(name): name for name in model.operation_names}


@cache
def paginator(service: str, operation: str) -> Mapping[str, Any]:
    """Return botocore's description of an operation's pages."""
    pages = loader().load_service_model(service, "paginators-1")["pagination"]
    found: Mapping[str, Any] = pages[_model(service)[1][operation]]
    return found


def validate(service: str, operation: str, arguments: Mapping[str, Any]) -> None:
    """Compare a request with the API's model: types, required fields, patterns, limits, enums."""
    model, names = _model(service)
    shape = model.operation_model(names[operation]).input_shape
    report = ParamValidator().validate(dict(arguments), shape)
    if report.has_errors():
        raise AssertionError(f"{service} {operation}: {report.generate_report()}")
    _limits(f"{service} {operation}", shape, arguments)


@cache
def _pattern(text: str) -> re.Pattern[str]:
    for java, python in ((r"\p{L}", r"\w"), (r"\p{Z}", r"\s"), (r"\p{N}", r"\d")):
        text = text.replace(java, python)
    return re.compile(text, re.DOTALL)


def _limits(where: str, shape: Any, value: Any) -> None:
    if shape.type_name == "structure":
        for name, item in value.items():
            _limits(f"{where}.{name}", shape.members[name], item)
    elif shape.type_name == "list":
        assert len(value) <= shape.metadata.get("max", len(value)), f"{where}: too many"
        for item in value:
            _limits(f"{where}[]", shape.member, item)
    elif shape.type_name == "string":
        assert len(value) <= shape.metadata.get("max", len(value)), f"{where}: too long: {value}"
        assert _pattern(shape.metadata.get("pattern", ".*")).fullmatch(value), f"{where}: {value!r}"
        assert value in (shape.enum or [value]), f"{where}: {value!r} is not in {shape.enum}"
