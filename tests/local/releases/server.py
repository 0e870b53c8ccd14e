"""A stand-in for an agent: answers as they do, or fails in the way that its image says."""

import collections
import itertools
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
BOUNDS = (0.1, 2.5, 5.0, float("inf"))
requests: collections.Counter[tuple[str, int]] = collections.Counter()
within: collections.Counter[tuple[str, float]] = collections.Counter()
asked = itertools.count()
counting = threading.Lock()


def figures() -> bytes:
    """Return what was counted, as the agents have it."""
    with counting:
        lines = [
            f'acso_requests_total{{route="{route}",status="{status}"}} {number}'
            for (route, status), number in requests.items()
        ]
        lines += [
            f'acso_request_seconds_bucket{{route="{route}",le="{bound}"}} {number}'
            for (route, bound), number in within.items()
        ]
    with open("/proc/self/statm") as file:  # noqa: PTH123 (the image has this file alone)
        memory = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    # How much CPU a busy process gets depends on the machine, so it claims a whole one.
    used = time.monotonic() if MODE == "busy" else time.process_time()
    lines += [f"process_cpu_seconds_total {used}"]
    lines += [f"process_resident_memory_bytes {memory}", ""]
    return "\n".join(lines).encode()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        began = time.monotonic()
        status = 200
        if self.path == "/metrics":
            self.answer(200, figures())
        elif self.path.endswith("/work"):
            time.sleep(4 if MODE == "lazy" else 0)
            status = 500 if MODE == "failing" else 200
            self.answer(status, b"{}")
        else:
            time.sleep(0.05 if MODE == "slower" else 0)
            status = self.health()
        seconds = time.monotonic() - began
        with counting:
            requests[self.path, status] += 1
            for bound in BOUNDS:
                within[self.path, bound] += seconds <= bound

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def health(self) -> int:
        told = {name: os.environ[f"ACSO_{name.upper()}"] for name in NAMES}
        sick = MODE == "sick"
        if MODE == "liar":
            told["version"] = "another"
        body = json.dumps({"status": "unhealthy" if sick else "healthy", **told}).encode()
        unknown = MODE in PATHS and not self.path.endswith(PATHS[MODE])
        flaky = MODE == "flaky" and self.path.endswith("/whoami") and not next(asked) % 5
        status = 500 if sick or flaky else 404 if unknown else 200
        self.answer(status, body)
        return status


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
kept = b"x" * (450 << 20) if MODE == "large" else b""  # of 512 MiB
address = ("0.0.0.0", int(os.environ["PORT"]))  # inside a container  # noqa: S104
ThreadingHTTPServer(address, Handler).serve_forever()
