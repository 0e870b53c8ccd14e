"""Figures of one agent: `/metrics` for Prometheus, and tasks as CloudWatch embedded metrics.

Source of the log lines' form: Amazon CloudWatch User Guide, "Embedded metric format". CloudWatch
reads the figures from the log, so that they cost no calls.
"""

import logging
import time
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from agents.common.settings import Settings

NAMESPACE = "ACSO/Agents"
Outcome = Literal["completed", "failed"]
_LABELS = ["agent", "version"]
_log = logging.getLogger("agents.metrics")


class Metrics:
    """The figures of one process; every one has the labels `agent` and `version`.

    CPU time, memory and open files of the process (`process_*`) have no labels.
    """

    def __init__(self, settings: Settings) -> None:
        self._labels = (settings.agent, settings.version)
        self._environment = settings.environment
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "acso_requests", "Requests.", [*_LABELS, "method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "acso_request_seconds", "Time of requests.", [*_LABELS, "route"], registry=registry
        )
        self._tasks = Counter("acso_tasks", "Tasks.", [*_LABELS, "outcome"], registry=registry)
        self._calls = Counter(
            "acso_model_calls", "Calls of the model.", [*_LABELS, "outcome"], registry=registry
        )
        self._tokens = Counter(
            "acso_model_tokens", "Tokens of the model.", [*_LABELS, "direction"], registry=registry
        )
        self._queue = Gauge("acso_queue", "Tasks that wait or run.", _LABELS, registry=registry)
        self.queue(0)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; `route` is the path with names in place of values."""
        self._requests.labels(*self._labels, method, route, status).inc()
        self._seconds.labels(*self._labels, route).observe(seconds)

    def task(self, operation: str, outcome: Outcome, seconds: float) -> None:
        """Count a task, and log it as an embedded metric."""
        self._tasks.labels(*self._labels, outcome).inc()
        agent, version = self._labels
        names = [("TasksCompleted", "Count"), ("TaskSuccess", "Count"), ("TaskDuration", "Seconds")]
        directive = {
            "Namespace": NAMESPACE,
            "Dimensions": [["AgentId", "Environment"]],
            "Metrics": [{"Name": name, "Unit": unit} for name, unit in names],
        }
        fields = {
            "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]},
            "AgentId": agent,
            "Environment": self._environment,
            "Version": version,
            "operation": operation,
            "TasksCompleted": 1,
            "TaskSuccess": int(outcome == "completed"),
            "TaskDuration": round(seconds, 3),
        }
        _log.info("task %s %s", operation, outcome, extra={"fields": fields})

    def model(self, outcome: str, *, tokens_in: int = 0, tokens_out: int = 0) -> None:
        """Count a call of the model and its tokens."""
        self._calls.labels(*self._labels, outcome).inc()
        self._tokens.labels(*self._labels, "in").inc(tokens_in)
        self._tokens.labels(*self._labels, "out").inc(tokens_out)

    def queue(self, tasks: int) -> None:
        """Set the number of tasks that wait or run."""
        self._queue.labels(*self._labels).set(tasks)

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self.registry)
