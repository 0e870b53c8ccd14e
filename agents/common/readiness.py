"""Whether an agent can work: a real request to each of its dependencies."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import anyio

from agents.common.settings import Settings

#: Seconds after which a check of a dependency has failed.
DEADLINE = 3.0
#: Threads for checks, separate from those that answer requests. A check that hangs past the
#: deadline keeps its thread; unlike anyio's limiters, this pool still counts it.
_THREADS = 4
#: Seconds for each connection to AWS and for each response.
_TIMEOUT = 1.0
#: Statuses in which a table can be read and written.
_USABLE = ("ACTIVE", "UPDATING")


@dataclass(frozen=True, kw_only=True)
class Dependency:
    """The result of one check of a dependency."""

    status: Literal["ok", "failed", "not configured"]
    detail: str

    @property
    def failed(self) -> bool:
        """Whether the agent cannot work because of it."""
        return self.status == "failed"


class StateTable:
    """The DynamoDB table that agents store their state in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="readiness")
        self._made: Any = None

    async def check(self) -> Dependency:
        """Describe the table, in a worker thread; a failure is in the result, nothing is raised."""
        if self._settings.state_table is None:
            return Dependency(status="not configured", detail="ACSO_STATE_TABLE is not set")
        try:
            with anyio.fail_after(DEADLINE):
                return await asyncio.wrap_future(self._threads.submit(self._look))
        except TimeoutError:
            return Dependency(status="failed", detail=f"no answer within {DEADLINE:g} s")

    def _look(self) -> Dependency:
        table = self._settings.state_table
        try:
            status = self._client().describe_table(TableName=table)["Table"]["TableStatus"]
        except Exception as error:
            # Any error is the reason: botocore's, ValueError for an endpoint that is not a URL,
            # KeyError for a response that is not DynamoDB's.
            detail = f"table {table}: {type(error).__name__}: {error}"
            return Dependency(status="failed", detail=detail)
        detail = f"table {table} is {status}"
        return Dependency(status="ok" if status in _USABLE else "failed", detail=detail)

    def _client(self) -> Any:
        """Return the cached client, created at the first use: importing boto3 takes 0.3 s."""
        with self._lock:
            if self._made is None:
                import boto3
                from botocore.config import Config

                self._made = boto3.session.Session().client(
                    "dynamodb",
                    region_name=self._settings.region,
                    endpoint_url=self._settings.endpoint,
                    config=Config(
                        connect_timeout=_TIMEOUT,
                        read_timeout=_TIMEOUT,
                        retries={"total_max_attempts": 1},
                    ),
                )
            return self._made
