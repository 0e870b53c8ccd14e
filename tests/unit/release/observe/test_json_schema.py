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

import validation
from ci import chaos
from ci.chaos.faults import UnreachableAgent
from ci.cli.mistakes import commands_of
from ci.cli.program import make_parser
from ci.cli.signatures import from_module
from ci.errors import LockedError
from ci.release.observe import logs
from ci.release.observe.status import status
from ci.release.records.history import history, release_detail
from ci.release.run_task import run_task
from ci.report.output import Report
from ci.report.progress import stage
from ci.report.result import RenderedResult
from tests.unit.cli.dry import dry, run
from tests.unit.json_documents import DOCUMENT, RESULTS, published
from tests.unit.release.conftest import Pipeline
from tests.unit.release.fakes.logs import LoggedWorld
from tests.unit.validation.conftest import report as validated

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
    for name in ("json-output.schema.json", RESULTS):
        Draft202012Validator.check_schema(published(name))


def test_it_has_the_result_of_every_command() -> None:
    listed: list[str] = []
    for rule in published("json-output.schema.json")["allOf"][1:]:
        command = rule["if"]["properties"]["command"]
        listed += command["enum"] if "enum" in command else [command["const"]]
    assert sorted(listed) == sorted([*commands_of(make_parser(from_module())), "help"])


def test_every_form_of_result_is_complete_and_used() -> None:
    forms = published(RESULTS)["$defs"]
    text = json.dumps([published("json-output.schema.json"), forms])
    for name, form in forms.items():
        assert f'#/$defs/{name}"' in text
        if form.get("type") == "object" and "properties" in form:
            assert form["additionalProperties"] is False, name


async def test_results_of_a_deployed_environment(pipeline: Pipeline) -> None:
    await pipeline.deploy()
    context = pipeline.context
    listed = await history(context)
    DOCUMENT.validate(printed("status", (await status(context)).data()))
    DOCUMENT.validate(printed("history", listed.data()))
    detail = await release_detail(context, listed.releases[0].id)
    DOCUMENT.validate(printed("history", detail.data()))


async def test_results_of_logs_and_tasks(pipeline: Pipeline) -> None:
    await pipeline.deploy()
    assert isinstance(pipeline.world, LoggedWorld)
    pipeline.world.write(HUNTER, "t1", {"level": "info", "message": "hello"}, -1)
    lines = await logs.read(pipeline.context, await logs.scope(pipeline.context, logs.Query()))
    assert lines
    DOCUMENT.validate(printed("logs", [line.data() for line in lines]))
    ran = await run_task(
        pipeline.context, HUNTER, ["check", "4"], tell=lambda _: None, say=lambda _: None
    )
    DOCUMENT.validate(printed("run-task", ran.data()))


def test_the_result_of_a_validation() -> None:
    found = validated(validation.Status.PASS, validation.Status.FAIL, validation.Status.SKIP)
    DOCUMENT.validate(printed("validate", found.data()))


def test_the_results_of_experiments() -> None:
    found = validated(validation.Status.PASS, validation.Status.NOT_EXAMINED)
    fault = UnreachableAgent(agent=HUNTER)
    undone = chaos.Undone(environment="development", faults=(fault,))
    for result in (found, undone):
        DOCUMENT.validate(printed("chaos", result.data()))


def test_results_of_doctor_and_of_commands_without_one(tmp_path: Path) -> None:
    with dry(tmp_path):
        for argv in (["doctor"], ["down"], ["up"], ["deploy", "--help"], ["cache"], ["nosuch"]):
            DOCUMENT.validate(json.loads(run([*argv, "--json"]).out))
        for name, *more in (["selftest"], ["bench", "engine"], ["engine", "run", "true"]):
            DOCUMENT.validate(json.loads(run([name, "--json", *more]).out))
        document = json.loads(run(["completion", "bash", "--json"]).out)
        DOCUMENT.validate(document)
        assert "acso" in document["result"]


async def test_a_release_that_fails_has_its_outcome_in_the_error(pipeline: Pipeline) -> None:
    await pipeline.deploy()
    outcome = await pipeline.deploy("crash")
    out = io.StringIO()

    def fail() -> str:
        outcome.raise_for_failure()
        return ""

    with redirect_stdout(out):
        assert Report(command="deploy", json=True).run(fail) == 40
    document = json.loads(out.getvalue())
    DOCUMENT.validate(document)
    details = document["error"]["details"]
    assert details == outcome.data()
    assert details["outcome"] == "rolled_back"
    assert details["failures"][0]["exit_code"] == 1


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
        DOCUMENT.validate(document)
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
    assert not DOCUMENT.is_valid(document)
