"""The integration checks against all five agents in this process: each can pass and fail."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from agents.common.store import drill
from ci.aws.elb import Answer
from ci.aws.metrics import tasks
from ci.aws.probing import Request
from tests.unit.release.conftest import CONFIG, ENV
from tests.unit.validation.site import ACCOUNT, Answering, Site, opened
from validation import CheckContext, Status, client, run_checks, smoke
from validation.integration import CHECKS


@pytest.fixture
def anyio_backend() -> str:
    """The agents work in threads, which a loop whose time is not real would not wait for."""
    return "asyncio"


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    async with opened(monkeypatch) as found:
        yield found


async def answering(_: dict[str, Any]) -> dict[str, Any]:
    return {"output": {"message": {"content": [{"text": "Yes"}]}}}


async def refusing(_: dict[str, Any]) -> dict[str, Any]:
    raise PermissionError("no access")


NAMES = [check.id.partition(".")[2] for check in CHECKS]


@pytest.mark.parametrize("name", NAMES)
async def test_every_check_passes_on_good_agents_and_leaves_nothing(site: Site, name: str) -> None:
    found = await site.result(name)
    assert found.status is Status.PASS, found.finding
    assert found.finding.warnings == ()
    assert site.left() == {}
    assert (site.cloud.queues, site.cloud.subscriptions) == ({}, set())
    assert set(site.cloud.states.values()) <= {"OK"}


def answers(agent: str, part: str, method: str = "GET", **changes: Any) -> Answering:
    """Return a change of one agent's answers to paths that have a part."""

    def change(asked: str, request: Request, answer: Answer) -> Answer:
        if asked != agent or part not in request.url or request.method != method:
            return answer
        status = changes.get("status", answer.status)
        return Answer(status=status, body={**answer.body, **changes.get("body", {})})

    return change


def approved_without_waiting(agent: str, request: Request, answer: Answer) -> Answer:
    if agent != "supervisor" or "/workflows/" not in request.url:
        return answer
    tasks = [task | {"result": "done"} for task in answer.body.get("tasks", ())]
    return replace(answer, body={**answer.body, "tasks": tasks})


def lazy(site: Site) -> None:
    site.works = False
    site.hurry()


def deaf(site: Site) -> None:
    site.cloud.wired = False
    site.hurry()


def mighty(site: Site) -> None:
    site.cloud.allowed = ("iam:PassRole",)


def open_to_all(_agent: str, request: Request, answer: Answer) -> Answer:
    return Answer(status=200) if "/whoami" in request.url else answer


def changed(change: Answering) -> Callable[[Site], None]:
    return lambda site: setattr(site, "change", change)


BREAKS: list[tuple[str, Callable[[Site], None], str]] = [
    ("goal", lazy, "is still running after 0.5 s"),
    ("goal", changed(answers("supervisor", "/workflows", "POST", status=500)), "/workflows: HTTP"),
    ("attack", lazy, "is still running after 0.5 s"),
    (
        "attack",
        changed(answers("threat-hunter", "/findings", body={"technique": "T1"})),
        "technique is 'T1', not 'T1110'",
    ),
    (
        "attack",
        changed(answers("incident-response", "/intents", body={"items": []})),
        "no action was recorded",
    ),
    (
        "ticket",
        changed(answers("service-orchestration", "/tickets", "POST", body={"team": None})),
        "it has no team",
    ),
    (
        "ticket",
        changed(
            answers("service-orchestration", "/tickets", "POST", body={"resolution_due": None})
        ),
        "its clocks are wrong",
    ),
    (
        "costs",
        changed(answers("financial-intelligence", "/anomalies", body={"items": []})),
        "is not among 0 anomalies",
    ),
    (
        "calls",
        changed(answers("supervisor", "/peers/threat-hunter", status=502)),
        "supervisor cannot call threat-hunter",
    ),
    (
        "calls",
        changed(answers("supervisor", "/peers/threat-hunter", body={"role": "person"})),
        "threat-hunter takes supervisor for a person",
    ),
    ("approval-granted", changed(approved_without_waiting), "the task did not wait"),
    (
        "approval-denied",
        changed(answers("incident-response", "/intents", body={"items": [{"action": "x"}]})),
        "1 actions were executed",
    ),
    (
        "approval-denied",
        changed(answers("supervisor", "/approvals", "POST", status=200)),
        "a later approval was answered with 200, not 409",
    ),
    (
        "approval-timeout",
        changed(answers("incident-response", "/incidents", body={"status": "contained"})),
        "the incident is contained",
    ),
    ("alarm", deaf, "no notification of acso-staging-supervisor-errors within 0.5 s"),
    (
        "authentication",
        changed(open_to_all),
        "supervisor answers /whoami for no token with HTTP 200",
    ),
    (
        "authentication",
        changed(answers("supervisor", "/approvals", "POST", status=404)),
        "an agent that approves is answered with HTTP 404",
    ),
    ("task-role", mighty, "supervisor may iam:PassRole"),
]


@pytest.mark.parametrize(("name", "broken", "observed"), BREAKS)
async def test_every_check_fails_on_what_it_is_for(
    site: Site, name: str, broken: Callable[[Site], None], observed: str
) -> None:
    broken(site)
    found = await site.result(name)
    assert found.status is Status.FAIL, found.finding
    assert observed in found.finding.observed


def test_every_check_has_a_test_that_sees_it_fail() -> None:
    assert {name for name, _, _ in BREAKS} == set(NAMES)


@pytest.mark.parametrize("name", ["attack", "costs", "alarm"])
async def test_what_was_created_is_removed_after_a_failure_too(site: Site, name: str) -> None:
    for broken_name, broken, _ in BREAKS:
        if broken_name == name:
            broken(site)
            await site.result(name)
            assert site.left() == {}
            assert (site.cloud.queues, site.cloud.subscriptions) == ({}, set())


async def test_what_cannot_be_removed_is_a_warning(site: Site) -> None:
    site.change = answers("threat-hunter", "/drills/", "DELETE", status=503)
    found = await site.result("costs")
    assert found.status is Status.PASS
    (warning,) = found.finding.warnings
    assert warning.startswith("threat-hunter keeps what the drill stored for an hour: HTTP 503")


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("attack", "get_secret_value"),
        ("calls", "describe_stacks"),
        ("alarm", "create_queue"),
        ("alarm", "set_alarm_state"),
        ("authentication", "list_secret_version_ids"),
        ("task-role", "simulate_principal_policy"),
    ],
)
async def test_a_missing_permission_is_not_examined(site: Site, name: str, operation: str) -> None:
    site.cloud.fails = operation
    found = await site.result(name)
    assert found.status is Status.NOT_EXAMINED
    assert "AccessDenied" in found.finding.observed


async def test_tokens_before_a_rotation_are_accepted_and_retired_ones_are_not(site: Site) -> None:
    site.cloud.secrets["people", "AWSPREVIOUS"] = json.dumps({"alice": "person-token"})
    site.cloud.versions = [
        {"VersionId": "v0"},
        {"VersionId": "v1", "VersionStages": ["AWSCURRENT"]},
    ]
    site.cloud.secrets["people", "v0"] = json.dumps({"alice": "an-old-token"})
    found = await site.result("authentication")
    assert found.status is Status.PASS, found.finding
    assert found.finding.observed == "5 agents, 6 kinds of tokens each"
    site.cloud.secrets["people", "v0"] = json.dumps({"alice": "agent-token"})  # still accepted
    found = await site.result("authentication")
    assert "answers /whoami for a retired token with HTTP 200" in found.finding.observed


async def test_a_leftover_queue_of_an_earlier_run_is_removed(site: Site) -> None:
    site.cloud.queues["https://queue/acso-staging-validation-0"] = []
    await site.result("alarm")
    assert site.cloud.queues == {}


@pytest.mark.parametrize(
    ("converse", "status", "observed"),
    [
        (answering, Status.PASS, "5 agents are answered by m at http://balancer"),
        (refusing, Status.FAIL, "supervisor: the model failed: PermissionError: no access"),
    ],
)
async def test_the_model_is_asked_by_every_task(
    site: Site, converse: Any, status: Status, observed: str
) -> None:
    site.house.model_name, site.house.converse = "m", converse
    aws: Any = site.cloud
    env = replace(ENV, model="m")
    context = CheckContext(aws=aws, config=CONFIG, env=env, url="http://balancer", probe=site)
    check = next(check for check in smoke.CHECKS if check.id == "smoke.bedrock")
    check = replace(check, patience=0)
    found = (await run_checks("smoke", [check], context, ACCOUNT)).results[0]
    assert found.status is status
    assert observed in found.finding.observed


def test_the_header_of_drills_is_the_agents_own() -> None:
    assert client.DRILL == drill.HEADER


async def test_the_figures_of_an_agent_are_read_as_it_counts_them(site: Site) -> None:
    async with site.house.client("supervisor") as agent:
        for path in ("/health", "/supervisor/health", "/supervisor/whoami", "/nothing"):
            await agent.get(path)
        found = tasks.parse((await agent.get("/metrics")).text)
    assert (found.requests, found.errors) == (3.0, 0.0)
    assert max(found.buckets.values()) == 3.0
    assert found.cpu_seconds
    assert found.memory
