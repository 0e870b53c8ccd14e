"""Stages run to their end, and their failures are sentences."""

import anyio
import dagger
import gql
import pytest
from dagger._exceptions import QueryErrorValue

from ci.errors import AwsError, StageError
from ci.report.progress import Span, listen
from ci.stages.running import SHOWN, NotExaminedError, failure, run_all, run_gate


class Kept:
    """A listener that keeps spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def began(self, span: Span) -> None:
        self.spans.append(span)

    def noted(self, span: Span, line: str) -> None: ...

    def ended(self, span: Span) -> None: ...


def exec_error(stdout: str = "", stderr: str = "") -> dagger.ExecError:
    """Make the error as the client does from an engine's answer."""
    extensions = {"_type": "EXEC_ERROR", "cmd": ["ruff", "check", "."], "exitCode": 1}
    answer = QueryErrorValue(
        message="exit code: 1",
        locations=[],
        path=[],
        extensions=extensions | {"stdout": stdout, "stderr": stderr},
    )
    return dagger.ExecError([answer], gql.gql("{ version }"))  # type: ignore[no-untyped-call]


async def test_a_gate_returns_its_line_and_is_a_span() -> None:
    kept = Kept()

    async def work() -> str:
        return "fine"

    with listen(kept):
        assert await run_gate("lint", work) == "lint: fine"
    (span,) = kept.spans
    assert (span.name, span.state, span.result) == ("lint", "ok", "fine")


async def test_a_gate_that_could_not_look_is_neither_passed_nor_failed() -> None:
    kept = Kept()

    async def work() -> str:
        raise NotExaminedError("nobody answers", hint="ask again")

    with listen(kept):
        assert await run_gate("packages", work) == "packages: not examined: nobody answers"
    (span,) = kept.spans
    assert span.data() | {"seconds": 0} == {
        "stage": "packages",
        "state": "not examined",
        "seconds": 0,
        "result": "nobody answers",
    }
    with listen(kept), pytest.raises(StageError, match="nobody answers") as error:
        await run_gate("packages", work, required=True)
    assert (error.value.hint, kept.spans[-1].state) == ("ask again", "failed")


async def test_a_failing_tool_is_told_with_command_code_and_output() -> None:
    kept = Kept()

    async def work() -> str:
        raise exec_error(stdout="ci/x.py:1: E501", stderr="Found 1 error.")

    with listen(kept), pytest.raises(StageError) as error:
        await run_gate("lint", work)
    assert str(error.value) == (
        "lint failed: exit code 1 of ruff check .\n  ci/x.py:1: E501\n  Found 1 error."
    )
    assert kept.spans[0].state == "failed"


def test_long_output_shows_its_end_and_says_how_much_is_left_out() -> None:
    lines = failure("test", exec_error("\n".join(str(n) for n in range(100)))).splitlines()
    assert lines[1].strip() == f"... ({100 - SHOWN} lines before)"
    assert lines[-1].strip() == "99"
    assert len(lines) == SHOWN + 2


async def test_together_runs_all_to_their_end_and_tells_every_failure() -> None:
    ended = []

    async def fails(name: str) -> str:
        await anyio.lowlevel.checkpoint()
        ended.append(name)
        message = f"{name} is wrong"
        raise StageError(message, hint=f"mend {name}")

    async def works() -> str:
        await anyio.lowlevel.checkpoint()
        ended.append("c")
        return "done"

    with pytest.raises(StageError) as error:
        await run_all({"a": lambda: fails("a"), "b": lambda: fails("b"), "c": works})
    assert sorted(ended) == ["a", "b", "c"]
    assert "a is wrong" in str(error.value)
    assert "b is wrong" in str(error.value)
    assert error.value.hint == "mend a; mend b"


async def test_a_single_failure_keeps_its_kind() -> None:
    async def fails() -> str:
        message = "no"
        raise AwsError(message, code="AccessDenied")

    async def works() -> str:
        return "done"

    with pytest.raises(AwsError, match="no"):
        await run_all({"a": fails, "b": works})


async def test_results_come_by_name_in_the_order_asked_for() -> None:
    late = anyio.Event()

    async def first() -> str:
        await late.wait()
        return "1"

    async def second() -> str:
        late.set()
        return "2"

    assert list((await run_all({"a": first, "b": second})).items()) == [("a", "1"), ("b", "2")]
