"""What the routes of an agent work with: state, time, callers, other agents, model and figures."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Request

from agents.common import model
from agents.common.aws import Aws
from agents.common.callers import auth, calls
from agents.common.callers.auth import Tokens
from agents.common.callers.calls import Peers
from agents.common.clock import Clock, SystemClock
from agents.common.model import Model
from agents.common.settings import Settings
from agents.common.store.dynamo import DynamoTable
from agents.common.store.memory import MemoryTable
from agents.common.store.state import Collection, Table, Value
from agents.common.telemetry.metrics import Metrics


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The parts that an agent's process has one of each."""

    settings: Settings
    clock: Clock
    table: Table
    tokens: Tokens
    peers: Peers
    model: Model
    metrics: Metrics

    def collection(
        self, kind: str, model: type[Value], lifetime: timedelta | None = None
    ) -> Collection[Value]:
        """Return the collection of this agent's documents of a kind."""
        return Collection(
            table=self.table,
            clock=self.clock,
            agent=self.settings.agent,
            kind=kind,
            model=model,
            lifetime=lifetime,
        )


def from_settings(settings: Settings) -> Runtime:
    """Return the parts of a process; nothing connects before it is used.

    Without a table (on a developer's machine) the state is in memory, for this process alone.
    """
    aws, clock, metrics = Aws(settings), SystemClock(), Metrics(settings)
    table: Table = MemoryTable(clock)
    if settings.state_table is not None:
        table = DynamoTable(aws, settings.state_table, clock)
    tokens = Tokens(secrets=settings.secrets, fetch=auth.from_secrets_manager(aws))
    return Runtime(
        settings=settings,
        clock=clock,
        table=table,
        tokens=tokens,
        peers=Peers(url=settings.url, tokens=tokens, transport=calls.over_http()),
        model=Model(name=settings.model, converse=model.bedrock(aws), metrics=metrics),
        metrics=metrics,
    )


def runtime_of(request: Request) -> Runtime:
    """Return the parts that a request's agent works with."""
    runtime: Runtime = request.app.state.runtime
    return runtime


Parts = Annotated[Runtime, Depends(runtime_of)]
