"""What `history` tells: all releases in a line each, one of them whole."""

import json

import pytest

from ci import release
from ci.common import tables
from ci.errors import UsageError
from tests.unit.json_documents import result
from tests.unit.release.conftest import Pipeline
from tests.unit.release.test_killed import kill


async def test_releases_are_listed_newest_first_with_who_when_what_and_why(
    pipeline: Pipeline,
) -> None:
    await pipeline.deploy("good")
    await pipeline.deploy("good", threat_hunter="crash")
    await pipeline.deploy("good", supervisor="good-2")
    head, third, second, first = (await release.history(pipeline.context)).text().splitlines()
    assert head == "staging: 3 releases, newest first"
    assert third.startswith("  2026.11.24-3 *  deploy  succeeded    2026-11-24 12:00")
    assert "tests  abc  supervisor" in third
    assert second.startswith("  2026.11.24-2    deploy  rolled back")
    assert "threat-hunter  agent threat-hunter does not stay up" in second
    assert first.startswith("  2026.11.24-1")
    assert first.endswith("  all 5 agents")


async def test_on_a_narrow_terminal_each_release_is_a_paragraph(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    await pipeline.deploy("good")
    failed = await pipeline.deploy("good", threat_hunter="crash")
    lines = (await release.history(pipeline.context)).text().splitlines()
    assert lines[1:6] == [
        "  2026.11.24-2",
        "    kind deploy, state rolled back, began 2026-11-24",
        "    12:00:06, took 3 s, by tests, commit abc,",
        "    changed threat-hunter, why agent threat-hunter does not",
        "    stay up (revision 2, 1 stopped task)",
    ]
    assert lines[6] == "  2026.11.24-1 *"
    detail = await release.release_detail(pipeline.context, failed.release)
    shown = tables.fitted(detail.text(), width=60).splitlines()
    assert max(map(len, shown)) <= 60
    assert "  threat-hunter, task task12: exit code 1; Essential" in shown
    assert "    | RuntimeError: boom" in shown


async def test_a_release_that_ecs_rolled_back_is_listed_so(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    await pipeline.within(failure_threshold=9).deploy("good", threat_hunter="crash")
    listing = await release.history(pipeline.context, limit=1)
    assert "rolled back by ECS" in listing.text()
    (found,) = listing.data()["releases"]
    assert found["outcome"] == "rolled_back_by_ecs"
    assert found["changed"] == ["threat-hunter"]
    assert found["seconds"] > 0


async def test_one_release_is_shown_in_detail(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    failed = await pipeline.deploy("good", threat_hunter="crash")
    whole = await release.release_detail(pipeline.context, failed.release)
    text = whole.text()
    for line in (
        "release 2026.11.24-2 of staging: deploy, rolled back",
        "  a failure returns to 2026.11.24-1",
        "  planned       2026-11-24T12:00:",
        "  rolling back  2026-11-24T12:00:",
        "change: good (revision 1, sha256:good) -> crash (revision 2, sha256:crash)",
        "unchanged: good (revision 1, sha256:good)",
        "exit code 1; Essential container exited",
        "    | RuntimeError: boom",
    ):
        assert line in text
    document = json.loads(json.dumps(whole.data()))
    result("record").validate(document)
    assert document["failures"][0]["log"][-1] == "RuntimeError: boom"
    assert [name for name, _ in document["steps"]][-1] == "rolled_back"


async def test_an_unfinished_release_has_no_duration(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    assert await kill(pipeline, lambda p: p.deploy("good-2"), at=40)
    listing = await release.history(pipeline.context)
    assert listing.data()["releases"][0]["seconds"] is None
    result("history").validate(listing.data())
    assert "deploying" in listing.text().splitlines()[1]


async def test_a_rollback_tells_whose_content_it_has(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    await pipeline.deploy("good-2")
    back = await pipeline.rollback()
    text = (await release.release_detail(pipeline.context, back.release)).text()
    assert "rollback, succeeded" in text
    assert "content of release 2026.11.24-1" in text


async def test_an_empty_history_and_an_unknown_release_are_reported(pipeline: Pipeline) -> None:
    assert (await release.history(pipeline.context)).text() == "staging: no release on record"
    with pytest.raises(UsageError, match=r"2026\.11\.24-7 of staging is not on record"):
        await release.release_detail(pipeline.context, "2026.11.24-7")
    with pytest.raises(UsageError, match="looks like"):
        await release.release_detail(pipeline.context, "latest")
