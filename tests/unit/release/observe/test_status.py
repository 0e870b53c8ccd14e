"""The status: which release brought what, how it reads, and what counts as a change."""

import dataclasses

import pytest

from ci import release
from ci.release.observe.status import (
    EVENT_WIDTH,
    ServiceStatus,
    Status,
    brought_by,
    changes,
    drift,
)
from ci.release.records.table import history
from tests.unit.release.conftest import ENV, Pipeline

HUNTER = "threat-hunter"
SERVICE = f"{ENV.prefix}-{HUNTER}"


async def test_each_service_names_the_release_that_brought_it(pipeline: Pipeline) -> None:
    await pipeline.deploy()
    await pipeline.deploy("good", threat_hunter="good-2")
    await pipeline.deploy("good", threat_hunter="good-2", supervisor="good-3")
    found = await release.status(pipeline.context)
    assert {item.agent: item.release for item in found.services} == {
        "supervisor": "2026.11.24-3",
        HUNTER: "2026.11.24-2",
        "incident-response": "2026.11.24-1",
        "service-orchestration": "2026.11.24-1",
        "financial-intelligence": "2026.11.24-1",
    }
    assert found.release == "2026.11.24-3"


async def test_after_a_rollback_the_release_is_the_one_that_first_brought_it(
    pipeline: Pipeline,
) -> None:
    await pipeline.deploy()
    await pipeline.deploy("good-2")
    await pipeline.rollback()
    found = await release.status(pipeline.context)
    assert {item.release for item in found.services} == {"2026.11.24-1"}
    assert found.release == "2026.11.24-3"


async def test_the_count_of_a_scaled_service_is_no_drift(pipeline: Pipeline) -> None:
    await pipeline.deploy()
    known = (await history(pipeline.context)).releases[0]
    run = dataclasses.replace(known.after[SERVICE], desired=1, scaled=True)
    entries = tuple(
        dataclasses.replace(item, after=run) if item.service == SERVICE else item
        for item in known.entries
    )
    scaled = dataclasses.replace(known, entries=entries)
    more = dataclasses.replace(run, desired=4, scaled=False)  # as it is read from ECS
    assert drift(scaled, SERVICE, more) == ""
    assert "record lists" in drift(scaled, SERVICE, dataclasses.replace(more, revision="arn:x:9"))
    assert "record lists" in drift(known, SERVICE, more)


async def test_a_revision_of_no_release_is_shown_as_such(pipeline: Pipeline) -> None:
    await pipeline.deploy()
    known = await history(pipeline.context)
    run = known.releases[0].after[SERVICE]
    by_hand = dataclasses.replace(run, revision="arn:by-hand:9")
    assert brought_by(known, SERVICE, run) == "2026.11.24-1"
    assert brought_by(known, SERVICE, by_hand) == ""
    assert brought_by(known, SERVICE, None) == ""
    assert brought_by(known, "another", run) == ""


def item(**values: object) -> ServiceStatus:
    run = release.ServiceRevision(
        revision="arn:f:8", version="v8", digest="sha256:0123456789abcdef", desired=2
    )
    told = {"agent": "a", "service": "s", "run": run, "running": 1, "health": "healthy"}
    return ServiceStatus(**told | values)  # type: ignore[arg-type]


def status(*services: ServiceStatus, notes: tuple[str, ...] = ()) -> Status:
    return Status(environment="staging", release="r2", services=services, notes=notes)


def test_a_status_is_a_table_with_what_differs_below() -> None:
    found = status(
        item(release="r1", last_event="(service acso-staging-a) has reached a steady state."),
        item(agent="bb", run=None, running=0, health="missing", drift="missing; the record says 8"),
        notes=("locked by ci since 12:00",),
    )
    assert found.text().splitlines() == [
        "staging: release r2",
        "  locked by ci since 12:00",
        "  agent  release  revision  version  digest        tasks  age  restarts  health           "
        "last event",
        "  a      r1       8         v8       0123456789ab  1/2    -    -         healthy          "
        "has reached a steady state.",
        "  bb     -        -         -        -             0/0    -    -         missing (drift)",
        "  bb: missing; the record says 8",
    ]


def test_on_a_narrow_terminal_each_service_is_a_paragraph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    found = status(
        item(agent="threat-hunter", release="2026.11.24-3", drift="revision 9; the record lists 8"),
        notes=("release 2026.11.24-4 is unfinished: somebody on host stopped while deploying",),
    )
    assert found.text().splitlines() == [
        "staging: release r2",
        "  release 2026.11.24-4 is unfinished: somebody on host",
        "    stopped while deploying",
        "  threat-hunter",
        "    release 2026.11.24-3, revision 8, version v8,",
        "    digest 0123456789ab, tasks 1/2, health healthy (drift)",
        "  threat-hunter: revision 9; the record lists 8",
    ]


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("(service acso-a) was unable to place a task.", "was unable to place a task."),
        ("(service a) has started 1 tasks: (task t).", "has started 1 tasks: (task t)."),
        ("something else) of all", "something else) of all"),
        ("x" * 100, "x" * (EVENT_WIDTH - 1) + "…"),
        ("", ""),
    ],
)
def test_an_event_is_shown_without_the_service_and_as_far_as_it_fits(told: str, shown: str) -> None:
    assert status(item(last_event=told)).text().endswith(("-         healthy  " + shown).rstrip())


def test_a_change_is_a_new_note_or_a_service_that_is_not_as_it_was() -> None:
    before = status(item(), item(agent="b"), notes=("locked",))
    assert len(changes(None, before)) == 3
    assert changes(before, before) == []
    drifted = item(drift="revision 9; the record lists 8")
    after = status(drifted, item(agent="b"), notes=("locked", "release r3 is deploying"))
    assert changes(before, after) == [
        "release r3 is deploying",
        "a: healthy, release -, revision 8, version v8, digest 0123456789ab, tasks 1/2, "
        "revision 9; the record lists 8",
    ]
