"""One application of all agents: each path is sent to its agent, as the load balancer does it."""

import importlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from agents.common.app import Background, create, lifespan
from agents.common.runtime import Runtime, from_settings
from agents.common.settings import read
from agents.common.telemetry import logs

#: Names of the agents to run, with commas.
NAMES = "ACSO_LAPTOP_AGENTS"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One agent of the application."""

    app: ASGIApp
    runtime: Runtime
    background: Background | None


class Dispatcher:
    """Sends a request to the agent that its path begins with."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; 404 if its path begins with no agent's name."""
        name = scope["path"].split("/")[1]
        if name not in self._parts:
            detail = f"no agent has this path; they are /{', /'.join(self._parts)}"
            answer = JSONResponse({"title": "Not Found", "status": 404, "detail": detail}, 404)
            await answer(scope, receive, send)
            return
        logs.agent.set(name)
        await self._parts[name].app(scope, receive, send)


def together() -> Starlette:
    """Return the application of the agents that the environment variables name.

    The server calls this again after every change of the code.
    """
    logs.configure("laptop", os.environ.get("ACSO_VERSION", "laptop"))
    parts = {name: _part(name) for name in os.environ[NAMES].split(",")}

    @asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for name, part in parts.items():
                logs.agent.set(name)  # what it does beside its requests logs under its name
                await stack.enter_async_context(lifespan(part.runtime, part.background))
            logs.agent.set("")
            yield

    app = Starlette(lifespan=running)
    app.router.default = Dispatcher(parts)  # a route would match no path with a line's end in it
    return app


def _part(name: str) -> Part:
    api = importlib.import_module(f"agents.{name.replace('-', '_')}.api")
    settings = read(name, os.environ)
    runtime, background = from_settings(settings), getattr(api, "background", None)
    app = create(settings, api.router, runtime=runtime, background=background)
    return Part(app=app, runtime=runtime, background=background)
