"""A session: the protocol of Dagger's client over HTTP, on this machine's loopback alone."""

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

from ci.engine.daemon import Daemon, clean
from ci.engine.engine import Engine
from ci.engine.errors import EngineError
from ci.engine.fields import FIELDS
from ci.engine.graph import Graph
from ci.engine.options import Options

#: Seconds that ending a session may take; what is left is removed by the next one.
FAREWELL = 10
#: Bytes of a query, contents of new files in it included.
LARGEST = 64 << 20
#: Seconds in which the next part of a query must arrive.
PATIENCE = 60

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Session:
    """Where a client finds the engine."""

    port: int
    token: str = field(repr=False)

    def environ(self) -> dict[str, str]:
        """Return the environment variables that Dagger's clients read."""
        return {"DAGGER_SESSION_PORT": str(self.port), "DAGGER_SESSION_TOKEN": self.token}


@asynccontextmanager
async def serve(options: Options) -> AsyncIterator[Session]:
    """Run an engine in a thread of its own until the block ends.

    Raises:
        EngineError: no container engine answers, or the cache directory cannot be used.
    """
    daemon = await anyio.to_thread.run_sync(Daemon, options.docker, options.labels)
    worker = _Worker(options, daemon)
    worker.start()
    try:
        await anyio.to_thread.run_sync(worker.begun.result)
        yield Session(port=worker.port, token=worker.token)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(worker.stop)


class _Worker(threading.Thread):
    """The thread with the server's event loop; the socket is open before it starts."""

    def __init__(self, options: Options, daemon: Daemon) -> None:
        super().__init__(name="engine", daemon=True)
        self._options = options
        self._daemon = daemon
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.token = secrets.token_urlsafe(32)
        self.begun: Future[None] = Future()
        app = _App(self.token)
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=600,
            timeout_graceful_shutdown=1,
            ws="none",
        )
        self._app, self._server = app, uvicorn.Server(config)

    def run(self) -> None:
        """Serve until `stop`; what goes wrong is told to who waits for the beginning, or logged."""
        try:
            anyio.run(self._main)
        except BaseException as error:
            if self.begun.done():
                self._options.log(f"the engine ended: {error!r}")
            else:
                self.begun.set_exception(error)
        finally:
            self._socket.close()  # who still asks is refused, not left waiting

    def stop(self) -> None:
        """End the session: containers and volumes of it go, the socket closes."""
        self._server.should_exit = True
        self.join(FAREWELL + 5)

    async def _main(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                try:
                    engine = Engine(self._options, self._daemon, group, FIELDS)
                except EngineError as error:
                    self.begun.set_exception(error)
                    return
                self.begun.set_result(None)
                self._app.ready(Graph(engine))
                group.start_soon(self._clean)
                await self._server.serve(sockets=[self._socket])
                group.cancel_scope.cancel()
            engine.store.close()
        finally:
            with anyio.move_on_after(FAREWELL, shield=True):
                await self._told("of this session", self._daemon.clear)
            self._daemon.close()

    async def _clean(self) -> None:
        """Remove what sessions that died left."""
        options = self._options
        await self._told("of earlier sessions", partial(clean, options.docker, options.labels))

    async def _told(self, whose: str, remove: Callable[[], Awaitable[None]]) -> None:
        try:
            await remove()
        except EngineError as error:
            self._options.log(f"leftovers {whose} stay for the next start: {error}")


class _App:
    """The ASGI application: one path, one token."""

    def __init__(self, token: str) -> None:
        self._expected = b"Basic " + base64.b64encode(f"{token}:".encode())
        self._graph: Graph | None = None

    def ready(self, graph: Graph) -> None:
        """Answer with this from now on."""
        self._graph = graph

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        given = dict(scope["headers"]).get(b"authorization", b"")
        if not hmac.compare_digest(given, self._expected):
            await _reply(send, 401, b'{"errors": [{"message": "wrong session token"}]}')
        elif (scope["method"], scope["path"]) != ("POST", "/query"):
            await _reply(send, 404, b'{"errors": [{"message": "POST /query is all there is"}]}')
        else:
            await self._query(receive, send)

    async def _query(self, receive: Receive, send: Send) -> None:
        body = bytearray()
        more = True
        while more:
            with anyio.move_on_after(PATIENCE) as waited:
                message = await receive()
            if waited.cancelled_caught or message["type"] == "http.disconnect":
                await _reply(send, 408, b'{"errors": [{"message": "the query did not arrive"}]}')
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > LARGEST:
                await _reply(send, 413, b'{"errors": [{"message": "the query is too large"}]}')
                return
        try:
            asked = json.loads(body)
            query = str(asked["query"])
        except (ValueError, KeyError, TypeError):
            await _reply(send, 400, b'{"errors": [{"message": "the body is no GraphQL query"}]}')
            return
        await self._answer(query, asked, receive, send)

    async def _answer(
        self, query: str, asked: dict[str, Any], receive: Receive, send: Send
    ) -> None:
        """Answer, or give up when the client goes away."""
        if self._graph is None:
            raise RuntimeError("the session has not begun")
        async with anyio.create_task_group() as group:

            async def gone() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(gone)
            found = await self._graph.answer(
                query, asked.get("variables"), asked.get("operationName")
            )
            await _reply(send, 200, found)
            group.cancel_scope.cancel()


async def _reply(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
