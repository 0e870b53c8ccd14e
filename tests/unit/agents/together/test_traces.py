"""Traces, as a collector receives them: agents in processes of their own, spans by OTLP."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from agents.common.aws import Aws
from agents.common.telemetry import traces
from agents.laptop.prepare import prepare
from tests.unit.agents.conftest import Start
from tests.unit.agents.serving import Handler, serving


@dataclass
class Collector:
    """What was received: the spans of each service."""

    url: str = ""
    spans: list[tuple[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def receive(self, body: bytes) -> None:
        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {item.key: item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(named["service.name"], span) for span in scope.spans]

    def named(self, name: str) -> Any:
        return next(span for _, span in self.spans if span.name == name)


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()

    def respond(call: Handler) -> None:
        assert call.path == "/v1/traces"
        found.receive(call.body())
        call.answer(200)

    with serving(respond) as found.url:
        yield found


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Return where the spans of this process arrive."""
    found = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    monkeypatch.setattr(traces, "_tracer", provider.get_tracer("agents"))
    return found


def test_spans_of_a_request_and_of_the_call_that_it_leads_to_are_one_trace(
    start: Start, collector: Collector, aws: Aws
) -> None:
    endpoint = aws.client("dynamodb").meta.endpoint_url
    prepared = prepare(aws)
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "ACSO_ENVIRONMENT": "here",
        "ACSO_PEOPLE_SECRET": prepared.people,
        "ACSO_AGENTS_SECRET": prepared.agents,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "NO_PROXY": "127.0.0.1",
    }
    peer = start("-m", "agents.threat_hunter", **settings)
    peer.until("listening on")
    caller = start("-m", "agents.supervisor", ACSO_URL=peer.url, **settings)
    caller.until("listening on")
    headers = {
        "Authorization": f"Bearer {prepared.token}",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    with httpx.Client(trust_env=False, headers=headers, timeout=60) as client:
        for path in ("/health", "/peers/threat-hunter?password=hidden"):
            answer = client.get(f"{caller.url}{path}")
            assert answer.status_code == 200, answer.text
    for process in (caller, peer):
        process.popen.terminate()  # sends the spans that are still there
        assert process.ended()[0] == 0
    request, call, answered = map(
        collector.named, ("GET /peers/{agent}", "GET threat-hunter", "GET /threat-hunter/whoami")
    )
    assert request.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert request.parent_span_id.hex() == "b7ad6b7169203331"
    assert (call.trace_id, call.parent_span_id) == (request.trace_id, request.span_id)
    assert (answered.trace_id, answered.parent_span_id) == (request.trace_id, call.span_id)
    assert {service for service, _ in collector.spans} == {"acso-supervisor", "acso-threat-hunter"}
    assert not any("health" in span.name for _, span in collector.spans)
    sent = b"".join(collector.bodies)
    assert b"here" in sent
    assert not [text for text in (prepared.token, "hidden") if text.encode() in sent]


def test_a_failed_call_is_an_error_of_its_span(exporter: InMemorySpanExporter) -> None:
    with traces.call("threat-hunter", "POST", {}) as outcome:
        outcome.status(503)
    with traces.task("hunt", "w1", "1-hunt") as outcome:
        outcome.failed("waiting")
    call, task = exporter.get_finished_spans()
    assert (call.name, task.name) == ("POST threat-hunter", "task hunt")
    assert call.attributes is not None
    assert call.attributes["http.response.status_code"] == 503
    assert {call.status.status_code, task.status.status_code} == {StatusCode.ERROR}


def test_a_call_that_succeeds_continues_the_trace_in_its_headers(
    exporter: InMemorySpanExporter,
) -> None:
    headers: dict[str, str] = {}
    with traces.call("threat-hunter", "POST", headers) as outcome:
        outcome.status(201)
    (call,) = exporter.get_finished_spans()
    assert f"{call.context.span_id:016x}" in headers["traceparent"]
    assert call.status.status_code is StatusCode.UNSET
