"""Logs: which lines, in which order, and how they look."""

import dataclasses
import datetime
import json
from collections.abc import Callable

import anyio
import pytest

from ci.aws.logs import Event
from ci.errors import UsageError
from ci.release.observe.logs import (
    Query,
    Scope,
    follow,
    line,
    moment,
    query,
    read,
    render,
    scope,
    span,
)
from ci.release.records.release import Release
from ci.release.records.table import history
from tests.unit.release.conftest import Pipeline
from tests.unit.release.fakes.clock import EPOCH
from tests.unit.release.fakes.logs import LoggedWorld, ms

HUNTER, SUPERVISOR = "threat-hunter", "supervisor"
TOLD = {
    "time": "2026-11-24T12:00:01.000Z",
    "level": "error",
    "agent": HUNTER,
    "version": "v8",
    "message": "cannot [read] the rules",
    "exception": "Traceback\nKeyError: 'x'",
}


@pytest.fixture
def logged(new: Callable[..., Pipeline]) -> Pipeline:
    """A process in a world whose tasks write."""
    return new(LoggedWorld)


def world(pipeline: Pipeline) -> LoggedWorld:
    assert isinstance(pipeline.world, LoggedWorld)
    return pipeline.world


async def lines(pipeline: Pipeline, **asked: object) -> list[str]:
    found = await read(pipeline.context, await scope(pipeline.context, Query(**asked)))  # type: ignore[arg-type]
    return [f"{item.agent} {item.message}" for item in found]


async def test_all_agents_come_interleaved_by_time(logged: Pipeline) -> None:
    world(logged).write(SUPERVISOR, "t1", "second", 2)
    world(logged).write(HUNTER, "t2", "first", 1)
    world(logged).write(SUPERVISOR, "t1", "third", 3)
    await anyio.sleep(5)
    assert await lines(logged) == [
        f"{HUNTER} first",
        f"{SUPERVISOR} second",
        f"{SUPERVISOR} third",
    ]


async def test_agents_time_and_pattern_narrow_it(logged: Pipeline) -> None:
    for second in (1, 500, 900):
        world(logged).write(SUPERVISOR, "t1", f"at {second}", second)
        world(logged).write(HUNTER, "t2", f"at {second}", second)
        world(logged).write("incident-response", "t3", f"at {second}", second)
    await anyio.sleep(1000)
    assert await lines(logged, agents=(HUNTER,)) == [f"{HUNTER} at 500", f"{HUNTER} at 900"]
    both = await lines(logged, agents=(HUNTER, SUPERVISOR), since="2m")
    assert both == [f"{SUPERVISOR} at 900", f"{HUNTER} at 900"]
    at = (EPOCH + datetime.timedelta(seconds=1)).isoformat()
    assert await lines(logged, agents=(HUNTER,), since=at, grep=r"at \d$") == [f"{HUNTER} at 1"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"agents": ("threat-huntr",)}, "did you mean 'threat-hunter'"),
        ({"since": "yesterday"}, "is not a duration or time"),
        ({"grep": "("}, "is not a valid regular expression"),
        ({"release": "7"}, "is not a release"),
        ({"release": "2026.11.24-9"}, "is not on record"),
    ],
)
async def test_an_invalid_query_is_refused(
    logged: Pipeline, asked: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        await lines(logged, **asked)


async def test_a_release_is_its_time_and_its_own_tasks(logged: Pipeline) -> None:
    assert (await logged.deploy("good")).ok
    old = {task.service: task.id for task in world(logged).tasks}
    await anyio.sleep(100)
    began = anyio.current_time()
    assert (await logged.deploy("good-2")).ok
    ended = anyio.current_time()
    new = {task.service: task.id for task in world(logged).tasks if task.id not in old.values()}
    name = logged.context.env.service(logged.context.config.agent(HUNTER))
    world(logged).write(HUNTER, old[name], "old before", began - 50)
    world(logged).write(HUNTER, old[name], "old beside", began + 1)
    world(logged).write(HUNTER, new[name], "new", began + 2)
    world(logged).write(HUNTER, "forgotten by ECS", "perhaps", began + 3)
    await anyio.sleep(100)
    world(logged).write(HUNTER, new[name], "new still", ended + 50)
    second, first = (await history(logged.context)).releases
    assert await lines(logged, release=first.id) == [f"{HUNTER} old before"]
    assert await lines(logged, release=second.id) == [
        f"{HUNTER} new",
        f"{HUNTER} perhaps",
        f"{HUNTER} new still",
    ]
    late = (EPOCH + datetime.timedelta(seconds=ended)).isoformat()
    assert await lines(logged, release=second.id, since=late) == [f"{HUNTER} new still"]


def test_a_release_ends_where_the_next_begins() -> None:
    times = {"2026.11.24-9": 1, "2026.11.24-10": 2, "2026.11.24-11": 3}

    def made(id_: str) -> Release:
        at = (EPOCH + datetime.timedelta(seconds=times[id_])).isoformat()
        values = dict.fromkeys((field.name for field in dataclasses.fields(Release)), None)
        return Release(**values | {"id": id_, "created_at": at})  # type: ignore[arg-type]

    releases = [made(id_) for id_ in ("2026.11.24-11", "2026.11.24-10", "2026.11.24-9")]
    assert [span(releases, item)[1] for item in releases] == [
        None,
        EPOCH + datetime.timedelta(seconds=3),
        EPOCH + datetime.timedelta(seconds=2),
    ]


async def test_following_reports_each_line_once_also_late_ones(logged: Pipeline) -> None:
    told: list[str] = []
    world(logged).write(SUPERVISOR, "t1", "there", -5)

    async def write() -> None:
        await anyio.sleep(10)
        world(logged).write(SUPERVISOR, "t1", "new", 10)
        await anyio.sleep(10)
        world(logged).write(HUNTER, "t2", "late", 1)
        await anyio.sleep(100)
        world(logged).write(HUNTER, "t2", "newest", anyio.current_time())
        await anyio.sleep(5)
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        wanted = await scope(logged.context, Query())
        group.start_soon(follow, logged.context, wanted, lambda item: told.append(item.message))
        group.start_soon(write)
    assert told == ["there", "new", "late", "newest"]


async def test_following_what_is_over_ends(logged: Pipeline) -> None:
    world(logged).write(SUPERVISOR, "t1", "there", 1)
    await anyio.sleep(5)
    told: list[str] = []
    over = Scope(start=ms(0), end=ms(4))
    await follow(logged.context, over, lambda item: told.append(item.message))
    assert told == ["there"]


def test_a_json_line_shows_time_level_message_and_traceback() -> None:
    event = Event(stream=f"{HUNTER}/{HUNTER}-agent/t1", at=ms(1.25), message=str_of(TOLD))
    found = line(event)
    assert found.text(14) == (
        "2026-11-24 12:00:01.250  threat-hunter   error    cannot [read] the rules\n"
        "    Traceback\n    KeyError: 'x'"
    )
    assert found.data() == {
        "time": "2026-11-24T12:00:01.250+00:00",
        "agent": HUNTER,
        "task": "t1",
        "level": "error",
        "message": "cannot [read] the rules",
        "fields": {"version": "v8", "exception": "Traceback\nKeyError: 'x'"},
    }


def test_on_a_narrow_terminal_the_message_is_below_the_rest() -> None:
    event = Event(stream=f"{HUNTER}/{HUNTER}-agent/t1", at=ms(1.25), message=str_of(TOLD))
    head = "2026-11-24 12:00:01.250  threat-hunter   error"
    traceback = ["    Traceback", "    KeyError: 'x'"]
    shown = line(event).text(14, 60).splitlines()
    assert shown == [head, "    cannot [read] the rules", *traceback]
    shown = line(event).text(14, 20).splitlines()
    assert shown == [head, "    cannot [read]", "      the rules", *traceback]
    assert len(line(event).text(14, 100).splitlines()) == 3
    several = Event(stream="a/a-agent/t", at=ms(0), message="one\ntwo")
    assert line(several).text(0, 40).splitlines()[1:] == ["    one", "    two"]


@pytest.mark.parametrize("text", ["plain", '{"no": "message"}', "[1]", "{cut off", "7"])
def test_any_other_line_is_shown_as_it_is(text: str) -> None:
    found = line(Event(stream="a/a-agent/t", at=ms(0), message=text))
    assert (found.message, found.level) == (text, "")


def test_a_line_cannot_move_the_terminal_s_cursor() -> None:
    event = Event(stream="a/a-agent/t", at=ms(0), message="\x1b[2Jgone\r\x07 \x9b1mand\ttab")
    shown = line(event).text()
    assert shown.endswith("[2Jgone 1mand\ttab")


def str_of(told: dict[str, str]) -> str:
    return json.dumps(told)


async def test_the_text_of_all_lines_is_for_people_or_an_object_a_line(logged: Pipeline) -> None:
    world(logged).write(HUNTER, "t1", TOLD, 1)
    world(logged).write(SUPERVISOR, "t2", "plain", 2)
    await anyio.sleep(5)
    text = await render(logged.context, Query())
    assert text.splitlines()[0] == (
        "2026-11-24 12:00:01.000  threat-hunter  error    cannot [read] the rules"
    )
    assert len((await render(logged.context, Query(), as_json=True)).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86400), ("1w", 604800)]
)
def test_a_duration_counts_back_from_now(text: str, seconds: int) -> None:
    assert EPOCH - moment(text, EPOCH) == datetime.timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["999999999w", "9" * 5000 + "s"])
def test_a_duration_too_long_for_a_date_is_a_wrong_argument(text: str) -> None:
    with pytest.raises(UsageError, match="too long"):
        moment(text, EPOCH)


def test_a_time_without_a_zone_is_utc() -> None:
    assert moment("2026-11-24T12:00", EPOCH) == EPOCH
    assert moment("2026-11-24T13:00+01:00", EPOCH) == EPOCH


def test_a_query_is_made_of_what_was_given() -> None:
    assert query({"env": "x", "format": 1}) == Query()
    given = {"agent": ["a"], "since": "1m", "release": "r", "grep": "g"}
    assert query(given) == Query(agents=("a",), since="1m", release="r", grep="g")
