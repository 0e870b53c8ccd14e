"""Errors as problem documents (RFC 9457), `application/problem+json`."""

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic_core import PydanticSerializationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from agents.common.store.state import ConflictError, StateError

_log = logging.getLogger("agents.errors")
MEDIA_TYPE = "application/problem+json"
#: For OpenAPI: what a response is whose status a route does not name.
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem document (RFC 9457).",
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                        "errors": {"type": "array", "items": {"type": "object"}},
                    },
                }
            }
        },
    }
}
#: Methods that a path may have.
METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
#: Limit of the errors in a response 422; a body can have a million.
MAX_ERRORS = 20


class ProblemError(Exception):
    """A request that is not done; its status and detail are the response."""

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


def missing(what: str, name: str) -> ProblemError:
    """Return the problem of something that does not exist."""
    return ProblemError(404, f"there is no {what} {name}")


def response(
    status: int,
    detail: str,
    *,
    errors: Sequence[Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem document."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors is not None:
        document["errors"] = list(errors)
    # ASCII, because the input that an error repeats may have no valid encoding.
    content = json.dumps(document, default=str)
    return Response(content, status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error of an app with a problem document."""
    app.exception_handler(ProblemError)(_problem)
    app.exception_handler(StateError)(_no_state)
    app.exception_handler(ConflictError)(_conflict)
    app.exception_handler(PydanticSerializationError)(_not_text)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_refused)
    app.exception_handler(Exception)(_unexpected)


async def _problem(_: Request, error: ProblemError) -> Response:
    return response(error.status, error.detail, headers=error.headers)


async def _no_state(_: Request, error: StateError) -> Response:
    _log.warning("%s", error)
    return response(503, "the state cannot be read or written", headers={"Retry-After": "1"})


async def _conflict(*_: object) -> Response:
    return response(409, "another request changed the same; read it again")


async def _not_text(*_: object) -> Response:
    return response(422, "the request has text that is not valid Unicode")


async def _invalid(_: Request, error: RequestValidationError) -> Response:
    first = error.errors()[:MAX_ERRORS]
    where = ".".join(str(part) for part in first[0]["loc"]) if first else "the request"
    detail = f"{where}: {first[0]['msg']}" if first else "the request is invalid"
    # Without the input: it may be secret, is repeated in each error, and may have no encoding.
    errors = [{name: error[name] for name in ("loc", "msg", "type")} for error in first]
    return response(422, detail, errors=errors)


async def _refused(request: Request, error: HTTPException) -> Response:
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # Starlette names the methods of the path's first route alone.
        allowed = [
            method
            for method in METHODS
            if any(
                route.matches({**request.scope, "method": method})[0] is Match.FULL
                for route in request.app.routes
            )
        ]
        headers["Allow"] = ", ".join(allowed)
    return response(error.status_code, str(error.detail), headers=headers)


async def _unexpected(*_: object) -> Response:
    # The log has the traceback; the caller gets the request's id in a header.
    return response(500, "the request failed; the log has the reason under its request id")
