"""The app factory: one agent's routes beside the ones that every agent has."""

import time
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from starlette.types import ASGIApp

from agents.common.logs import AccessLog
from agents.common.readiness import Dependency, StateTable
from agents.common.settings import Settings

#: Bytes of a request's body, 1 MiB; more is answered with 413. Every error in a body costs about
#: 1 kB of memory and the event loop's time, and an error needs no more than a few bytes.
MOST_BYTES = 1024 * 1024
#: Errors that an answer 422 lists. Each repeats its input: all of them can be 100 times the body.
MOST_ERRORS = 20


@dataclass(frozen=True, kw_only=True)
class Health:
    """That the process answers, and which one it is."""

    status: str
    agent: str
    version: str
    digest: str
    environment: str
    uptime: float  # seconds since the start


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """Whether the agent can do its work, and what hinders it."""

    status: str
    agent: str
    version: str
    dependencies: dict[str, Dependency]


def create(settings: Settings, routes: APIRouter) -> ASGIApp:
    """Return the service of one agent.

    Every route is served twice: under `/` for the task's own health check and calls inside the
    network, and under `/{agent}`, because the load balancer passes a path on unchanged.
    """
    # Descriptions for browsers load scripts from elsewhere, and paths exist twice: none is served.
    app = FastAPI(title=f"ACSO {settings.agent}", openapi_url=None, max_body_size=MOST_BYTES)
    app.exception_handler(RequestValidationError)(_refuse)
    common = _common(settings)
    for prefix in ("", f"/{settings.agent}"):
        app.include_router(common, prefix=prefix)
        app.include_router(routes, prefix=prefix)
    return AccessLog(app, quiet=frozenset({"/health", f"/{settings.agent}/health"}))


async def _refuse(request: Request, error: RequestValidationError) -> Response:
    """Answer 422 as FastAPI does, with the first errors only."""
    first = RequestValidationError(error.errors()[:MOST_ERRORS])
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
        hindered = any(dependency.hinders for dependency in dependencies.values())
        response.status_code = 503 if hindered else 200
        return Readiness(
            status="not ready" if hindered else "ready",
            agent=settings.agent,
            version=settings.version,
            dependencies=dependencies,
        )

    return router
