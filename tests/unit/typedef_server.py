"""A server that takes a module's type definitions as a Dagger engine does, and runs nothing.

It answers the schema of Dagger's API. Every object is the chain of calls that leads to it; its id
is that chain as JSON. So the id of the module that an SDK registers holds all of its definitions.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import graphql

from ci.engine.api.sdl import FILE

Call = dict[str, Any]  # {"field": ..., "args": {...}, "on": the call before, or None}


def _schema() -> graphql.GraphQLSchema:
    return graphql.build_schema(FILE.read_text(encoding="utf-8"), assume_valid=True)


def _resolve(source: Call | None, info: graphql.GraphQLResolveInfo, /, **args: Any) -> Any:
    if info.field_name == "id":
        return json.dumps(source)
    if info.field_name == "node":
        return json.loads(args["id"])
    loaded = {name: _loaded(value) for name, value in args.items()}
    kind = graphql.get_named_type(info.return_type)
    return {"field": info.field_name, "args": loaded, "on": source, "type": kind.name}


def _loaded(value: Any) -> Any:
    """Return the call chain that an id holds; any other value as it is."""
    if isinstance(value, str) and value.startswith('{"field"'):
        return json.loads(value)
    return value


@contextmanager
def serving() -> Iterator[dict[str, str]]:
    """Serve on loopback; yields the variables by which the client finds the server."""
    schema = _schema()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            result = graphql.graphql_sync(
                schema,
                body["query"],
                variable_values=body.get("variables"),
                field_resolver=_resolve,
                type_resolver=lambda call, *_: call["type"],
            )
            answer = json.dumps(result.formatted).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            with suppress(BrokenPipeError):  # a client that is done need not read the answer
                self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        port = str(server.server_address[1])
        yield {"DAGGER_SESSION_PORT": port, "DAGGER_SESSION_TOKEN": "unused"}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def calls(chain: Call | None) -> list[Call]:
    """Return the calls of a chain, the first one first."""
    return [*calls(chain["on"]), chain] if chain else []
