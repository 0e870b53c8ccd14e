"""The smoke checks: each passes when all is well, and each can fail."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from ci.aws import elb
from ci.aws.ecs import Deployment, Service
from ci.aws.elb import Answer
from ci.errors import AwsError
from tests.unit.release.conftest import COUNT, Pipeline, context
from tests.unit.release.fakes.world import World
from validation import Status, run
from validation.model import Result
from validation.smoke import CHECKS, Expected, health_problems, problems_of

Damage = Callable[[World], Any]


@pytest.fixture
async def deployed(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world in which every agent is healthy."""
    world = World()

    async def get(url: str, *, seconds: float = 5.0) -> Answer:  # noqa: ARG001
        return world.answer(url)

    monkeypatch.setattr(elb, "get", get)
    pipeline = Pipeline(world=world, context=context(world))
    assert (await pipeline.deploy("good")).ok
    return world


async def results(world: World) -> dict[str, Result]:
    report = await run(["smoke"], context(world), "http://balancer")
    assert report.ok == all(not result.blocks for result in report.results)
    return {result.check.id: result for result in report.results}


async def test_all_checks_pass_in_a_healthy_environment(deployed: World) -> None:
    found = await results(deployed)
    assert list(found) == [check.id for check in CHECKS]
    assert {result.status for result in found.values()} == {Status.PASS, Status.SKIP}
    assert found["smoke.bedrock"].finding.observed == "no model is configured"


async def test_an_empty_cluster_is_no_success() -> None:
    found = await results(World())
    assert found["smoke.services"].status is Status.FAIL
    assert found["smoke.services"].finding.observed.count("is missing") == COUNT
    assert found["smoke.logs"].status is Status.FAIL
    assert found["smoke.health"].status is Status.FAIL


def no_cluster(world: World) -> None:
    world.describe_clusters = lambda clusters: {"clusters": []}  # type: ignore[method-assign]  # noqa: ARG005


def a_stranger(world: World) -> None:
    world.services["acso-staging-stranger"] = world.services["acso-staging-supervisor"]


def one_deleted(world: World) -> None:
    world.delete_service("", "acso-staging-supervisor", force=True)


def scaled_to_nothing(world: World) -> None:
    world.update_service("acso-staging-supervisor", desiredCount=0)


def silent(world: World) -> None:
    world.get_log_events = lambda **_: {"events": []}  # type: ignore[method-assign]


def no_log_group(world: World) -> None:
    world.describe_log_groups = lambda **_: []  # type: ignore[method-assign]


def lying(world: World) -> None:
    next(t for t in world.tasks if t.service.endswith("supervisor")).mode = "liar"


def sick(world: World) -> None:
    next(t for t in world.tasks if t.service.endswith("supervisor")).mode = "sick"


@pytest.mark.parametrize(
    ("damage", "check", "observed"),
    [
        (no_cluster, "smoke.cluster", "acso-staging-cluster is missing"),
        (no_cluster, "smoke.services", "acso-staging-supervisor is missing"),
        (one_deleted, "smoke.services", "acso-staging-supervisor is missing"),
        (one_deleted, "smoke.logs", "no running task of supervisor"),
        (scaled_to_nothing, "smoke.services", "acso-staging-supervisor is scaled to 0"),
        (silent, "smoke.logs", "nothing written to supervisor/supervisor-agent/task"),
        (no_log_group, "smoke.logs", "log group /aws/acso/staging/agents does not exist"),
        (lying, "smoke.health", "supervisor says version 'another', not 'good'"),
        (sick, "smoke.health", "supervisor answers HTTP 503"),
    ],
)
async def test_each_check_fails_for_its_own_reason(
    deployed: World, damage: Damage, check: str, observed: str
) -> None:
    damage(deployed)
    found = (await results(deployed))[check]
    assert found.status is Status.FAIL
    assert observed in found.finding.observed


async def test_an_agent_that_is_not_ready_fails(
    deployed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def get(url: str, *, seconds: float = 5.0) -> Answer:  # noqa: ARG001
        ready = url.endswith("/ready") and "supervisor" in url
        return Answer(status=503, body={"table": "gone"}) if ready else deployed.answer(url)

    monkeypatch.setattr(elb, "get", get)
    found = (await results(deployed))["smoke.ready"]
    assert found.status is Status.FAIL
    assert found.finding.observed == 'supervisor is not ready: HTTP 503 {"table": "gone"}'


async def test_a_service_of_no_agent_is_a_warning(deployed: World) -> None:
    a_stranger(deployed)
    found = (await results(deployed))["smoke.services"]
    assert found.status is Status.PASS
    assert found.finding.warnings == ("service of no agent: acso-staging-stranger",)


def another_revision(world: World) -> None:
    task = next(t for t in world.tasks if t.service.endswith("supervisor"))
    task.revision = task.revision.rpartition(":")[0] + ":99"


def a_tag(world: World) -> None:
    _definition(world)["image"] = "registry/acso-supervisor:latest"


def another_digest(world: World) -> None:
    _definition(world)["image"] = "registry/acso-supervisor@sha256:" + "0" * 64


def unrecorded(world: World) -> None:
    digest = "sha256:" + "0" * 64
    definition = _definition(world)
    definition["image"] = f"registry/acso-supervisor@{digest}"
    for item in definition["environment"]:
        if item["name"] == "ACSO_DIGEST":
            item["value"] = digest


def _definition(world: World) -> Any:
    task = next(t for t in world.tasks if t.service.endswith("supervisor"))
    return world.definitions[task.revision]["containerDefinitions"][0]


@pytest.mark.parametrize(
    ("damage", "observed"),
    [
        (another_revision, "of acso-staging-supervisor runs acso-staging-supervisor:99"),
        (a_tag, "acso-staging-supervisor runs registry/acso-supervisor:latest, which is no digest"),
        (unrecorded, f"runs sha256:{'0' * 64}, which the release record does not list"),
        (another_digest, "acso-staging-supervisor runs another image than the release registered"),
    ],
)
async def test_tasks_that_run_something_else_than_the_release_are_found(
    deployed: World, damage: Damage, observed: str
) -> None:
    damage(deployed)
    found = (await results(deployed))["smoke.images"]
    assert found.status is Status.FAIL
    assert observed in found.finding.observed


@pytest.mark.parametrize("path", ["/ready", "/health"])
async def test_an_agent_that_answers_at_the_second_time_passes(
    deployed: World, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    asked: list[str] = []

    async def get(url: str, *, seconds: float = 5.0) -> Answer:  # noqa: ARG001
        first = url not in asked and url.endswith(path)
        asked.append(url)
        return Answer(status=503) if first else deployed.answer(url)

    monkeypatch.setattr(elb, "get", get)
    found = await results(deployed)
    assert {found[f"smoke{name}"].status for name in (".health", ".ready")} == {Status.PASS}


@pytest.mark.parametrize(
    ("operation", "check"),
    [
        ("describe_clusters", "smoke.cluster"),
        ("list_services", "smoke.services"),
        ("describe_log_groups", "smoke.logs"),
        ("get_log_events", "smoke.logs"),
        ("describe_task_definition", "smoke.images"),
    ],
)
async def test_a_check_without_permission_is_not_examined_and_names_it(
    deployed: World, operation: str, check: str
) -> None:
    deployed.errors[operation] = AwsError(
        f"{operation}: AccessDeniedException: no", hint=f"missing permission: {operation}"
    )
    found = (await results(deployed))[check]
    assert found.status is Status.NOT_EXAMINED
    assert "AccessDenied" in found.finding.observed
    assert found.finding.hint == f"missing permission: {operation}"


HEALTHY = Service(
    name="s",
    status="ACTIVE",
    revision="r",
    desired=1,
    running=1,
    settings="{}",
    deployments=(Deployment(id="1", status="PRIMARY", revision="r", desired=1, running=1),),
)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"status": "DRAINING"}, "s is DRAINING"),
        ({"desired": 0, "running": 0}, "s is scaled to 0"),
        ({"desired": 2}, "s runs 1 of 2 tasks"),
        ({"running": 2}, "s runs 2 of 1 tasks"),
        ({"deployments": HEALTHY.deployments * 2}, "s has 2 deployments"),
        ({"deployments": ()}, "s has 0 deployments"),
    ],
)
def test_a_service_s_problems_are_described(changes: dict[str, Any], problem: str) -> None:
    assert problems_of(HEALTHY) == []
    assert problem in problems_of(dataclasses.replace(HEALTHY, **changes))


def test_a_scaled_service_may_start_and_stop_tasks_but_must_have_one() -> None:
    growing = dataclasses.replace(HEALTHY, desired=3)
    assert problems_of(growing, scaled=True) == []
    assert problems_of(growing) != []
    assert problems_of(dataclasses.replace(HEALTHY, running=2), scaled=True) == []
    none = dataclasses.replace(HEALTHY, desired=2, running=0)
    assert problems_of(none, scaled=True) == ["s runs 0 of 2 tasks"]


EXPECTED = Expected(agent="supervisor", environment="staging", version="v", digest="sha256:1")
BODY = {"status": "healthy", **vars(EXPECTED)}


@pytest.mark.parametrize("name", ["status", "agent", "environment", "version", "digest"])
def test_every_field_of_a_health_answer_counts(name: str) -> None:
    assert health_problems(EXPECTED, Answer(status=200, body=BODY)) == []
    (problem,) = health_problems(EXPECTED, Answer(status=200, body=BODY | {name: "other"}))
    assert name in problem
    (problem,) = health_problems(EXPECTED, Answer(status=200, body={**BODY, name: None}))
    assert name in problem
