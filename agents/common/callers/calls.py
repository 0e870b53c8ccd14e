"""Calls of other agents: a deadline, retries with backoff and jitter, and a circuit breaker."""

import json
import random
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import anyio

from agents.common.callers.auth import Tokens
from agents.common.store import drill
from agents.common.telemetry import logs, traces

#: Seconds left for the current request; its calls of other agents may take no longer.
time_left: ContextVar[Callable[[], float] | None] = ContextVar("time_left", default=None)
TIMEOUT_HEADER = "X-Acso-Timeout"
ATTEMPTS = 4
#: Seconds before the second attempt at most; twice as many before each further one.
BACKOFF, LONGEST_BACKOFF = 0.2, 5.0
#: Failures in a row after which an agent is not called for so many seconds.
BREAK_AFTER, BREAK_SECONDS = 5, 10.0
#: Largest response that is read.
MAX_BYTES = 4 * 1024 * 1024
#: Statuses that a repetition may change.
TRANSIENT = frozenset({429, 502, 503, 504})


class CallError(Exception):
    """Another agent could not be asked, or did not answer as it should."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What an agent answered: status and JSON document, None if the body is not JSON."""

    status: int
    body: Any = None

    @property
    def ok(self) -> bool:
        """Whether the request was done."""
        return 200 <= self.status < 300


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """One HTTP request as it is sent."""

    method: str
    url: str
    headers: MutableMapping[str, str]
    body: bytes | None
    timeout: float


#: Sends a request; raises `OSError` (`TimeoutError`, `ConnectionError`) if there is no answer.
Transport = Callable[[Outgoing], Awaitable[Reply]]


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request to another agent; `key` makes it safe to repeat, `timeout` is for all attempts."""

    agent: str
    method: str
    path: str
    body: Any = None
    key: str | None = None
    timeout: float = 30.0


@dataclass(kw_only=True)
class Breaker:
    """Whether one agent is worth a call: closed, open after failures, then one trial."""

    monotonic: Callable[[], float]
    failures: int = 0
    opened: float | None = None

    def allows(self) -> bool:
        """Return whether to call now; an open breaker allows one trial after its time."""
        if self.opened is None:
            return True
        if self.monotonic() - self.opened < BREAK_SECONDS:
            return False
        self.opened = self.monotonic()  # other calls wait for the outcome of this one
        return True

    def report(self, *, ok: bool) -> None:
        """Count an outcome."""
        self.failures = 0 if ok else self.failures + 1
        if ok:
            self.opened = None
        elif self.failures >= BREAK_AFTER:
            self.opened = self.monotonic()


@dataclass(kw_only=True)
class Peers:
    """The other agents, behind the load balancer at `url`."""

    url: str | None
    tokens: Tokens
    transport: Transport
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    monotonic: Callable[[], float] = time.monotonic
    _breakers: dict[str, Breaker] = field(default_factory=dict)

    async def send(self, call: Call) -> Reply:
        """Return the answer; the last one if none was better.

        Raises:
            CallError: no answer within the time, the breaker is open, or no address is known.
        """
        if self.url is None:
            raise CallError("ACSO_URL is not set, so no other agent can be called")
        left = time_left.get()
        deadline = self.monotonic() + min(call.timeout, left() if left else call.timeout)
        last: Reply | str = "no time was left"
        for attempt in range(ATTEMPTS):
            if self.monotonic() >= deadline:
                break
            last = await self._attempt(call, deadline)
            if isinstance(last, Reply) and last.status not in TRANSIENT:
                return last
            # Random, so that the copies of an agent do not repeat their calls all at once.
            pause = random.uniform(0, min(LONGEST_BACKOFF, BACKOFF * 2**attempt))  # noqa: S311
            if self.monotonic() + pause >= deadline or attempt == ATTEMPTS - 1:
                break
            await self.sleep(pause)
        if isinstance(last, Reply):
            return last
        message = f"{call.agent} {call.method} {call.path}: {last}"
        raise CallError(message)

    async def _attempt(self, call: Call, deadline: float) -> Reply | str:
        """Return the answer, or why there is none."""
        breaker = self._breakers.setdefault(call.agent, Breaker(monotonic=self.monotonic))
        if not breaker.allows():
            return f"not called, {breaker.failures} calls in a row have failed"
        request = await self._request(call, deadline - self.monotonic())
        with traces.call(call.agent, call.method, request.headers) as outcome:
            try:
                reply = await self.transport(request)
            except OSError as error:
                breaker.report(ok=False)
                outcome.failed(type(error).__name__)
                return f"{type(error).__name__}: {error}"
            outcome.status(reply.status)
        breaker.report(ok=reply.status < 500)
        return reply

    async def _request(self, call: Call, left: float) -> Outgoing:
        headers: dict[str, str] = {
            "Authorization": f"Bearer {await self.tokens.own()}",
            "Content-Type": "application/json",
            TIMEOUT_HEADER: f"{left:.3f}",
        }
        if logs.request_id.get():
            headers["X-Request-Id"] = logs.request_id.get()
        if drill.current.get():
            headers[drill.HEADER] = drill.current.get()
        if call.key is not None:
            headers["Idempotency-Key"] = call.key
        return Outgoing(
            method=call.method,
            url=f"{self.url}/{call.agent}{call.path}",
            headers=headers,
            body=None if call.body is None else json.dumps(call.body).encode(),
            timeout=left,
        )


def over_http() -> Transport:
    """Return what sends requests in worker threads, over connections that stay open."""
    pools: list[Any] = []

    def blocking(request: Outgoing) -> Reply:
        import urllib3

        if not pools:
            pools.append(urllib3.PoolManager(maxsize=32))
        try:
            answer = pools[0].request(
                request.method,
                request.url,
                body=request.body,
                headers=dict(request.headers),
                timeout=urllib3.Timeout(total=request.timeout, connect=2.0),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            content = answer.read(MAX_BYTES + 1, decode_content=True)
            answer.drain_conn()
            answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise ConnectionError(str(error)) from error
        if len(content) > MAX_BYTES:
            raise ConnectionError(f"the answer is larger than {MAX_BYTES} bytes")
        return Reply(status=answer.status, body=_json(content))

    async def send(request: Outgoing) -> Reply:
        with anyio.fail_after(request.timeout):
            return await anyio.to_thread.run_sync(blocking, request, abandon_on_cancel=True)

    return send


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None
