"""The performance suite: what it compares, what it keeps, and what it cannot say."""

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import pytest
import urllib3

from ci.aws import ecs, records
from ci.aws.metrics import Figures
from ci.aws.prober import Request
from ci.aws.records import Document
from ci.errors import AwsError
from tests.unit.validation.production import good
from tests.unit.validation.production.names import AGENTS
from tests.unit.validation.regression.test_comparison import made, seeded
from validation import CheckContext, Result, Status, regression, run_checks
from validation.client import Tokens
from validation.model import UnreadableError
from validation.production import performance
from validation.production.performance import Measured
from validation.reads import Reads
from validation.regression import beside, load, measuring, releases
from validation.regression.comparison import Rule
from validation.regression.distribution import Distribution, body
from validation.regression.measuring import Measurement
from validation.regression.releases import Releases

ONE, OTHER = AGENTS[:2]


def release(number: int, state: str = "succeeded", outcome: str = "", **images: str) -> Document:
    """Return a release record: images are those of the first agent and of the second one."""
    digests = {ONE: images.get("one", "a"), OTHER: images.get("other", "a")}
    entries = [
        {"agent": agent, "after": {"digest": digest, "revision": f"{agent}:{digest}"}}
        for agent, digest in digests.items()
    ]
    id_ = f"2026.11.26-{number}"
    return Document(
        kind="release",
        key=f"2026.11.26-{number:06}",
        state=state,
        owner="x",
        body={"id": id_, "entries": entries, "outcome": outcome},
    )


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> CheckContext:
    """An environment whose load is never sent."""

    async def tokens(_: CheckContext) -> Any:
        return type("Agents", (), {"tokens": Tokens(person="p", agent="a")})()

    async def figures(_: CheckContext) -> Measured:
        return Measured(figures={ONE: Figures(memory=50.0), OTHER: Figures()}, period="")

    monkeypatch.setattr(measuring, "agents_of", tokens)
    monkeypatch.setattr(performance, "measured", figures)
    return good.context()


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], Document]:
    """The environment's table of releases."""
    rows: dict[tuple[str, str], Document] = {}

    async def get(_: Any, __: str, kind: str, key: str) -> Document | None:
        return rows.get((kind, key))

    async def put(_: Any, __: str, document: Document) -> bool:
        rows[document.kind, document.key] = document
        return True

    async def documents(_: Any, __: str, kind: str) -> list[Document]:
        return sorted((d for d in rows.values() if d.kind == kind), key=lambda d: d.key)[::-1]

    for function in (get, put, documents):
        monkeypatch.setattr(records, function.__name__, function)
    return rows


def recorded(table: dict[tuple[str, str], Document], *found: Document) -> None:
    table.update({(item.kind, item.key): item for item in found})


def loads(monkeypatch: pytest.MonkeyPatch, run: load.Run) -> list[Mapping[str, Any]]:
    """Answer the load with a run; return what was wanted."""
    asked: list[Mapping[str, Any]] = []

    async def loaded(_: CheckContext, wanted: Mapping[str, Any]) -> load.Run:
        asked.append(wanted)
        return run

    monkeypatch.setattr(measuring, "_loaded", loaded)
    return asked


def run_of(milliseconds: Mapping[str, float], sent: int = 100) -> load.Run:
    """Return a run whose agents answered in this time, all alike."""
    series = {
        agent: load.Series(latencies=[time / 1000] * 100) for agent, time in milliseconds.items()
    }
    return load.Run(planned=100, sent=sent, seconds=60, last=60, series=series)


async def results(context: CheckContext) -> dict[str, Result]:
    report = await run_checks("performance", regression.CHECKS, context)
    return {result.check.id: result for result in report.results}


def measured(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Let the checks see a measurement of five agents, of which one has changed like this."""
    source = seeded(1)
    pairs = {name: (made(source), made(source)) for name in AGENTS}
    found = {"noise": 5.0, "against": "release r1, interleaved", "sent": 900, "pairs": pairs}

    async def measurement(_: CheckContext) -> Measurement:
        one = changes.pop("one", None)
        if one is not None:
            pairs[ONE] = (pairs[ONE][0], one)
        return Measurement(**{**found, **changes})

    monkeypatch.setattr(regression, "measurement", measurement)
    monkeypatch.setattr(regression, "Rule", partial(Rule, resamples=500))  # to be quick


BREAKS: dict[str, tuple[Distribution, str]] = {
    "regression.latency": (made(seeded(2), slower=0.2), f"{ONE} p50 "),
    "regression.errors": (made(seeded(2), errors=12, requests=588), f"{ONE} 0 -> 2 % errors"),
    "regression.memory": (replace(made(seeded(2)), memory=120.0), f"{ONE} 100 -> 120 MiB, +20.0"),
}


@pytest.mark.parametrize("check", [check.id for check in regression.CHECKS])
async def test_what_has_become_worse_fails_its_check_alone(
    check: str, context: CheckContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(monkeypatch)
    before = await results(context)
    assert {result.status for result in before.values()} == {Status.PASS}, before
    worse, observed = BREAKS[check]
    measured(monkeypatch, one=worse)
    after = await results(context)
    assert {name for name, result in after.items() if result.status is Status.FAIL} == {check}
    assert observed in after[check].finding.observed
    assert f"5 of {len(AGENTS)} agents that changed" in map(str, after[check].finding.evidence)


async def test_the_result_says_what_would_have_been_found(
    context: CheckContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(monkeypatch)
    found = await results(context)
    latency = found["regression.latency"].finding.observed
    assert re.search(r"a change of p50 \+[\d.]+ %, p95 \+[\d.]+ % would have been found", latency)
    errors = found["regression.errors"].finding.observed
    assert re.search(r"a change of errors \+[\d.]+ points would have been found", errors)


async def test_an_invalid_run_is_no_pass(
    context: CheckContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(monkeypatch, invalid="3 of 9 requests were not sent")
    found = await results(context)
    assert {result.status for result in found.values()} == {Status.NOT_EXAMINED}
    finding = found["regression.memory"].finding
    assert finding.observed == "the load is invalid: 3 of 9 requests were not sent"


async def test_an_agent_without_data_is_not_examined(
    context: CheckContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(monkeypatch, one=Distribution(answered=0, errors=0, points=()))
    found = await results(context)
    assert found["regression.latency"].finding.observed == f"no data of {ONE}"
    assert found["regression.memory"].status is Status.NOT_EXAMINED


@pytest.mark.parametrize(
    ("before", "id_", "changed"),
    [
        ((release(1), release(2, one="b"), release(3, "validating", one="c")), 2, [ONE]),
        ((release(1), release(2, "rolled_back", one="b"), release(3, one="b")), 1, [ONE]),
        ((release(1), release(2, outcome="unstable", one="b"), release(3, one="c")), 1, [ONE]),
        ((release(1, one="b"), release(2), release(3)), 1, [ONE]),
        ((release(1, one="b"), release(2, other="b")), 1, [ONE, OTHER]),
        ((release(1), release(2, "rolled_back", one="b")), None, []),
        ((release(1), release(2)), None, []),
    ],
)
async def test_the_release_before_is_the_last_validated_one_with_other_images(
    before: tuple[Document, ...],
    id_: int | None,
    changed: list[str],
    context: CheckContext,
    table: dict[tuple[str, str], Document],
) -> None:
    recorded(table, *before)
    found = await releases.releases(context)
    assert (found.before and found.before.body["id"]) == (id_ and f"2026.11.26-{id_}")
    assert found.changed == sorted(changed)


async def test_without_a_release_nothing_is_examined(
    context: CheckContext, table: dict[tuple[str, str], Document]
) -> None:
    recorded(table, release(1, "failed"))
    with pytest.raises(UnreadableError, match="no release on record runs"):
        await releases.releases(context)


async def _other_aws(_: CheckContext) -> Any:
    return type("Inventory", (), {"embedded": False})()


@pytest.fixture
def on_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two versions cannot run side by side."""
    monkeypatch.setattr(measuring, "inventory", _other_aws)


@pytest.mark.usefixtures("on_aws")
async def test_the_first_release_is_measured_and_the_second_compared_with_that(
    context: CheckContext,
    table: dict[tuple[str, str], Document],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = loads(monkeypatch, run_of({ONE: 10.0, OTHER: 10.0}))
    recorded(table, release(1))
    first = await results(context)
    assert {result.status for result in first.values()} == {Status.SKIP}, first
    assert len(asked) == 1, "one load for all checks"
    (request, ready) = asked[0][ONE]
    assert request.url == f"https://acso.example.com/{ONE}/whoami"
    assert request.headers["Authorization"] == "Bearer p"
    assert ready.url.endswith("/ready")
    loads(monkeypatch, run_of({ONE: 20.0, OTHER: 10.0}))
    recorded(table, release(2, "validating", one="b"))
    second = await results(replace(context, reads=Reads()))
    finding = second["regression.latency"].finding
    assert finding.status is Status.FAIL, finding
    assert "compared with release 2026.11.26-1, as measured then" in finding.expected
    memory = second["regression.memory"].finding
    assert memory.status is Status.PASS
    assert table["measured", "2026.11.26-000002"].body[ONE]["memory"] == 1024.0


@pytest.mark.usefixtures("on_aws")
async def test_a_release_before_that_was_never_measured_is_not_examined(
    context: CheckContext,
    table: dict[tuple[str, str], Document],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads(monkeypatch, run_of({ONE: 10.0}))
    recorded(table, release(1), release(2, one="b"))
    found = await results(context)
    finding = found["regression.latency"].finding
    assert finding.status is Status.NOT_EXAMINED
    assert finding.observed == f"nothing was measured of {ONE} in release 2026.11.26-1"
    assert ("measured", "2026.11.26-000002") in table, "the next release has something"


@pytest.mark.usefixtures("on_aws")
async def test_an_invalid_run_is_not_kept(
    context: CheckContext,
    table: dict[tuple[str, str], Document],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads(monkeypatch, run_of({ONE: 10.0}, sent=90))
    recorded(table, release(1))
    found = await results(context)
    assert {result.status for result in found.values()} == {Status.NOT_EXAMINED}
    assert list(table) == [("release", "2026.11.26-000001")]


async def test_a_prober_cannot_hold_a_rate(context: CheckContext) -> None:
    found = await results(replace(context, probe=object()))  # type: ignore[arg-type]
    finding = found["regression.latency"].finding
    assert finding.status is Status.NOT_EXAMINED
    assert "a prober" in finding.observed


async def test_tasks_that_were_started_are_stopped_if_one_cannot_be(
    context: CheckContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    stopped: list[str] = []

    async def run_task(_: Any, request: Mapping[str, Any]) -> Any:
        if started:
            raise AwsError("no capacity")
        started.append(request["taskDefinition"])
        return type("Task", (), {"id": "t1"})()

    async def stop_task(_: Any, __: str, task: str, *, reason: str) -> None:
        stopped.append(f"{task}: {reason}")

    async def networks(_: CheckContext) -> dict[str, Any]:
        return {ONE: {"awsvpcConfiguration": {}}}

    async def never(*_: Any) -> str:
        await anyio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(ecs, "run_task", run_task)
    monkeypatch.setattr(ecs, "stop_task", stop_task)
    monkeypatch.setattr(beside, "_networks", networks)
    monkeypatch.setattr(beside, "_answering", never)
    found = Releases(current=release(2, one="b"), before=release(1))
    with pytest.raises(UnreadableError, match="cannot run side by side: no capacity"):
        async with beside.opponents(context, found):
            raise AssertionError
    assert started == [f"{ONE}:a"]
    assert stopped == [f"t1: {beside.REASON}"]


class Quiet(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/bad" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    found = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    found.server_close()
    thread.join()


def test_a_request_has_its_status_or_its_error(server: str) -> None:
    with urllib3.PoolManager() as pool:
        for path, status in (("/", 200), ("/bad", 503)):
            assert measuring._send(pool, Request(url=server + path)).status == status
        gone = measuring._send(pool, Request(url="http://127.0.0.1:1/"))
    assert gone.status == 0
    assert gone.error.startswith("no answer: ")


def test_what_is_kept_of_the_release_is_within_an_item() -> None:
    assert len(str(body({name: made(seeded(1)) for name in AGENTS}))) < 20_000
