"""Traces by OpenTelemetry, sent where OTEL_EXPORTER_OTLP_ENDPOINT says; without it there are none.

FastAPI makes a span of each request, sends all spans and reads the standard variables.
Spans have no bodies, queries or headers.
"""

import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from agents.common.settings import Settings

_tracer = trace.get_tracer("agents")
#: Ends of paths that load balancer, container and monitoring ask every few seconds.
_QUIET = ("/health", "/ready", "/metrics")


def of_requests(settings: Settings) -> TelemetryConfig:
    """Return FastAPI's settings; the service is named by OTEL_SERVICE_NAME or after the agent."""
    os.environ.setdefault("OTEL_SERVICE_NAME", f"acso-{settings.agent}")
    os.environ.setdefault(
        "OTEL_RESOURCE_ATTRIBUTES",
        f"service.version={settings.version},deployment.environment.name={settings.environment}",
    )
    return {
        "auto_configure": True,
        "metrics": False,  # /metrics has them
        "logs": False,  # they are on stdout
        "operation_spans": False,
        "exclude": lambda scope: scope["path"].endswith(_QUIET),
    }


def hide_queries() -> None:
    """Keep query strings out of the spans of this process; call it after the start of FastAPI."""
    provider = trace.get_tracer_provider()
    add = getattr(provider, "add_span_processor", None)
    if add is None:  # no endpoint is configured
        return
    from opentelemetry.sdk.trace import SpanProcessor  # late: only where there are traces

    class WithoutQuery(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:  # noqa: ARG002 (SpanProcessor's)
            if "url.query" in (span.attributes or {}):
                span.set_attribute("url.query", "")

    add(WithoutQuery())


@contextmanager
def call(agent: str, method: str, headers: MutableMapping[str, str]) -> Iterator["Outcome"]:
    """Make a span of one request to another agent, whose headers then continue this trace.

    Names: OpenTelemetry's semantic conventions for HTTP client spans.
    """
    attributes = {"http.request.method": method, "peer.service": f"acso-{agent}"}
    with _tracer.start_as_current_span(
        f"{method} {agent}", kind=SpanKind.CLIENT, attributes=attributes, record_exception=False
    ) as span:
        propagate.inject(headers)
        yield Outcome(span)


@contextmanager
def task(operation: str, workflow: str, id_: str) -> Iterator["Outcome"]:
    """Make a span of one attempt of a workflow's task."""
    attributes = {"acso.workflow": workflow, "acso.task": id_}
    with _tracer.start_as_current_span(
        f"task {operation}", attributes=attributes, record_exception=False
    ) as span:
        yield Outcome(span)


class Outcome:
    """How the work of a span ended."""

    def __init__(self, span: Any) -> None:
        self._span = span

    def status(self, code: int) -> None:
        """Record the status of an answer; from 400 on the call has failed."""
        self._span.set_attribute("http.response.status_code", code)
        if code >= 400:
            self.failed(str(code))

    def failed(self, why: str) -> None:
        """Record a failure."""
        self._span.set_attribute("error.type", why)
        self._span.set_status(Status(StatusCode.ERROR))
