"""ASGI middleware in front of an agent's routes: callers, rates, deadlines and figures."""

import re
import time
from typing import TYPE_CHECKING

import anyio

from agents.common.callers.calls import TIMEOUT_HEADER, time_left
from agents.common.callers.rates import Rates
from agents.common.errors import ProblemError, response
from agents.common.store import drill
from agents.common.telemetry import logs

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from agents.common.callers.auth import Caller
    from agents.common.runtime import Runtime

#: Seconds that a request may take, if its caller allows no less.
LONGEST = 60.0


class Gate:
    """Lets a request with a known caller through, and ends it when its time is over."""

    def __init__(self, app: "ASGIApp", runtime: "Runtime", open_paths: frozenset[str]) -> None:
        self._app = app
        self._runtime = runtime
        self._open = open_paths
        self._rates = Rates()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Handle one HTTP request; other events pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def answer(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._guarded(scope, receive, answer)
        finally:
            seconds = time.monotonic() - began
            route = _route(scope, self._runtime.settings.agent)
            self._runtime.metrics.request(scope["method"], route, status, seconds)

    async def _guarded(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        headers = dict(scope["headers"])
        try:
            if scope["path"] not in self._open:
                caller = await self._caller(headers)
                logs.caller.set(f"{caller.role}:{caller.name}")
                scope.setdefault("state", {})["caller"] = caller
                drill.current.set(_drill(headers))
        except ProblemError as problem:
            refusal = response(problem.status, problem.detail, headers=problem.headers)
            await refusal(scope, receive, send)
            return
        await self._timed(scope, receive, send, _seconds(headers))

    async def _caller(self, headers: dict[bytes, bytes]) -> "Caller":
        scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        known = scheme.lower() == "bearer" and token
        caller = await self._runtime.tokens.caller(token.strip()) if known else None
        if caller is None:
            raise ProblemError(
                401, "a valid bearer token is required", headers={"WWW-Authenticate": "Bearer"}
            )
        wait = self._rates.wait(f"{caller.role}:{caller.name}")
        if wait:
            headers_ = {"Retry-After": str(int(wait) + 1)}
            raise ProblemError(429, f"{caller.name} sends too many requests", headers=headers_)
        return caller

    async def _timed(
        self, scope: "Scope", receive: "Receive", send: "Send", seconds: float
    ) -> None:
        started = False
        end = time.monotonic() + seconds

        async def answer(message: "Message") -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        token = time_left.set(lambda: end - time.monotonic())
        try:
            with anyio.fail_after(seconds):
                await self._app(scope, receive, answer)
        except TimeoutError:
            if started:
                raise
            refusal = response(504, f"the request was not done within {seconds:g} s")
            await refusal(scope, receive, send)
        finally:
            time_left.reset(token)


def _drill(headers: dict[bytes, bytes]) -> str:
    """Return the drill that a request belongs to; raises `ProblemError` 400 for no possible id."""
    name = headers.get(drill.HEADER.lower().encode(), b"").decode("latin-1")
    if name and not re.fullmatch(drill.PATTERN, name):
        raise ProblemError(400, f"{drill.HEADER} must match {drill.PATTERN}")
    return name


def _seconds(headers: dict[bytes, bytes]) -> float:
    """Return the seconds that a request may take."""
    try:
        given = float(headers.get(TIMEOUT_HEADER.lower().encode(), b""))
    except ValueError:
        return LONGEST
    return min(LONGEST, given) if given > 0 else LONGEST


def _route(scope: "Scope", agent: str) -> str:
    """Return the path with names in place of values; paths of no route are one.

    It begins with the agent's name if the load balancer sent the request, else it is a health check
    or a call of `/metrics`.
    """
    path = getattr(scope.get("route"), "path", "")
    under = f"/{agent}"
    sent = scope["path"].startswith(f"{under}/") and not path.startswith(f"{under}/")
    return f"{under}{path}" if path and sent else path or "none"
