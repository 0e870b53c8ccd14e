"""Whether an agent can do its work: every dependency is asked, none is assumed."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import anyio

from agents.common.settings import Settings

#: A dependency that takes longer than this is not there (seconds). Load balancers ask again.
DEADLINE = 3.0
#: Threads that look, apart from those that answer requests. One that hangs is given up at the
#: deadline but keeps its thread; anyio's limiters count it no longer then, these threads do.
_LOOKS = 4
#: For each connection and each answer of AWS (seconds).
_TIMEOUT = 1.0
#: A table is read and written while it is being changed, too.
_USABLE = ("ACTIVE", "UPDATING")


@dataclass(frozen=True, kw_only=True)
class Dependency:
    """What one look at a dependency showed."""

    status: Literal["ok", "failed", "not configured"]
    detail: str

    @property
    def hinders(self) -> bool:
        """Return whether the agent cannot work because of it."""
        return self.status == "failed"


class StateTable:
    """The DynamoDB table that agents keep their state in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(max_workers=_LOOKS, thread_name_prefix="readiness")
        self._made: Any = None

    async def check(self) -> Dependency:
        """Ask DynamoDB for the table, in a worker thread; every failure is in the answer."""
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
            # Whatever it is, it is the reason: botocore's own errors, ValueError for an endpoint
            # that is no URL, KeyError for an answer that is not DynamoDB's.
            detail = f"table {table}: {type(error).__name__}: {error}"
            return Dependency(status="failed", detail=detail)
        detail = f"table {table} is {status}"
        return Dependency(status="ok" if status in _USABLE else "failed", detail=detail)

    def _client(self) -> Any:
        """Return the one client, made at the first use: boto3 takes 0.3 s to import."""
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
