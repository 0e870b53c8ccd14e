"""Clients of AWS, created at their first use: importing boto3 takes 0.3 s."""

import threading
from typing import Any

from agents.common.settings import Settings


class Aws:
    """The AWS clients of one process; its methods block, so call them in worker threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, float], Any] = {}

    def client(self, service: str, *, timeout: float = 2.0, attempts: int = 3) -> Any:
        """Return the client of a service.

        Args:
            service: such as `dynamodb`.
            timeout: seconds for each response.
            attempts: of each call; botocore waits between them.
        """
        with self._lock:
            key = (service, timeout)
            if key not in self._clients:
                self._clients[key] = self._create(service, timeout, attempts)
            return self._clients[key]

    def _create(self, service: str, timeout: float, attempts: int) -> Any:
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            service,
            region_name=self._settings.region,
            endpoint_url=self._settings.endpoint,
            config=Config(
                connect_timeout=2.0,
                read_timeout=timeout,
                max_pool_connections=32,
                retries={"mode": "standard", "total_max_attempts": attempts},
            ),
        )
