"""Spans: how they end, and how they are printed as lines."""

import io

import anyio
import pytest

from ci.report.console import Timeline
from ci.report.progress import Lines, listen, stage


async def test_a_stage_that_succeeds_is_one_line_with_its_result() -> None:
    out = io.StringIO()
    with listen(Lines(out)):
        async with stage("build") as span:
            span.say("pulling")
            span.result = "5 images"
    note, end = out.getvalue().splitlines()
    assert note == "   build: pulling"
    assert end.startswith("ok build (")
    assert end.endswith("s)  5 images")


async def test_a_result_of_many_lines_is_shown_by_its_first() -> None:
    out = io.StringIO()
    with listen(timeline := Timeline(Lines(out))):
        async with stage("validation") as span:
            span.result = "1 of 2 checks passed\n  it answers: HTTP 500"
    assert out.getvalue().endswith("s)  1 of 2 checks passed\n")
    assert str(timeline.spans[0].data()["result"]).endswith("HTTP 500")


async def test_a_stage_that_raises_is_failed_and_the_exception_propagates() -> None:
    timeline = Timeline(Lines(io.StringIO()))

    async def fails() -> None:
        async with stage("build"):
            int("x")

    with listen(timeline), pytest.raises(ValueError, match="x"):
        await fails()
    assert [span.state for span in timeline.spans] == ["failed"]


async def test_a_cancelled_stage_is_neither_ok_nor_failed() -> None:
    timeline = Timeline(Lines(io.StringIO()))
    with listen(timeline), anyio.CancelScope() as scope:
        async with stage("build"):
            scope.cancel()
            await anyio.sleep_forever()
    assert timeline.spans[0].data()["state"] == "cancelled"
