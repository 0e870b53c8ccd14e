"""The HTTP server of a session: the protocol of Dagger's client, on loopback only."""

import base64
import hmac
import json
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import uvicorn

from ci.engine.api.graph import Graph
from ci.engine.docker.docker_api import Daemon, remove_dead_sessions, remove_sessions
from ci.engine.errors import EngineError
from ci.engine.execution.session import Engine
from ci.engine.options import Options

#: Seconds that the end of a session may take; the next session removes what is left.
STOP_TIMEOUT = 10
#: Bytes of a query, with the contents of new files in it.
MAX_QUERY = 64 << 20
#: Seconds within which the next part of a query must arrive.
BODY_TIMEOUT = 60

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Session:
    """The address of an engine, for a client."""

    port: int
    token: str = field(repr=False)

    def environ(self) -> dict[str, str]:
        """Return the environment variables that Dagger's clients read."""
        return {"DAGGER_SESSION_PORT": str(self.port), "DAGGER_SESSION_TOKEN": self.token}


@asynccontextmanager
async def serve(options: Options) -> AsyncIterator[Session]:
    """Run an engine in a thread of its own until the block ends.

    Raises:
        EngineError: no container engine register, or the cache directory cannot be used.
    """
    daemon = await anyio.to_thread.run_sync(Daemon, options.docker, options.labels)
    worker = _Worker(options, daemon)
    worker.start()
    try:
        await anyio.to_thread.run_sync(worker.ready.result)
        yield worker.session
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(worker.stop)


class _Worker(threading.Thread):
    """The thread of the server's event loop; its socket is open before it starts."""

    def __init__(self, options: Options, daemon: Daemon) -> None:
        super().__init__(name="engine", daemon=True)
        self._options = options
        self._daemon = daemon
        self._socket = socket.create_server(("127.0.0.1", 0))
        token = secrets.token_urlsafe(32)
        self.session = Session(port=int(self._socket.getsockname()[1]), token=token)
        self.ready: Future[None] = Future()
        self._app = _App(token)
        config = uvicorn.Config(
            self._app,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=600,
            timeout_graceful_shutdown=1,
            ws="none",
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Serve until `stop`. An error is raised by `ready`, or logged after that."""
        try:
            anyio.run(self._main)
        except BaseException as error:
            if self.ready.done():
                self._options.log(f"the engine ended: {error!r}")
            else:
                self.ready.set_exception(error)
        finally:
            self._socket.close()  # a later client is refused at once

    def stop(self) -> None:
        """End the session: remove its containers and volumes, close the socket."""
        self._server.should_exit = True
        self.join(STOP_TIMEOUT + 5)

    async def _main(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                try:
                    engine = Engine(self._options, self._daemon, group)
                except EngineError as error:
                    self.ready.set_exception(error)
                    return
                self.ready.set_result(None)
                self._app.graph = Graph(engine)
                earlier = partial(remove_dead_sessions, self._daemon, self._options.labels)
                group.start_soon(self._clean_up, "of earlier sessions", earlier)
                group.start_soon(engine.images.borrowed_tags.give_back_all)
                await self._server.serve(sockets=[self._socket])
                group.cancel_scope.cancel()
            engine.store.close()
        finally:
            with anyio.move_on_after(STOP_TIMEOUT, shield=True):
                own = partial(remove_sessions, self._daemon, [self._daemon.session])
                await self._clean_up("of this session", own)
            self._daemon.close()

    async def _clean_up(self, whose: str, remove: Callable[[], Awaitable[None]]) -> None:
        try:
            await remove()
        except EngineError as error:
            self._options.log(f"leftovers {whose} stay until the next session: {error}")


class _RefusedError(Exception):
    """A request is refused: an HTTP status, and the reason."""


class _App:
    """The ASGI application: one path, protected by the session's token."""

    graph: Graph

    def __init__(self, token: str) -> None:
        self._expected = b"Basic " + base64.b64encode(f"{token}:".encode())

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            query = await self._query(scope, receive)
        except _RefusedError as error:
            status, reason = error.args
            await _reply(send, status, json.dumps({"errors": [{"message": reason}]}).encode())
        else:
            await self._answer(query, receive, send)

    async def _query(self, scope: dict[str, Any], receive: Receive) -> dict[str, Any]:
        given = dict(scope["headers"]).get(b"authorization", b"")
        if not hmac.compare_digest(given, self._expected):
            raise _RefusedError(401, "wrong session token")
        if (scope["method"], scope["path"]) != ("POST", "/query"):
            raise _RefusedError(404, "the only endpoint is POST /query")
        body, more = bytearray(), True
        while more:
            with anyio.move_on_after(BODY_TIMEOUT) as waited:
                message = await receive()
            if waited.cancelled_caught or message["type"] == "http.disconnect":
                raise _RefusedError(408, "the request ended before its body was complete")
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MAX_QUERY:
                raise _RefusedError(413, f"the query is larger than {MAX_QUERY >> 20} MiB")
        try:
            query: dict[str, Any] = json.loads(body)
            return query | {"query": str(query["query"])}
        except (ValueError, KeyError, TypeError) as error:
            raise _RefusedError(400, "the body is not a GraphQL request in JSON") from error

    async def _answer(self, query: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer, unless the client disconnects first."""
        async with anyio.create_task_group() as group:

            async def gone() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(gone)
            await _reply(send, 200, await self._result(query))
            group.cancel_scope.cancel()

    async def _result(self, query: dict[str, Any]) -> bytes:
        """Return the response to a query: an error of the engine itself is part of it too."""
        variables, operation = query.get("variables"), query.get("operationName")
        try:
            return await self.graph.answer(query["query"], variables, operation)
        except Exception as error:
            message = f"the engine failed: {type(error).__name__}: {error}"
            return json.dumps({"data": None, "errors": [{"message": message}]}).encode()


async def _reply(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
