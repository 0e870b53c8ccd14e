"""Results of commands are as the published schema of `--json` has them.

The tests are here because they use the simulated AWS of the release tests.
"""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import anyio
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

import validation
from ci.errors import LockedError
from ci.release.observe import logs
from ci.release.observe.status import status
from ci.release.records.history import history, release_detail
from ci.release.run_task import run_task
from ci.report.output import Report
from ci.report.progress import stage
from ci.report.result import RenderedResult
from tests.unit.cli.dry import dry, run
from tests.unit.release.conftest import Pipeline
from tests.unit.release.fakes.logs import LoggedWorld
from tests.unit.validation.conftest import report as validated

FILE = Path(__file__).parents[4] / "docs" / "json-output.schema.json"
RESULTS = "validation-results.schema.json"
SCHEMA = Draft202012Validator(
    json.loads(FILE.read_text()),
    registry=Registry().with_resource(
        RESULTS, Resource.from_contents(json.loads(FILE.with_name(RESULTS).read_text()))
    ),
)
HUNTER = "threat-hunter"


@pytest.fixture
def pipeline(new: Callable[..., Pipeline]) -> Pipeline:
    return new(LoggedWorld)


def printed(command: str, result: object) -> dict[str, Any]:
    """Return the document of a command with this result."""
    rendered = RenderedResult("", document=json.dumps(result))
    out = io.StringIO()
    with redirect_stdout(out):
        assert Report(command=command, json=True).run(lambda: rendered) == 0
    document: dict[str, Any] = json.loads(out.getvalue())
    return document


def test_the_schema_is_itself_valid() -> None:
    Draft202012Validator.check_schema(json.loads(FILE.read_text()))


async def test_results_of_a_deployed_environment(pipeline: Pipeline) -> None:
    await pipeline.deploy()
    context = pipeline.context
    listed = await history(context)
    SCHEMA.validate(printed("status", (await status(context)).data()))
    SCHEMA.validate(printed("history", listed.data()))
    detail = await release_detail(context, listed.releases[0].id)
    SCHEMA.validate(printed("history", detail.data()))


async def test_results_of_logs_and_tasks(pipeline: Pipeline) -> None:
    await pipeline.deploy()
    assert isinstance(pipeline.world, LoggedWorld)
    pipeline.world.write(HUNTER, "t1", {"level": "info", "message": "hello"}, -1)
    lines = await logs.read(pipeline.context, await logs.scope(pipeline.context, logs.Query()))
    assert lines
    SCHEMA.validate(printed("logs", [line.data() for line in lines]))
    ran = await run_task(
        pipeline.context, HUNTER, ["check", "4"], tell=lambda _: None, say=lambda _: None
    )
    SCHEMA.validate(printed("run-task", ran.data()))


def test_the_result_of_a_validation() -> None:
    found = validated(validation.Status.PASS, validation.Status.FAIL, validation.Status.SKIP)
    SCHEMA.validate(printed("validate", found.data()))


def test_results_of_doctor_and_of_commands_without_one(tmp_path: Path) -> None:
    with dry(tmp_path):
        for argv in (["doctor"], ["down"], ["up"], ["deploy", "--help"], ["cache"], ["nosuch"]):
            SCHEMA.validate(json.loads(run([*argv, "--json"]).out))


def test_stages_errors_and_interruption() -> None:
    async def failing() -> str:
        async with stage("preconditions") as span:
            span.result = "x"
            raise LockedError("held", hint="wait")

    def interrupted() -> str:
        raise KeyboardInterrupt

    for command, code in ((lambda: anyio.run(failing), 23), (interrupted, 130)):
        out = io.StringIO()
        with redirect_stdout(out):
            assert Report(command="deploy", json=True).run(command) == code
        document = json.loads(out.getvalue())
        SCHEMA.validate(document)
        assert document["error"]["exit_code"] == document["exit_code"] == code


@pytest.mark.parametrize(
    "document",
    [
        {"command": "x", "exit_code": 0, "seconds": 1, "stages": []},
        {"command": "doctor", "exit_code": 0, "seconds": 1, "stages": [], "result": {}},
        {"command": "logs", "exit_code": 0, "seconds": 1, "stages": [], "result": {}},
    ],
)
def test_other_documents_are_refused(document: dict[str, Any]) -> None:
    assert not SCHEMA.is_valid(document)
