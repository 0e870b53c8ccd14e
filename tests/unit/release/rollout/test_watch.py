"""The one poller: what a look costs, and what makes it slower instead of failing."""

import dataclasses
import itertools
from collections import Counter
from pathlib import Path

import anyio
import pytest

from ci import config as configuration
from ci import release
from ci.aws import elb
from ci.aws.elb import Answer
from ci.errors import AwsError
from ci.release.plan import desired
from ci.release.rollout.verdict import Expectation, Kind, Limits
from ci.release.rollout.watch import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    ProgressReporter,
    WatchResult,
    default_pause,
    pause,
    poll,
    watch,
)
from tests.unit.release.conftest import COUNT, ENV, Outputs, Pipeline, all_of, versions

ROOT = Path(__file__).parents[4]
MANY = 100
LIMITS = Limits(failures=1, grace=30, timeout=600)
THROTTLED = AwsError("ecs describe_services: ThrottlingException", code="ThrottlingException")


def many(count: int) -> configuration.Config:
    """Return a configuration of so many agents."""
    kept = (ROOT / "tests" / configuration.FILE).read_text()
    head, _, rest = kept.partition("[agents.supervisor]")
    agents = "\n".join(f"[agents.agent-{number}]" for number in range(count))
    return configuration.parse(f"{head}{agents}\n{rest[rest.index('[environments.') :]}")


@pytest.fixture
def crowd(pipeline: Pipeline) -> Pipeline:
    """A place of a hundred services."""
    config = many(MANY)
    groups = {agent.name: f"arn/{ENV.service(agent)}" for agent in config.agents}
    roles = {agent.name: f"arn:role/{agent.name}" for agent in config.agents}
    outputs = Outputs(target_groups=groups, task_roles=roles)
    context = dataclasses.replace(pipeline.context, config=config, outputs=outputs)
    return dataclasses.replace(pipeline, context=context)


def created(pipeline: Pipeline) -> list[Expectation]:
    """Create every service of the place; returns what to watch for."""
    return [one(pipeline, agent) for agent in pipeline.context.config.agents]


def one(pipeline: Pipeline, agent: configuration.Agent) -> Expectation:
    reference = f"registry/{agent.repository}@sha256:good"
    image = release.Image(agent=agent.name, version="good", reference=reference)
    request = desired.task_definition(pipeline.context, agent, image)
    revision = pipeline.world.register_task_definition(**request)["taskDefinition"]
    arn = revision["taskDefinitionArn"]
    service = pipeline.world.create_service(
        **desired.service(pipeline.context, agent, revision=arn)
    )["service"]
    return Expectation(
        agent=agent.name,
        service=service["serviceName"],
        run=release.ServiceRevision(revision=arn, version="good", digest=image.digest, desired=1),
        deployment=service["deployments"][0]["id"],
        since=service["deployments"][0]["createdAt"],
    )


async def watched(pipeline: Pipeline, expectations: list[Expectation]) -> WatchResult:
    return await watch(
        pipeline.context, expectations, LIMITS, ProgressReporter(pipeline.lines.append)
    )


async def test_a_hundred_services_take_ten_describe_services_a_poll(crowd: Pipeline) -> None:
    expectations = created(crowd)
    await anyio.sleep(60)  # all of them are up: one look is enough
    crowd.world.calls.clear()
    assert (await watched(crowd, expectations)).healthy
    assert Counter(crowd.world.calls) == {
        "describe_services": 10,
        "list_tasks": 2,
        "describe_tasks": 1,
        "describe_target_health": MANY,
    }


async def test_targets_are_read_only_when_they_matter(crowd: Pipeline) -> None:
    expectations = created(crowd)
    assert (await watched(crowd, expectations)).healthy
    calls = Counter(crowd.world.calls)
    assert calls["list_tasks"] > 2 * 3  # several looks, in the first of which no task ran
    assert calls["describe_services"] == MANY / 10 / 2 * calls["list_tasks"]
    assert calls["describe_target_health"] <= MANY * (calls["list_tasks"] / 2 - 1)


async def test_healthy_services_are_read_again_only_to_confirm_success(
    pipeline: Pipeline,
) -> None:
    await pipeline.deploy()
    pipeline.world.calls.clear()
    # One service is slow: the others' targets are not asked at each of its looks.
    await pipeline.deploy("good-2", threat_hunter="slow")
    calls = Counter(pipeline.world.calls)
    looks = calls["list_tasks"] / 2
    assert looks > 20
    assert calls["describe_target_health"] < 2 * looks
    assert versions(pipeline.world) == all_of("good-2", threat_hunter="slow")


async def test_a_service_that_is_no_longer_healthy_at_the_end_is_no_success(
    pipeline: Pipeline,
) -> None:
    expectations = created(pipeline)
    first, last = expectations[0].service, expectations[-1].service
    modes(pipeline, {last: "slow"})

    async def turn() -> None:
        await anyio.sleep(6)
        # Its task and its target stay as they are; it is the answer that is another.
        modes(pipeline, {first: "liar"})

    async with anyio.create_task_group() as group:
        group.start_soon(turn)
        found = await watched(pipeline, expectations)
    assert f"{expectations[0].agent}: 1 of 1 tasks serve" in pipeline.lines
    assert found.verdicts[first].kind is Kind.FAILED
    assert found.verdicts[last].kind is Kind.HEALTHY


def modes(pipeline: Pipeline, changes: dict[str, str]) -> None:
    """Let the tasks of services behave otherwise."""
    for task in pipeline.world.tasks:
        task.mode = changes.get(task.service, task.mode)


async def test_stopped_tasks_are_described_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pipeline.deploy()
    await pipeline.deploy("good-2")  # stops a task of each agent
    described: list[str] = []
    original = pipeline.world.describe_tasks

    def describe_tasks(cluster: str, tasks: list[str]) -> object:
        described.extend(tasks)
        return original(cluster, tasks)

    monkeypatch.setattr(pipeline.world, "describe_tasks", describe_tasks)
    stopped = {task.id for task in pipeline.world.tasks if task.stopped is not None}
    expectations = [one_of(pipeline, service) for service in pipeline.world.services]
    for task in pipeline.world.tasks:
        if task.service == expectations[0].service and task.stopped is None:
            task.mode, task.created = "slow", anyio.current_time()  # as if it had just begun
    assert (await watched(pipeline, expectations)).healthy
    counted = Counter(described)
    assert len(stopped) == COUNT
    assert {counted[id_] for id_ in stopped} == {1}
    assert max(counted.values()) > 5


def one_of(pipeline: Pipeline, service: str) -> Expectation:
    """Return a goal that is what the service is meant to run."""
    told = pipeline.world.services[service].request
    container = pipeline.world.definitions[told["taskDefinition"]]["containerDefinitions"][0]
    given = {item["name"]: item["value"] for item in container["environment"]}
    run = release.ServiceRevision(
        revision=told["taskDefinition"],
        version=given["ACSO_VERSION"],
        digest=given["ACSO_DIGEST"],
        desired=1,
    )
    return Expectation(agent=given["ACSO_AGENT"], service=service, run=run)


async def test_throttling_lengthens_the_pauses_and_fails_nothing(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    expectations = created(pipeline)
    times: list[float] = []
    original = pipeline.world.describe_services

    def describe_services(**arguments: object) -> object:
        times.append(anyio.current_time())
        if len(times) <= 6:
            raise THROTTLED
        return original(**arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline.world, "describe_services", describe_services)
    assert (await watched(pipeline, expectations)).healthy
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[:6] == sorted(pauses[:6])
    assert pauses[5] > 8 * pauses[0]
    assert sum("AWS throttles" in line for line in pipeline.lines) == 6


async def test_endless_throttling_is_an_error_not_a_verdict(pipeline: Pipeline) -> None:
    expectations = created(pipeline)
    pipeline.world.errors["describe_services"] = THROTTLED
    began = anyio.current_time()
    with pytest.raises(AwsError, match="ThrottlingException"):
        await watched(pipeline, expectations)
    assert LIMITS.timeout < anyio.current_time() - began < LIMITS.timeout + 100


async def test_any_other_error_ends_the_watch_at_once(pipeline: Pipeline) -> None:
    expectations = created(pipeline)
    denied = AwsError("ecs describe_services: AccessDenied", code="AccessDeniedException")
    pipeline.world.errors["describe_services"] = denied
    with pytest.raises(AwsError, match="AccessDenied"):
        await watched(pipeline, expectations)
    assert pipeline.world.calls.count("describe_services") == 1


async def test_a_poll_ends_with_nothing_when_its_time_is_over(pipeline: Pipeline) -> None:
    async def look() -> bool | None:
        return None

    began = anyio.current_time()
    assert await poll(pipeline.context, look, 10) is None
    assert 10 <= anyio.current_time() - began < 11


@pytest.mark.parametrize(
    ("usual", "backoff", "jitter", "seconds"),
    [
        (5, 1, 0.5, 5),
        (5, 1, 0, 4),
        (5, 1, 1, 6),
        (5, 4, 0.5, 20),
        (5, 64, 0.5, LONGEST_PAUSE),
    ],
)
def test_pauses_differ_a_little_and_have_an_end(
    usual: float, backoff: float, jitter: float, seconds: float
) -> None:
    assert pause(usual, backoff, jitter) == pytest.approx(seconds)


def test_pauses_grow_with_time() -> None:
    assert [default_pause(elapsed) for elapsed in (0, 10, 100, 1000)] == [FIRST_PAUSE, 0.25, 2.5, 5]


@pytest.mark.parametrize(("seconds", "healthy"), [(20, True), (50, False)])
async def test_aws_may_give_no_answer_for_a_while(
    pipeline: Pipeline, seconds: float, healthy: bool
) -> None:
    expectations = created(pipeline)

    async def silence() -> None:
        pipeline.world.errors["list_tasks"] = AwsError("ecs: no answer", code="Unreachable")
        await anyio.sleep(seconds)
        pipeline.world.errors.clear()

    async with anyio.create_task_group() as group:
        group.start_soon(silence)
        await anyio.sleep(0.001)
        if healthy:
            assert (await watched(pipeline, expectations)).healthy
        else:
            with pytest.raises(AwsError, match="no answer"):
                await watched(pipeline, expectations)


async def test_wrong_answers_and_missing_ones_count_apart(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    expectations = created(pipeline)
    began = anyio.current_time()

    async def get(url: str, *, seconds: float = 5.0) -> Answer:  # noqa: ARG001
        now = anyio.current_time() - began
        if now < 25:
            return Answer(status=0, error="no answer: timed out")
        return Answer(status=503) if now < 29 else pipeline.world.answer(url)

    monkeypatch.setattr(elb, "get", get)
    assert (await watched(pipeline, expectations)).healthy
