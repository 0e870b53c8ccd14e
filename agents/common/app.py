"""The app factory: adds the routes of every agent, `/health` and `/ready`, to an agent's own."""

import time
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from starlette.types import ASGIApp

from agents.common.logs import AccessLog
from agents.common.readiness import Dependency, StateTable
from agents.common.settings import Settings

#: Limit of a request's body, 1 MiB; a larger one is answered with 413. Every validation error costs
#: about 1 kB of memory and time of the event loop, and a few bytes are enough for an error.
MAX_BYTES = 1024 * 1024
#: Limit of the errors in a response 422. Each repeats its input, so all can be 100 times the body.
MAX_ERRORS = 20


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


def create(settings: Settings, routes: APIRouter) -> ASGIApp:
    """Return the ASGI app of one agent.

    Every route exists twice: under `/` for the container's health check and calls inside the
    network, and under `/{agent}`, because the load balancer does not rewrite paths.
    """
    # No OpenAPI pages: they load scripts from other hosts, and would list every path twice.
    app = FastAPI(title=f"ACSO {settings.agent}", openapi_url=None, max_body_size=MAX_BYTES)
    app.exception_handler(RequestValidationError)(_refuse)
    common = _common(settings)
    for prefix in ("", f"/{settings.agent}"):
        app.include_router(common, prefix=prefix)
        app.include_router(routes, prefix=prefix)
    return AccessLog(app, quiet=frozenset({"/health", f"/{settings.agent}/health"}))


async def _refuse(request: Request, error: RequestValidationError) -> Response:
    """Answer 422 as FastAPI does, with the first errors only."""
    first = RequestValidationError(error.errors()[:MAX_ERRORS])
    return await request_validation_exception_handler(request, first)


def _common(settings: Settings) -> APIRouter:
    router = APIRouter()
    began = time.monotonic()
    state = StateTable(settings)

    @router.get("/health")
    async def health() -> Health:
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
        dependencies = {"state_table": await state.check()}
        blocked = any(dependency.failed for dependency in dependencies.values())
        response.status_code = 503 if blocked else 200
        return Readiness(
            status="not ready" if blocked else "ready",
            agent=settings.agent,
            version=settings.version,
            dependencies=dependencies,
        )

    return router
