"""One agent as a process: these start Python, so each takes about half a second."""

import http.server
import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agents import healthcheck
from agents.common import server

Start = Callable[..., Any]

#: An agent whose one route takes as long as it takes its client to send a signal.
SLOW = """
import asyncio
from fastapi import APIRouter

router = APIRouter()

@router.get("/slow")
async def slow() -> str:
    print("working", flush=True)
    await asyncio.sleep(0.5)
    return "done"
"""
ENDLESS = SLOW.replace("0.5", "3600")
#: An agent that is still importing when it is told to stop.
IMPORTING = """
import time

print("importing", flush=True)
time.sleep(3600)
"""
FAILING_LIFESPAN = """
from contextlib import asynccontextmanager
from fastapi import APIRouter

@asynccontextmanager
async def lifespan(app):
    raise RuntimeError("boom")
    yield

router = APIRouter(lifespan=lifespan)
"""


def package(path: Path, api: str, before: str = "") -> tuple[str, ...]:
    """Write an agent; return what starts it, after running `before`."""
    (path / "odd_agent").mkdir()
    (path / "odd_agent" / "__init__.py").touch()
    (path / "odd_agent" / "api.py").write_text(api)
    unprotected = "from agents.common import app; app.OPEN += ('/slow',)"
    program = f'{before}\n{unprotected}\nfrom agents.common.server import run; run("odd_agent")'
    return ("-c", program)


def test_an_agent_starts_serves_and_stops_with_exit_code_0(start: Start) -> None:
    agent = start("-m", "agents.threat_hunter", ACSO_VERSION="v7", ACSO_AGENT="threat-hunter")
    agent.until("startup complete")
    with httpx.Client(trust_env=False) as client:
        health = client.get(f"{agent.url}/threat-hunter/health").json()
        checked = start("-m", "agents.healthcheck", PORT=str(agent.port))
        assert checked.ended() == (0, "")
        agent.popen.send_signal(signal.SIGTERM)
        code, log = agent.ended()
    assert (health["agent"], health["version"]) == ("threat-hunter", "v7")
    assert code == 0
    assert all(json.loads(line)["version"] == "v7" for line in log.splitlines())


def test_a_running_request_is_finished_before_the_stop(start: Start, tmp_path: Path) -> None:
    agent = start(*package(tmp_path, SLOW), path=tmp_path)
    agent.until("startup complete")
    answers: list[httpx.Response] = []

    def ask() -> None:
        with httpx.Client(trust_env=False) as client:
            answers.append(client.get(f"{agent.url}/odd-agent/slow"))

    thread = threading.Thread(target=ask)
    thread.start()
    agent.until("working")
    agent.popen.send_signal(signal.SIGTERM)
    thread.join()
    assert answers[0].json() == "done"
    assert agent.ended()[0] == 0


def test_a_request_that_does_not_end_does_not_hold_the_stop_up(
    start: Start, tmp_path: Path
) -> None:
    hurried = "from agents.common import server; server.GRACE = 1"
    agent = start(*package(tmp_path, ENDLESS, hurried), path=tmp_path)
    agent.until("startup complete")
    with socket.create_connection(("127.0.0.1", agent.port)) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: agent\r\n\r\n")
        agent.until("working")
        agent.popen.send_signal(signal.SIGTERM)
        code, log = agent.ended()
    assert code == 0
    assert "timeout graceful shutdown exceeded" in log


def test_the_time_to_finish_in_ends_before_ecs_kills() -> None:
    assert server.GRACE < 30


def test_a_stop_during_the_start_is_no_failure(start: Start, tmp_path: Path) -> None:
    agent = start(*package(tmp_path, IMPORTING), path=tmp_path)
    agent.until("importing")
    agent.popen.send_signal(signal.SIGTERM)
    assert agent.ended() == (0, "")


@pytest.mark.parametrize("api", ['raise RuntimeError("boom")\n', FAILING_LIFESPAN])
def test_an_agent_that_cannot_start_exits_1_with_the_reason_on_its_log(
    api: str, start: Start, tmp_path: Path
) -> None:
    code, log = start(*package(tmp_path, api), path=tmp_path).ended()
    assert code == 1
    lines = [json.loads(line) for line in log.splitlines()]
    assert lines[-1]["level"] in ("critical", "error")
    assert "RuntimeError: boom" in "".join(log.splitlines()[-3:])
    assert "Traceback" in log


def test_a_used_port_is_named(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, log = start("-m", "agents.threat_hunter", PORT=str(port)).ended()
    assert code == 1
    assert f"cannot listen on 127.0.0.1, port {port}" in json.loads(log)["message"]


def test_a_health_check_where_nothing_listens_fails_with_the_reason(start: Start) -> None:
    code, said = start("-m", "agents.healthcheck").ended()
    assert code == 1
    assert "ConnectionRefusedError" in said


@pytest.fixture
def answering() -> Iterator[Callable[[int, bytes], int]]:
    """Serve one answer on a free port; return the port."""
    opened: list[http.server.HTTPServer] = []

    def serve(status: int, body: bytes) -> int:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if self.path == "/health" else 404)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        one = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        opened.append(one)
        threading.Thread(target=one.handle_request).start()
        return one.server_port

    yield serve
    for one in opened:
        one.server_close()


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (200, b'{"status": "healthy"}', None),
        (200, b'{"status": "degraded"}', "/health says status 'degraded'"),
        (200, b"[]", "/health says status None"),
        (200, b"hello", "JSONDecodeError"),
        (500, b'{"status": "healthy"}', "/health answered 500"),
    ],
)
def test_only_a_200_with_status_healthy_is_healthy(
    status: int, body: bytes, problem: str | None, answering: Callable[[int, bytes], int]
) -> None:
    found = healthcheck.problem(answering(status, body))
    assert found is None if problem is None else problem in str(found)


def test_the_health_check_reads_the_port_and_exits_with_the_problem(
    answering: Callable[[int, bytes], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", str(answering(503, b"")))
    with pytest.raises(SystemExit, match="/health answered 503"):
        healthcheck.main()


def test_a_health_check_starts_without_installed_packages(start: Start) -> None:
    # It runs every few seconds: what it imports is what it costs.
    code, said = start("-S", "-c", "import agents.healthcheck; print('imported')").ended()
    assert (code, said.strip()) == (0, "imported")
