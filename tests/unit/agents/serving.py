"""A real HTTP server for a test, which answers as its handler does."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Answers as `respond` does, and prints nothing."""

    respond: "Callable[[Handler], None]"

    def do_GET(self) -> None:
        self.respond(self)

    def do_POST(self) -> None:
        self.respond(self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
        pass

    def body(self) -> bytes:
        """Return the request's body."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, content: bytes = b"") -> None:
        """Send an answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving(respond: Callable[[Handler], None]) -> Iterator[str]:
    """Serve on loopback; yield the URL."""
    handler = type("Answers", (Handler,), {"respond": staticmethod(respond)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
