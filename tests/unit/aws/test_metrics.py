"""Figures that tasks count themselves: what is read, what it means, and what is no figure."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ci.aws.metrics import Figures, Source, TaskMetrics, tasks
from ci.errors import ProbeError


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


TEXT = """\
# HELP acso_requests_total Requests.
# TYPE acso_requests_total counter
acso_requests_total{agent="a",method="GET",route="/health",status="503"} 90.0
acso_requests_total{agent="a",method="GET",route="/a/health",status="200"} 6.0
acso_requests_total{agent="a",method="POST",route="/a/work",status="200"} 12.0
acso_requests_total{agent="a",method="POST",route="none",status="503"} 2.0
# HELP acso_request_seconds Time of requests.
# TYPE acso_request_seconds histogram
acso_request_seconds_bucket{agent="a",le="1.0",route="/health"} 0.0
acso_request_seconds_bucket{agent="a",le="+Inf",route="/health"} 90.0
acso_request_seconds_bucket{agent="a",le="0.1",route="/a/work"} 18.0
acso_request_seconds_bucket{agent="a",le="1.0",route="/a/work"} 20.0
acso_request_seconds_bucket{agent="a",le="+Inf",route="/a/work"} 20.0
# HELP process_resident_memory_bytes Resident memory size in bytes.
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 1.34217728e+08
# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 7.0
"""


def source(*urls: str) -> Source:
    """Return an agent whose tasks have a quarter of a CPU and 512 MiB."""
    return Source(
        cluster="c", service="s", balancer="b", group="g", tasks=urls, cpu=256, memory=512
    )


@contextmanager
def serving(*answers: tuple[int, str]) -> Iterator[str]:
    """Serve these answers one after the other, the last one for ever."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_health_checks_are_no_requests_and_errors_before_any_route_are() -> None:
    sample = tasks.parse(TEXT)
    assert (sample.requests, sample.errors) == (20.0, 2.0)
    assert sample.buckets == {0.1: 18.0, 1.0: 20.0, float("inf"): 20.0}


@pytest.mark.parametrize(
    ("buckets", "milliseconds"),
    [
        ({}, None),
        ({0.1: 0.0, float("inf"): 0.0}, None),
        ({0.1: 18.0, 1.0: 20.0, float("inf"): 20.0}, 550.0),  # 19 of 20: half of the bucket
        ({1.0: 100.0, 2.0: 100.0, float("inf"): 100.0}, 950.0),
        ({1.0: 5.0, 10.0: 5.0, float("inf"): 100.0}, 10_000.0),  # more is not known
    ],
)
def test_the_percentile_is_within_its_bucket(
    buckets: dict[float, float], milliseconds: float | None
) -> None:
    assert tasks.quantile(buckets) == (
        None if milliseconds is None else pytest.approx(milliseconds)
    )


def test_cpu_and_memory_are_shares_of_what_the_task_has() -> None:
    first, last = tasks.Sample(cpu_seconds=1.0), tasks.Sample(cpu_seconds=1.5, memory=256 << 20)
    found = tasks._figures(source("one"), [(100.0, first, 104.0, last)])
    assert found == Figures(cpu=50.0, memory=50.0)  # half a second of one that it had in 4 s


async def test_the_figures_of_an_agent_are_those_of_all_its_tasks() -> None:
    slow = TEXT.replace('le="0.1",route="/a/work"} 18.0', 'le="0.1",route="/a/work"} 0.0')
    with serving((200, TEXT)) as one, serving((500, "soon"), (200, slow)) as other:
        metrics = TaskMetrics(seconds=0.01)
        found = (await metrics.figures({"a": source(one, other)}))["a"]
    assert (found.requests, found.errors, found.memory, found.cpu) == (40.0, 4.0, 25.0, 0.0)
    assert found.latency == pytest.approx(100 + 900 * 20 / 22)
    assert metrics.period == "since the tasks began (CPU: in 0.01 s)"


async def test_an_agent_without_tasks_or_figures_has_no_data() -> None:
    with serving((200, "")) as url:
        found = await TaskMetrics(seconds=0.01).figures({"a": source(), "b": source(url)})
    assert found == {"a": Figures(), "b": Figures()}


@pytest.mark.parametrize(
    ("status", "text", "problem"),
    [(404, "", "HTTP 404"), (200, "<html>", "cannot be read"), (200, "a{le=} x", "cannot be read")],
)
async def test_what_cannot_be_read_is_no_figure(
    status: int, text: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "PAUSE", 0.01)
    with serving((status, text)) as url, pytest.raises(ProbeError, match=problem):
        await TaskMetrics(seconds=0.01).figures({"a": source(url)})


async def test_a_task_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "PAUSE", 0.01)
    with serving((200, TEXT)) as url:
        pass
    with pytest.raises(ProbeError, match=f"no figures at {url}/metrics: no answer"):
        await TaskMetrics(seconds=0.01).figures({"a": source(url)})
