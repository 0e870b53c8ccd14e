"""Streams of events: shapes, windows over many requests, and large logs."""

import gzip
import json
import time
import tracemalloc
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.threat_hunter.events import LogError, event, lines
from agents.threat_hunter.rules import RULES
from agents.threat_hunter.windows import KEPT, Mark, episodes, merge
from tests.unit.agents.house import AGENT, START, House

LOGIN = {"eventName": "ConsoleLogin", "sourceIPAddress": "203.0.113.9", "errorCode": "Failed"}


def login(seconds: float, **more: Any) -> dict[str, Any]:
    at = START + timedelta(seconds=seconds)
    return {**LOGIN, "eventTime": at.isoformat(), "eventID": f"e{seconds}", **more}


def body(*events: dict[str, Any]) -> bytes:
    return "\n".join(map(json.dumps, events)).encode()


async def send(http: httpx.AsyncClient, content: bytes, **headers: str) -> dict[str, Any]:
    answer = await http.post("/events", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize(
    ("document", "rules"),
    [
        (login(0), ()),
        (
            {
                "eventName": "AttachUserPolicy",
                "sourceIPAddress": "203.0.113.9",
                "eventTime": "2026-11-24T12:00:00Z",
            },
            ("privilege_escalation",),
        ),
        (
            {
                "srcaddr": "10.0.0.5",
                "dstaddr": "8.8.8.8",
                "bytes": 10_000_001,
                "start": 1764000000,
                "end": 1764000060,
                "action": "ACCEPT",
            },
            ("data_exfiltration_pattern", "data_exfiltration_volume"),
        ),
        (
            {"srcaddr": "10.0.0.5", "dstaddr": "8.8.8.8", "bytes": 10_000_001, "end": 1764000060}
            | {"action": "REJECT"},
            (),
        ),
        (
            {"srcaddr": "10.0.0.5", "dstaddr": "10.0.0.6", "bytes": 10_000_001, "end": 1764000060},
            (),
        ),
        (
            {
                "event": "upload",
                "source": "app-1",
                "time": "2026-11-24T12:00:00+01:00",
                "bytes": 1_000_001,
                "destination": "files.example.com",
            },
            ("data_exfiltration_volume",),
        ),
        (
            {"event": "upload", "source": "198.51.100.1", "time": "2026-11-24T12:00:00Z"},
            ("suspicious_ip_activity",),
        ),
    ],
)
async def test_each_shape_of_event_is_read(
    document: dict[str, Any], rules: tuple[str, ...]
) -> None:
    async with House().client("threat-hunter") as http:
        known = await http.put("/intelligence", json={"addresses": ["198.51.100.1"]})
        assert known.status_code == 204
        found = await send(http, body(document))
    assert sorted(item["rule"] for item in found["findings"]) == sorted(rules)
    for item in found["findings"]:
        rule = RULES[item["rule"]]
        assert (item["technique"], item["severity"]) == (rule.technique, rule.severity)
        assert item["evidence"]


async def test_agents_may_not_replace_the_addresses_of_attackers() -> None:
    async with House().client("threat-hunter", **AGENT) as http:
        assert (await http.put("/intelligence", json={"addresses": []})).status_code == 403


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3)])
async def test_brute_force_is_found_across_requests_in_any_order(order: tuple[int, ...]) -> None:
    house = House()
    found: list[dict[str, Any]] = []
    for place in order:
        # Each request is answered by another copy of the agent.
        async with house.client("threat-hunter") as http:
            found += (await send(http, body(login(60 * place))))["findings"]
    [finding] = found
    assert (finding["events"], finding["rule"]) == (5, "failed_login_brute_force")
    assert datetime.fromisoformat(finding["last"]) - datetime.fromisoformat(
        finding["first"]
    ) == timedelta(seconds=240)


async def test_repeated_events_count_once() -> None:
    async with House().client("threat-hunter") as http:
        four = [login(seconds) for seconds in range(4)]
        for _ in range(3):
            assert (await send(http, body(*four)))["findings"] == []
        [first] = (await send(http, body(login(10))))["findings"]
        [again] = (await send(http, body(*four, login(10))))["findings"]
        assert again == first
        # An event more of the same attack extends the same finding.
        [more] = (await send(http, body(login(20))))["findings"]
        assert (more["id"], more["events"]) == (first["id"], 6)
        assert len((await http.get("/findings")).json()["items"]) == 1
        assert (await http.get(f"/findings/{more['id']}")).json() == more
        assert (await http.get("/findings/none")).status_code == 404


async def test_another_attack_of_the_same_source_is_another_finding() -> None:
    async with House().client("threat-hunter") as http:
        await send(http, body(*(login(seconds) for seconds in range(5))))
        await send(http, body(*(login(3600 + seconds) for seconds in range(5))))
        page = (await http.get("/findings?limit=1")).json()
        rest = (await http.get(f"/findings?limit=1&after={page['next']}")).json()
    assert page["items"][0]["id"] > rest["items"][0]["id"]
    assert rest["next"] is None


async def test_lines_that_are_no_event_are_counted_and_described() -> None:
    content = b"\n".join(
        [
            b"not json",
            b"[]",
            b"{}",
            body(login(0)),
            b"",
            b'{"event": "x", "source": "y", "time": "2026-11-24T12:00:00"}',
            b'{"event": "\\ud800", "source": "y", "time": "2026-11-24T12:00:00Z"}',
            b'{"srcaddr": "y", "dstaddr": "8.8.8.8", "end": 1, "bytes": 1e999}',
            b'{"eventName": "y", "sourceIPAddress": "8.8.8.8", "responseElements": "x"}',
        ]
    )
    async with House().client("threat-hunter") as http:
        found = await send(http, content)
    assert (found["events"], found["invalid"]) == (1, 7)
    assert found["problems"][1] == "line 2: not a JSON object"
    assert found["problems"][3] == "line 6: the time has no zone"


async def test_gzip_is_accepted_and_other_encodings_are_not() -> None:
    content = body(*(login(seconds) for seconds in range(5)))
    packed = gzip.compress(content)
    async with House().client("threat-hunter") as http:
        found = await send(http, packed, **{"Content-Encoding": "gzip"})
        assert len(found["findings"]) == 1
        for data, encoding, status in (
            (packed, "br", 415),
            (content, "gzip", 400),
            (packed[:-9], "gzip", 400),
            (b"x" * 70_000, "identity", 413),
        ):
            headers = {"Content-Encoding": encoding}
            answer = await http.post("/events", content=data, headers=headers)
            assert answer.status_code == status, answer.text


@pytest.mark.parametrize("line", [b" " * 2047 + b"\n", b"\n" * 16])
async def test_a_bomb_is_refused_before_it_fills_the_memory(
    line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.threat_hunter.events.MAX_BYTES", 8 * 1024 * 1024)
    monkeypatch.setattr("agents.threat_hunter.events.MAX_LINES", 10_000)
    bomb = gzip.compress(line * 5000)

    async def chunks() -> AsyncIterator[bytes]:
        yield bomb

    tracemalloc.start()
    with pytest.raises(LogError, match="more than"):
        async for _ in lines(chunks(), gzipped=True):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


async def test_100_000_events_in_one_request_need_bounded_memory() -> None:
    """The time is measured by `tests/bench`; here it is printed, and the work is checked."""
    random = Random(7)  # noqa: S311 - a repeatable one
    content = body(
        *(
            login(number / 50, sourceIPAddress=f"203.0.{number % 40}.{random.randrange(200)}")
            for number in range(100_000)
        )
    )
    async with House().client("threat-hunter") as http:
        began = time.perf_counter()
        found = await send(http, gzip.compress(content), **{"Content-Encoding": "gzip"})
        print(f"{time.perf_counter() - began:.1f} s")
    assert (found["events"], found["invalid"]) == (100_000, 0)
    assert found["skipped"] == 8000 - 1000
    assert len(found["findings"]) >= 900


MARKS = st.lists(
    st.builds(
        Mark,
        time=st.integers(0, 4000).map(lambda seconds: START + timedelta(seconds=seconds)),
        id=st.sampled_from("abcdefgh"),
        amount=st.integers(1, 3),
    ),
    max_size=40,
    unique_by=lambda mark: (mark.time, mark.id),
)
WINDOW = timedelta(seconds=300)


@given(marks=MARKS, cuts=st.lists(st.integers(0, 40), max_size=4), random=st.randoms())
def test_the_batches_and_the_order_in_which_events_arrive_do_not_matter(
    marks: list[Mark], cuts: list[int], random: Random
) -> None:
    shuffled = random.sample(marks, len(marks))
    kept: tuple[Mark, ...] = ()
    edges = [0, *sorted(cuts), len(marks)]
    for start, end in pairwise(edges):
        kept = merge(kept, shuffled[start:end] + shuffled[: start // 2], WINDOW)
    assert kept == merge((), marks, WINDOW) == tuple(sorted(marks))


@given(marks=MARKS, limit=st.integers(2, 9))
def test_episodes_are_what_looking_at_every_window_finds(marks: list[Mark], limit: int) -> None:
    ordered = sorted(marks)
    inside = set()
    for start in ordered:
        window = [m for m in ordered if timedelta() <= m.time - start.time <= WINDOW]
        if sum(m.amount for m in window) >= limit:
            inside.update(window)
    found = episodes(ordered, WINDOW, limit)
    covered = {m for m in ordered if any(e.first <= m.time <= e.last for e in found)}
    assert covered >= inside
    assert bool(found) == bool(inside)
    for one, two in pairwise(found):
        assert one.last <= two.first


def test_a_window_keeps_the_newest_events_only() -> None:
    marks = [Mark(time=START + timedelta(seconds=n), id=str(n)) for n in range(KEPT + 5)]
    kept = merge((), marks, WINDOW)
    assert (len(kept), kept[0].id) == (KEPT, "5")
    late = Mark(time=START + timedelta(days=1), id="late")
    assert merge(kept, [late], WINDOW) == (late,)


@given(
    document=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.dictionaries(
            st.sampled_from(("eventName", "event", "srcaddr", "time", "eventTime", "source")),
            inner,
        ),
    )
)
def test_any_json_is_an_event_or_a_value_error(document: Any) -> None:
    try:
        assert event(document).entry.time.tzinfo is not None
    except ValueError as error:
        assert str(error)  # noqa: PT017 - the reason is what is tested
