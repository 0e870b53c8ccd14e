"""The app factory: adds the routes that every agent has to an agent's own."""

import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
from fastapi import APIRouter, FastAPI, Response, Security
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp

from agents.common import errors
from agents.common.gate import Gate
from agents.common.inspection import routes as routes_of_inspection
from agents.common.readiness import Dependency, StateTable
from agents.common.runtime import Runtime, from_settings
from agents.common.settings import Settings
from agents.common.store.dynamo import DynamoTable
from agents.common.telemetry import traces
from agents.common.telemetry.logs import AccessLog

#: Limit of a request's body, 1 MiB; a larger one is answered with 413. Every validation error costs
#: about 1 kB of memory and time of the event loop, and a few bytes are enough for an error.
MAX_BYTES = 1024 * 1024
#: Paths under both prefixes that need no token.
OPEN = ("/health", "/ready")

#: Work that an agent does beside its requests, until it is cancelled.
Background = Callable[[Runtime], Coroutine[Any, Any, None]]


@dataclass(frozen=True, kw_only=True)
class Health:
    """The answer of `/health`: the process runs, with this version and digest."""

    status: str
    agent: str
    version: str
    digest: str
    environment: str
    uptime: float  # seconds since the start


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """The answer of `/ready`: whether the agent can work, and the state of its dependencies."""

    status: str
    agent: str
    version: str
    dependencies: dict[str, Dependency]


def create(
    settings: Settings,
    routes: APIRouter,
    *,
    runtime: Runtime | None = None,
    background: Background | None = None,
) -> ASGIApp:
    """Return the ASGI app of one agent.

    Every route exists twice: under `/` for the container's health check and calls inside the
    network, and under `/{agent}`, because the load balancer does not rewrite paths.

    Args:
        settings: of the process.
        routes: the agent's own.
        runtime: what they work with; None: what the settings say.
        background: what the agent does beside its requests.
    """
    parts = runtime or from_settings(settings)
    # No pages for OpenAPI: they load scripts from other hosts. The document itself is served.
    app = FastAPI(
        title=f"ACSO {settings.agent}",
        version=settings.version,
        openapi_url=None,
        servers=[{"url": f"/{settings.agent}"}],
        responses=errors.DOCUMENTED,
        max_body_size=MAX_BYTES,
        telemetry=traces.of_requests(settings),
        lifespan=lambda _: lifespan(parts, background),
    )
    app.state.runtime = parts
    errors.install(app)
    common, inspection = _common(app, parts), routes_of_inspection()
    # For the document alone: the gate checks tokens before any route.
    bearer = [Security(HTTPBearer(auto_error=False))]
    under = f"/{settings.agent}"
    for prefix in ("", under):
        # The document lists each path once.
        app.include_router(common, prefix=prefix, include_in_schema=not prefix)
        for router in (inspection, routes):
            app.include_router(
                router, prefix=prefix, include_in_schema=not prefix, dependencies=bearer
            )
    # Under `/` alone: the load balancer, which sends `/{agent}/*`, does not publish the figures.
    app.include_router(_figures(parts))
    paths = frozenset({"/metrics", *(prefix + path for prefix in ("", under) for path in OPEN)})
    quiet = frozenset({"/health", "/metrics", f"{under}/health"})
    return AccessLog(Gate(app, parts, paths), quiet=quiet)


@asynccontextmanager
async def lifespan(parts: Runtime, background: Background | None) -> AsyncIterator[None]:
    """Do an agent's work beside its requests until the end of the context."""
    traces.hide_queries()
    async with anyio.create_task_group() as group:
        if isinstance(parts.table, DynamoTable):
            group.start_soon(anyio.to_thread.run_sync, parts.table.warm)
        if background is not None:
            group.start_soon(background, parts)
        yield
        group.cancel_scope.cancel()


def _common(app: FastAPI, parts: Runtime) -> APIRouter:
    router = APIRouter()
    began = time.monotonic()
    settings = parts.settings
    state = StateTable(settings)

    @router.get("/health")
    async def health() -> Health:
        """Return that the process runs, and which build it is."""
        return Health(
            status="healthy",
            agent=settings.agent,
            version=settings.version,
            digest=settings.digest,
            environment=settings.environment,
            uptime=round(time.monotonic() - began, 3),
        )

    @router.get("/ready")
    async def ready(response: Response) -> Readiness:
        """Return whether the agent can work."""
        dependencies = {"state_table": await state.check()}
        blocked = any(dependency.failed for dependency in dependencies.values())
        response.status_code = 503 if blocked else 200
        return Readiness(
            status="not ready" if blocked else "ready",
            agent=settings.agent,
            version=settings.version,
            dependencies=dependencies,
        )

    @router.get("/openapi.json", include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        return app.openapi()

    return router


def _figures(parts: Runtime) -> APIRouter:
    router = APIRouter()

    @router.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        """Return the figures of this process in Prometheus' text format."""
        return Response(parts.metrics.text(), media_type="text/plain; version=1.0.0")

    return router
