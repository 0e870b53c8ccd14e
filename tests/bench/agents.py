"""Load on deployed agents: requests at planned times, whether earlier ones are answered or not.

    ./acso bench agents [--rate 50] [--seconds 30] [--agents supervisor ...]

It needs a deployed development environment on the embedded AWS. Each agent gets requests of its own
kind through the load balancer, one agent after the other; then the threat hunter gets 100,000
events in one request. Latencies count from the planned time. The exit code is 1 after an error, or
if the machine could not hold the rate.
"""

import argparse
import gzip
import json
import statistics
import subprocess
import sys
import time
from typing import Any

import anyio
import urllib3
from rich.console import Console
from rich.table import Table

from ci.aws.prober import Request, Response
from ci.local import embedded_aws
from ci.local.container_engine import TASK_LABEL, client
from tests.local.releases.environment import ROOT
from validation.regression.load import Run, Series, fire, planned

SEED = 20_261_126
EVENTS = 100_000
WORK: dict[str, tuple[str, str, Any]] = {
    "supervisor": ("POST", "/goals", {"goal": "Look into the breach and cut the costs"}),
    "threat-hunter": (
        "POST",
        "/hunts",
        {"events": [{"event": "login", "source": "192.0.2.7", "time": "2026-11-24T12:00:00Z"}]},
    ),
    "incident-response": (
        "POST",
        "/assess",
        {"type": "malware", "severity": "high", "systems": ["web-1"]},
    ),
    "service-orchestration": ("POST", "/tickets", {"title": "VPN is down", "description": "all"}),
    "financial-intelligence": ("GET", "/summary", None),
}
PATIENCE = urllib3.Timeout(connect=5, read=60)


def acso(*arguments: str) -> Any:
    """Return the result of a command of the pipeline."""
    command = [str(ROOT / "acso"), *arguments, "--env", "development", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["result"]


def addresses() -> dict[str, str]:
    """Return the agents' URLs behind the load balancer of the embedded AWS."""
    found = embedded_aws.recorded()
    if found is None or not found.process.alive():
        raise SystemExit("the embedded AWS does not run; next: ./acso deploy --env development")
    base = found.load_balancer.format(name="acso-development-alb")
    return {agent: f"{base}/{agent}" for agent in WORK}


def megabytes(agent: str) -> float:
    """Return the memory of an agent's containers."""
    used = 0
    for container in client(None).containers.list(
        filters={"label": TASK_LABEL}, ignore_removed=True
    ):
        if agent in str(container.name):
            found: Any = container.stats(stream=False)
            used += found["memory_stats"]["usage"]
    return used / 2**20


def requests(agent: str, url: str, token: str) -> list[Request]:
    """Return the requests that an agent gets in turn."""
    method, path, body = WORK[agent]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    content = None if body is None else json.dumps(body).encode()
    return [Request(url=f"{url}{path}", method=method, headers=headers, body=content)]


async def loaded(sent: list[Request], rate: float, seconds: float) -> Run:
    """Send an agent its requests at a rate."""
    pool = urllib3.PoolManager(maxsize=64)

    def send(request: Request) -> Response:
        began = time.monotonic()
        try:
            answer = pool.request(
                request.method,
                request.url,
                body=request.body,
                headers=dict(request.headers),
                timeout=PATIENCE,
                retries=False,
            )
        except urllib3.exceptions.HTTPError as error:
            return Response(status=0, error=str(error), seconds=time.monotonic() - began)
        return Response(status=answer.status, seconds=time.monotonic() - began)

    shots = planned({"all": sent}, rate=rate, seconds=seconds, seed=SEED)
    return await fire(shots, send, seconds=seconds)


def events() -> bytes:
    """Return the large log, gzipped: many sources, a few of which attack."""
    lines = (
        json.dumps(
            {
                "event": "authentication_failure" if number % 50 == 0 else "login",
                "source": f"198.51.{number % 100}.{number % 250}",
                "time": f"2026-11-24T12:{number // 2000 % 60:02}:{number % 60:02}Z",
            }
        )
        for number in range(EVENTS)
    )
    return gzip.compress("\n".join(lines).encode())


def large(url: str, token: str) -> float:
    """Return the seconds of one request with all events."""
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/x-ndjson",
        "Content-Encoding": "gzip",
    }
    body, began = events(), time.monotonic()
    answer = urllib3.request("POST", f"{url}/events", body=body, headers=headers, timeout=PATIENCE)
    if answer.status != 200 or answer.json()["events"] != EVENTS:
        message = f"the large log was answered with {answer.status}: {answer.data[:200]!r}"
        raise SystemExit(message)
    return time.monotonic() - began


def row(agent: str, series: Series, run: Run, memory: tuple[float, float]) -> list[str]:
    """Return a line of the table."""
    held = run.invalid or "held"
    shown = ["-"] * 3
    if len(series.latencies) > 1:
        points = statistics.quantiles(series.latencies, n=100, method="inclusive")
        shown = [f"{1000 * points[at - 1]:.0f} ms" for at in (50, 95, 99)]
    return [
        agent,
        str(run.sent),
        str(series.errors),
        *shown,
        f"{memory[0]:.0f}, {memory[1]:.0f} MB",
        held,
    ]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="acso bench agents")
    parser.add_argument("--rate", type=float, default=50, help="requests a second (50)")
    parser.add_argument("--seconds", type=float, default=30, help="of each agent (30)")
    parser.add_argument("--agents", nargs="+", choices=[*WORK], default=[*WORK])
    options = parser.parse_args()
    token = str(acso("token")["token"])
    urls = addresses()
    table = Table(
        "agent", "requests", "errors", "p50", "p95", "p99", "memory before, after", "rate"
    )
    bad = False
    for agent in options.agents:
        before = megabytes(agent)
        sent = requests(agent, urls[agent], token)
        run = anyio.run(loaded, sent, options.rate, options.seconds)
        series = run.series["all"]
        bad = bad or bool(run.invalid or series.errors)
        table.add_row(*row(agent, series, run, (before, megabytes(agent))))
    console = Console()
    console.print(table)
    if "threat-hunter" in options.agents:
        seconds = large(urls["threat-hunter"], token)
        memory = megabytes("threat-hunter")
        console.print(f"{EVENTS} events in one request: {seconds:.1f} s; memory {memory:.0f} MB")
    sys.exit(bad)


if __name__ == "__main__":
    main()
