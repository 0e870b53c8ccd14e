"""Logs as JSON on stdout, one object on each line, and the access log.

Request bodies, headers and query strings are never logged: they may contain confidential data.
"""

import json
import logging
import re
import sys
import time
import uuid
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Id of the current request; empty outside a request.
request_id: ContextVar[str] = ContextVar("request_id", default="")
#: Which agent logs, where several run in one process; empty: the one of `configure`.
agent: ContextVar[str] = ContextVar("agent", default="")
#: Role and name of the current request's caller; empty if it is not known.
caller: ContextVar[str] = ContextVar("caller", default="")

_access = logging.getLogger("agents.access")
#: Valid request ids; a client's or load balancer's id is used if it cannot break a log line.
_ID = re.compile(r"[\w.:;=/+-]{1,128}", re.ASCII)
_ID_HEADERS = (b"x-request-id", b"x-amzn-trace-id")


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object: time, level, agent, version, message and its fields."""

    def __init__(self, name: str, version: str) -> None:
        super().__init__()
        self._common = {"agent": name, "version": version}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; fields come from `extra={"fields": {...}}`, a traceback as text."""
        time_ = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": time_.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            **self._common,
            **({"agent": agent.get()} if agent.get() else {}),
            "message": record.getMessage(),
            **({"request_id": request_id.get()} if request_id.get() else {}),
            **({"caller": caller.get()} if caller.get() else {}),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(name: str, version: str) -> None:
    """Write all log records of level INFO and above to stdout as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(name, version))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class AccessLog:
    """ASGI middleware that gives each request an id and logs its response.

    It is the outermost layer: an unhandled error is logged here once, with its request, after the
    500 was sent. Successful health checks are not logged, because they come every few seconds.
    """

    def __init__(self, app: "ASGIApp", quiet: frozenset[str]) -> None:
        self._app = app
        self._quiet = quiet

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Handle one HTTP request; other events pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, failed = time.perf_counter(), 500, False
        identity = _identity(scope["headers"])
        token, nobody = request_id.set(identity), caller.set("")

        async def answer(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-request-id", identity.encode()),
                ]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception:
            failed = True
            self._log(scope, status, began, failed=True)
        finally:
            if not failed:
                self._log(scope, status, began)
            request_id.reset(token)
            caller.reset(nobody)

    def _log(self, scope: "Scope", status: int, began: float, *, failed: bool = False) -> None:
        path = scope["path"]
        if path in self._quiet and status == 200:
            return
        level = logging.ERROR if status >= 500 else logging.INFO
        fields = {
            "method": scope["method"],
            "path": path,
            "status": status,
            "duration_ms": round((time.perf_counter() - began) * 1000, 1),
        }
        message = "%s %s %d"
        arguments = (scope["method"], path, status)
        _access.log(level, message, *arguments, exc_info=failed, extra={"fields": fields})


def _identity(headers: list[tuple[bytes, bytes]]) -> str:
    given = dict(reversed(headers))
    for name in _ID_HEADERS:
        text = given.get(name, b"").decode("latin-1")
        if _ID.fullmatch(text):
            return text
    return uuid.uuid4().hex
