"""Whether an agent can do its work: every dependency is asked, none is assumed."""

import threading
from dataclasses import dataclass
from typing import Any, Literal

import anyio

from agents.common.settings import Settings

#: A dependency that takes longer than this is not there (seconds). Load balancers ask again.
DEADLINE = 3.0
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
        """Tell whether the agent cannot work because of it."""
        return self.status == "failed"


class StateTable:
    """The DynamoDB table that agents keep their state in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._made: Any = None

    async def check(self) -> Dependency:
        """Ask DynamoDB for the table, in a worker thread; every failure is in the answer."""
        if self._settings.state_table is None:
            return Dependency(status="not configured", detail="ACSO_STATE_TABLE is not set")
        try:
            with anyio.fail_after(DEADLINE):
                return await anyio.to_thread.run_sync(self._look, abandon_on_cancel=True)
        except TimeoutError:
            return Dependency(status="failed", detail=f"no answer within {DEADLINE:g} s")

    def _look(self) -> Dependency:
        from botocore.exceptions import BotoCoreError, ClientError

        table = self._settings.state_table
        try:
            status = self._client().describe_table(TableName=table)["Table"]["TableStatus"]
        except (BotoCoreError, ClientError, ValueError) as error:
            # ValueError: botocore's word for an endpoint that is no URL.
            return Dependency(status="failed", detail=f"table {table}: {error}")
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
