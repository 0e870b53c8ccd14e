import dataclasses
import importlib
import io
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest

from agents.common.app import create
from agents.common.settings import Settings
from agents.common.telemetry import logs
from tests.unit.agents.emulator import aws, dynamo_name
from tests.unit.agents.house import PERSON, House
from tests.unit.agents.serving import Handler, serving

ROOT = Path(__file__).parents[3]

__all__ = ["aws", "dynamo_name"]

# An example may take as long as a loaded machine needs for it.
hypothesis.settings.register_profile("agents", deadline=None)
hypothesis.settings.load_profile("agents")

Open = Callable[[Settings], httpx.AsyncClient]
Start = Callable[..., "Process"]


@pytest.fixture
def client() -> Open:
    """Open an agent's own application, without a socket between; the caller is a person."""

    def open_(settings: Settings) -> httpx.AsyncClient:
        package = settings.agent.replace("-", "_")
        router = importlib.import_module(f"agents.{package}.api").router
        runtime = dataclasses.replace(House().runtime(settings.agent), settings=settings)
        app = create(settings, router, runtime=runtime)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://agent", headers=PERSON)

    return open_


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Return the JSON lines logged so far."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []  # so that configure closes none of pytest's
    stdout = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        logs.configure("threat-hunter", "v1")
    yield lambda: [
        line for line in map(json.loads, stdout.getvalue().splitlines()) if not _of_client(line)
    ]
    root.handlers, root.level = handlers, level


def _of_client(line: dict[str, Any]) -> bool:
    # httpx logs its requests, too; in a test it shares the process with the agent.
    return str(line["message"]).startswith("HTTP Request:")


@dataclass
class Dynamo:
    """A real HTTP server that answers DescribeTable as it is told to."""

    status: int = 200
    body: dict[str, Any] = field(default_factory=lambda: {"Table": {"TableStatus": "ACTIVE"}})
    asked: list[dict[str, Any]] = field(default_factory=list)
    silent: bool = False
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""


@pytest.fixture
def dynamo(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dynamo]:
    told = Dynamo()

    def respond(call: Handler) -> None:
        told.asked.append({"target": call.headers["X-Amz-Target"], **json.loads(call.body())})
        told.reached.set()
        if told.silent:
            told.released.wait(10)
            return
        call.answer(told.status, json.dumps(told.body).encode())

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(respond) as told.url:
        yield told
        told.released.set()


@dataclass(frozen=True, kw_only=True)
class Process:
    """An agent in a process of its own."""

    popen: "subprocess.Popen[str]"
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def until(self, message: str) -> None:
        """Read the log up to a line that has the message."""
        assert self.popen.stdout is not None
        late = threading.Timer(20, self.popen.kill)  # reading a line has no timeout of its own
        late.start()
        try:
            for line in self.popen.stdout:
                if message in line:
                    return
        finally:
            late.cancel()
        raise AssertionError(f"the agent did not say {message!r}")

    def ended(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and what was still to be read of the log."""
        rest, _ = self.popen.communicate(timeout=10)
        return self.popen.returncode, rest


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a Python process with an agent's environment; none is left at the end."""
    started: list[subprocess.Popen[str]] = []

    def start_(*arguments: str, path: Path = ROOT, **environ: str) -> Process:
        port = int(environ.pop("PORT", "0")) or free_port()
        popen = subprocess.Popen(
            [sys.executable, *arguments],
            env=environment(port) | {"PYTHONPATH": f"{path}{os.pathsep}{ROOT}"} | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(popen)
        return Process(popen=popen, port=port)

    yield start_
    for popen in started:
        popen.kill()
        popen.communicate()


def environment(port: int) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PORT": str(port), "PYTHONDONTWRITEBYTECODE": "1"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
