"""The program that the tests deploy: a web server whose faults are set by its environment."""

import http.server
import os
import signal
import socketserver
import threading
import time
from pathlib import Path

given = os.environ.get
if given("EAT"):
    eaten = [bytearray(1 << 20) for _ in range(1 << 10)]
time.sleep(float(given("DELAY", "0")))
while given("WAIT") and not Path("/tmp/start").exists():
    time.sleep(0.02)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        health = self.path.endswith("/health")
        if self.path.endswith("/wait"):  # shows that the request has arrived, then waits
            Path("/tmp/here").touch()
            while not Path("/tmp/leave").exists():
                time.sleep(0.02)
        self.send_response(int(given("STATUS", "200")) if health else 200)
        self.end_headers()
        self.wfile.write(given("VERSION", "").encode())

    def log_message(self, *_: object) -> None: ...


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # open requests are answered before the end
    request_queue_size = 128

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's would ask DNS for its own name


server = Server(("", 8000), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
server.server_close()
