"""A stand-in for an agent: answers as they do, or fails in the way that its image says."""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODE = os.environ.get("MODE", "good")
PATHS = {"old": "/health", "new": "/alive"}  # the only path that such a mode knows
NAMES = ("agent", "version", "digest", "environment")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        told = {name: os.environ[f"ACSO_{name.upper()}"] for name in NAMES}
        sick = MODE == "sick"
        if MODE == "liar":
            told["version"] = "another"
        body = json.dumps({"status": "unhealthy" if sick else "healthy", **told}).encode()
        unknown = MODE in PATHS and not self.path.endswith(PATHS[MODE])
        self.send_response(500 if sick else 404 if unknown else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print(f"starting {os.environ['ACSO_AGENT']}", flush=True)
if MODE == "crash":
    print("reading the rules", flush=True)
    raise RuntimeError("boom")
if MODE == "slow":
    time.sleep(4)
LIVES = {"late": 6, "later": 20}  # seconds that all is well
if MODE in LIVES:
    print("all is well for a while", flush=True)
    threading.Timer(LIVES[MODE], os.kill, (os.getpid(), signal.SIGKILL)).start()
address = ("0.0.0.0", int(os.environ["PORT"]))  # inside a container  # noqa: S104
ThreadingHTTPServer(address, Handler).serve_forever()
