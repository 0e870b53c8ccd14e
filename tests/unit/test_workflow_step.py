"""The workflow's step, executed as a runner does: which function is called, and what it decides."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci import config as configuration
from ci import release
from ci.cli.signatures import Description, from_module
from ci.infra.trust import DEPLOY, PROMOTE, subjects
from ci.main import Acso
from ci.pipeline.decorators import in_process
from tests.unit.github import cli, workflow
from tests.unit.github.workflow import COMMIT, REPOSITORY, ROOT, Event

LOADED = configuration.load(ROOT / configuration.FILE)
CONFIG = replace(LOADED, project=replace(LOADED.project, unexamined={}))
MINE = replace(CONFIG, project=replace(CONFIG.project, repository=REPOSITORY))
PULL_REQUEST = Event(name="pull_request", ref="refs/pull/7/merge")
DEVELOP = Event(name="push", ref="refs/heads/develop")
MAIN = Event(name="push", ref="refs/heads/main")
RELEASE = Event(name="release", ref="refs/tags/v1.2.0", payload={"action": "released"})
EVENTS = [
    pytest.param(PULL_REQUEST, id="pull request"),
    pytest.param(DEVELOP, id="develop"),
    pytest.param(MAIN, id="main"),
    pytest.param(RELEASE, id="release"),
]
IDENTITY = {
    "oidc_request_url": "env://ACTIONS_ID_TOKEN_REQUEST_URL",
    "oidc_request_token": "env://ACTIONS_ID_TOKEN_REQUEST_TOKEN",
}


def called(event: Event, folder: Path) -> dict[str, Any]:
    """Return the call of the module that the step makes for an event."""
    file = folder / "call.json"
    done = workflow.run(event, folder, {"ACSO_TEST_CALL": str(file)})
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.mark.parametrize("event", EVENTS)
def test_the_step_calls_ci_with_the_event_and_an_identity_unless_it_is_a_pull_request(
    event: Event, tmp_path: Path
) -> None:
    assert called(event, tmp_path) == {
        "function": "ci",
        "constructor": {} if event is PULL_REQUEST else IDENTITY,
        "arguments": {
            "event": event.name,
            "ref": event.ref,
            "commit": COMMIT,
            "actor": "ann",
        },
    }


def test_names_of_an_event_are_never_part_of_a_script(tmp_path: Path) -> None:
    mean = "v1$(touch made)`touch made`;touch made;\"'* --dirty"
    event = Event(name="release", ref=f"refs/tags/{mean}", actor=mean)
    arguments = called(event, tmp_path)["arguments"]
    assert (arguments["ref"], arguments["actor"]) == (f"refs/tags/{mean}", mean)
    assert not (ROOT / "made").exists()


WAIT = "1800"  # two events in a row wait for each other


class Decided:
    """What `Acso.ci` decided to do: every work of its own is only written down."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[str, ...]] = []

        def write(name: str, answer: Any, *show: str) -> None:
            async def work(_: Acso, *given: Any, **named: Any) -> Any:
                values = [*given, *(named[item] for item in show)]
                self.made.append((name, *map(str, values)))
                return answer

            monkeypatch.setattr(Acso, name, work)

        write("deploy", "deployed", "commit", "branch", "actor", "wait")
        write("_promote_source", "promoted", "wait")
        write("_check_and_build", [], "audit_required")

        async def config(_: Acso) -> configuration.Config:
            return CONFIG

        monkeypatch.setattr(Acso, "_config", config)


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> Decided:
    return Decided(monkeypatch)


async def ci(event: Event) -> None:
    nothing: dict[str, Any] = {"source": None}
    with in_process():
        await Acso(**nothing).ci(event.name, event.ref, commit=COMMIT, actor="ann")


@pytest.mark.parametrize(
    ("event", "name"),
    [(DEVELOP, "development"), (MAIN, "staging")],
)
async def test_a_push_deploys_its_branch_s_environment(
    event: Event, name: str, decided: Decided
) -> None:
    await ci(event)
    check, deploy = decided.made
    assert check == ("_check_and_build", str(CONFIG), str(configuration.CHECKS), "True")
    assert deploy == ("deploy", name, COMMIT, event.ref, "ann", WAIT)


async def test_packages_need_no_audit_where_acso_toml_says_why(
    decided: Decided, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = replace(CONFIG, project=replace(CONFIG.project, unexamined={"packages": "no index"}))

    async def config(_: Acso) -> configuration.Config:
        return allowed

    monkeypatch.setattr(Acso, "_config", config)
    await ci(PULL_REQUEST)
    ((*_, required),) = decided.made
    assert required == "False"


async def test_a_release_promotes_to_production_and_neither_builds_nor_deploys(
    decided: Decided,
) -> None:
    await ci(RELEASE)
    request = release.Request(commit=COMMIT, branch=RELEASE.ref, actor="ann")
    assert decided.made == [("_promote_source", "staging", "production", str(request), WAIT)]


@pytest.mark.parametrize(
    "event",
    [PULL_REQUEST, Event(name="push", ref="refs/heads/feature")],
    ids=["pull request", "another branch"],
)
async def test_anything_else_checks_and_builds(event: Event, decided: Decided) -> None:
    await ci(event)
    assert [name for name, *_ in decided.made] == ["_check_and_build"]


def test_each_job_s_subject_is_one_that_the_roles_it_needs_trust() -> None:
    def trusted(name: str, kind: str) -> tuple[str, ...]:
        return subjects(MINE, MINE.environment(name), kind)

    assert DEVELOP.subject in trusted("development", DEPLOY)
    assert MAIN.subject in trusted("staging", DEPLOY)
    assert RELEASE.subject in trusted("production", DEPLOY)
    assert RELEASE.subject in trusted("staging", PROMOTE)
    everyone = {
        subject
        for name in MINE.environments
        for kind in (DEPLOY, PROMOTE)
        for subject in trusted(name, kind)
    }
    assert everyone == {event.subject for event in (DEVELOP, MAIN, RELEASE)}


@pytest.mark.parametrize("event", EVENTS)
def test_only_a_release_runs_for_a_github_environment(event: Event) -> None:
    released = MINE.released_by(event.name, event.ref)
    expected = released.name if released and released.event == event.name else ""
    assert event.environment == expected


def test_no_run_that_deploys_is_ever_cancelled() -> None:
    concurrency = workflow.workflow()["concurrency"]

    def setting(name: str, event: Event) -> str:
        return workflow.filled(concurrency[name], event.github)

    assert setting("cancel-in-progress", PULL_REQUEST) == "true"
    deploying = (DEVELOP, MAIN, RELEASE)
    assert {setting("cancel-in-progress", event) for event in deploying} == {"false"}
    groups = {setting("group", event) for event in (*deploying, PULL_REQUEST)}
    assert len(groups) == 4  # a pull request's run is in no group of theirs


@pytest.fixture(scope="module")
def module() -> Description:
    return from_module()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["call", "pipeline"], 'unknown command "pipeline"'),
        (["call", "ci", "--evnt", "push"], "unknown flag: --evnt"),
        (["call", "--event", "push", "ci"], "unknown flag: --event"),
        (["call", "ci", "--event", "push", "--endpoint", "http://x"], "unknown flag: --endpoint"),
        (["call", "ci", "--event", "push"], 'required flag(s) "ref" not set'),
        (["call", "ci", "--event"], "flag needs an argument: --event"),
        (["call", "ci", "--event", "a", "--ref", "b", "c"], 'unknown command "c"'),
        (["call", "--webhook", "https://x", "ci"], 'invalid argument for "--webhook" flag'),
        (["call", "deploy", "--env", "x", "--dirty=maybe"], 'invalid argument "maybe"'),
        (["call", "deploy", "--env", "x", "--dirty", "true"], 'unknown command "true"'),
        (["call", "deploy", "--env", "x", "--on-cancel", "run"], 'invalid argument "run"'),
        (["query"], "only `dagger call`"),
    ],
)
def test_the_stand_in_takes_no_more_than_dagger_call(
    argv: list[str], said: str, module: Description
) -> None:
    with pytest.raises(cli.WrongUsageError) as raised:
        cli.parse(module, argv)
    assert said in str(raised.value)


def test_the_stand_in_reads_flags_as_dagger_call_does(module: Description) -> None:
    argv = ["--progress", "plain", "call", "--webhook", "env://HOOK", "deploy", "--env=staging"]
    found = cli.parse(module, [*argv, "--dirty", "--wait", "30", "--on-cancel", "ROLLBACK"])
    assert found.constructor == {"webhook": "env://HOOK"}
    assert found.arguments == {
        "env": "staging",
        "dirty": True,
        "wait": 30,
        "on_cancel": "rollback",
    }


def test_a_failure_of_the_program_is_the_step_s(tmp_path: Path) -> None:
    # The file that would be written is in no folder: any error of the stand-in ends the step.
    lost = {"ACSO_TEST_CALL": str(tmp_path / "nowhere" / "call.json")}
    done = workflow.run(MAIN, tmp_path, lost)
    assert done.returncode == 1
    assert "nowhere" in done.stderr


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("github.event_name == 'push'", True),
        ("github.event_name == 'PUSH' && github.ref || 'no'", "refs/heads/main"),
        ("github.event_name != 'push' && 'a' || 'it''s'", "it's"),
        ("github.event_name != 'push' && 'a'", False),
    ],
)
def test_expressions_mean_what_they_mean_to_github(expression: str, value: str | bool) -> None:
    assert workflow.evaluate(expression, MAIN.github) == value


@pytest.mark.parametrize(
    "expression", ["github.sha", "contains(github.ref, 'x')", "!github.ref", "'a' 'b'", "1"]
)
def test_an_expression_that_is_not_understood_fails(expression: str) -> None:
    with pytest.raises(AssertionError):
        workflow.evaluate(expression, MAIN.github)
