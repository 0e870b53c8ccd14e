"""Agents in one process, with a clock that tests set and without sockets between them."""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx

from agents.common.app import create
from agents.common.callers.auth import Stage, Tokens
from agents.common.callers.calls import Outgoing, Peers, Reply
from agents.common.model import Model
from agents.common.runtime import Runtime
from agents.common.settings import Settings
from agents.common.store.memory import MemoryTable
from agents.common.store.state import Table
from agents.common.telemetry.metrics import Metrics

START = datetime(2026, 11, 24, 12, tzinfo=UTC)  # a Tuesday
PERSON = {"Authorization": "Bearer person-token"}
AGENT = {"Authorization": "Bearer agent-token"}


@dataclass
class ManualClock:
    """A clock that stands still until it is advanced; waiting advances it."""

    time: datetime = START

    def now(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def monotonic(self) -> float:
        return self.time.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await anyio.lowlevel.checkpoint()


async def fixed(secret: str, stage: Stage) -> str | None:
    """Return the token of a secret: one of alice, and one of the agents."""
    if stage == "AWSPREVIOUS":
        return None
    return {"people": json.dumps({"alice": "person-token"}), "agents": "agent-token"}[secret]


async def no_model(request: dict[str, Any]) -> dict[str, Any]:
    raise AssertionError(f"asked {request}")


@dataclass
class House:
    """All agents over one table. `broken` may raise for a request, before or after it is done."""

    clock: ManualClock = field(default_factory=ManualClock)
    table: Table | None = None
    model_name: str | None = None
    converse: Callable[[dict[str, Any]], Any] = no_model
    before: Callable[[Outgoing], None] = lambda _: None
    after: Callable[[Outgoing, Reply], None] = lambda *_: None
    sent: list[Outgoing] = field(default_factory=list)
    _clients: dict[str, httpx.AsyncClient] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.table = self.table or MemoryTable(self.clock)

    def runtime(self, agent: str) -> Runtime:
        assert self.table is not None
        settings = Settings(agent=agent, version="v1", url="http://balancer")
        tokens = Tokens(
            secrets={"person": "people", "agent": "agents"},
            fetch=fixed,
            monotonic=self.clock.monotonic,
        )
        metrics = Metrics(settings)
        return Runtime(
            settings=settings,
            clock=self.clock,
            table=self.table,
            tokens=tokens,
            peers=Peers(
                url=settings.url,
                tokens=tokens,
                transport=self._transport,
                sleep=self.clock.sleep,
                monotonic=self.clock.monotonic,
            ),
            model=Model(name=self.model_name, converse=self.converse, metrics=metrics),
            metrics=metrics,
        )

    def client(self, agent: str, **headers: str) -> httpx.AsyncClient:
        """Return a client of one agent, whose caller is alice unless headers say otherwise."""
        router = importlib.import_module(f"agents.{agent.replace('-', '_')}.api").router
        app = create(self.runtime(agent).settings, router, runtime=self.runtime(agent))
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://agent",
            headers=headers or PERSON,
        )

    async def _transport(self, request: Outgoing) -> Reply:
        self.sent.append(request)
        self.before(request)
        url = httpx.URL(request.url)
        agent = url.path.split("/")[1]
        if not importlib.util.find_spec(f"agents.{agent.replace('-', '_')}"):
            return Reply(status=404)  # of the load balancer
        if agent not in self._clients:
            self._clients[agent] = self.client(agent, **AGENT)
        answer = await self._clients[agent].request(
            request.method, url.raw_path.decode(), content=request.body, headers=request.headers
        )
        reply = Reply(status=answer.status_code, body=answer.json() if answer.content else None)
        self.after(request, reply)
        return reply
