"""What a deploy would change: nothing that is no change, and everything that is one."""

import dataclasses
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.aws import canonical
from ci.aws.ecs import Deployment, Service, TaskDefinition
from ci.release import Image, ReleaseContext, plan
from ci.release.plan.changes import Action, CurrentService, compare
from ci.release.plan.desired import desired_service, settings, task_definition
from ci.release.plan.desired import service as service_request
from tests.unit.release.conftest import CONFIG, COUNT, ENV, Pipeline, context, images
from tests.unit.release.fakes.world import World

HERE = context(World())
AGENT = CONFIG.agent("threat-hunter")
IMAGE = Image(agent=AGENT.name, version="v1", reference="r/acso-threat-hunter@sha256:1")
REVISION = "arn:aws:ecs:us-east-1:0:task-definition/acso-staging-threat-hunter:3"


def running(where: ReleaseContext = HERE, image: Image = IMAGE, **changes: Any) -> CurrentService:
    """Return the service as it is after a deploy of an image."""
    request = task_definition(where, AGENT, image)
    asked = service_request(where, AGENT, revision=REVISION)
    first = request["containerDefinitions"][0]
    service = Service(
        name=ENV.service(AGENT),
        status="ACTIVE",
        revision=REVISION,
        desired=asked["desiredCount"],
        running=1,
        settings=canonical.service(asked),
        deployments=(
            Deployment(
                id="ecs-svc/1",
                status="PRIMARY",
                revision=REVISION,
                desired=1,
                running=1,
                state="COMPLETED",
            ),
        ),
    )
    definition = TaskDefinition(
        revision=REVISION,
        content=canonical.definition(request),
        image=image.reference,
        environment={item["name"]: item["value"] for item in first["environment"]},
    )
    return CurrentService(service=dataclasses.replace(service, **changes), definition=definition)


def test_an_up_to_date_service_is_not_changed() -> None:
    change = compare(desired_service(HERE, IMAGE), running())
    assert change.action is Action.NONE
    assert not change.register
    assert change.reasons == ()


def test_what_is_missing_is_created() -> None:
    change = compare(desired_service(HERE, IMAGE), CurrentService(service=None))
    assert change.action is Action.CREATE
    assert change.register


def test_a_new_version_is_one_reason() -> None:
    newer = Image(agent=AGENT.name, version="v2", reference="r/acso-threat-hunter@sha256:2")
    change = compare(desired_service(HERE, newer), running())
    assert change.action is Action.CHANGE
    assert change.register
    assert change.reasons == ("version v1 -> v2",)


def test_a_new_size_is_shown_with_both_values() -> None:
    bigger = dataclasses.replace(ENV, cpu=1024, memory=2048)
    change = compare(desired_service(dataclasses.replace(HERE, env=bigger), IMAGE), running())
    assert change.reasons == ("cpu 512 -> 1024", "memory 1024 -> 2048")


def test_a_new_count_needs_no_new_revision() -> None:
    more = dataclasses.replace(HERE, env=dataclasses.replace(ENV, desired_count=3))
    change = compare(desired_service(more, IMAGE), running())
    assert change.action is Action.CHANGE
    assert not change.register
    assert change.reasons == ("desiredCount 1 -> 3",)


def test_a_revision_that_was_deleted_is_registered_again() -> None:
    change = compare(desired_service(HERE, IMAGE), dataclasses.replace(running(), definition=None))
    assert change.register


def test_a_failed_deployment_is_repeated_with_a_new_revision() -> None:
    state = running()
    assert state.service is not None
    failed = dataclasses.replace(state.service.deployments[0], state="FAILED")
    change = compare(desired_service(HERE, IMAGE), running(deployments=(failed,)))
    assert change.action is Action.CHANGE
    assert change.register
    assert change.reasons == ("its last deployment failed",)


DEFAULTS = {
    "cpu": 0,
    "mountPoints": [],
    "volumesFrom": [],
    "systemControls": [],
    "privileged": False,
}


def told(request: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return a task definition as ECS tells it: defaults added, order its own."""
    dice = random.Random(seed)  # noqa: S311 (no secret)
    answer = json.loads(json.dumps(request))
    container = answer["containerDefinitions"][0]
    dice.shuffle(container["environment"])
    container |= dict(dice.sample(list(DEFAULTS.items()), dice.randint(0, len(DEFAULTS))))
    container["portMappings"][0]["hostPort"] = container["portMappings"][0]["containerPort"]
    if dice.random() < 0.5:
        answer["cpu"] = f"{int(answer['cpu']) / 1024:g} vCPU"
        answer["memory"] = f"{int(answer['memory']) / 1024:g} GB"
    answer |= {
        "taskDefinitionArn": REVISION,
        "revision": dice.randint(1, 99),
        "status": "ACTIVE",
        "requiresAttributes": [{"name": "com.amazonaws.ecs.capability.ecr-auth"}],
        "compatibilities": ["EC2", "FARGATE"],
        "volumes": [],
        "placementConstraints": [],
        "registeredBy": "arn:aws:iam::0:root",
    }
    keys = list(answer)
    dice.shuffle(keys)
    return {name: answer[name] for name in keys}


@given(st.integers())
def test_neither_order_nor_defaults_nor_units_are_changes(seed: int) -> None:
    request = task_definition(HERE, AGENT, IMAGE)
    assert canonical.definition(told(request, seed)) == canonical.definition(request)


@given(st.integers(), st.sampled_from(["image", "user", "stopTimeout", "readonlyRootFilesystem"]))
def test_every_setting_that_differs_is_a_change(seed: int, name: str) -> None:
    request = task_definition(HERE, AGENT, IMAGE)
    answer = told(request, seed)
    answer["containerDefinitions"][0].pop(name)
    assert canonical.definition(answer) != canonical.definition(request)


def test_nothing_in_a_task_definition_depends_on_the_commit() -> None:
    text = json.dumps(task_definition(HERE, AGENT, IMAGE))
    assert text == json.dumps(task_definition(context(World()), AGENT, IMAGE))
    assert "commit" not in text.lower()


def test_the_task_definition_is_what_the_agents_need() -> None:
    request = task_definition(HERE, AGENT, IMAGE)
    (container,) = request["containerDefinitions"]
    assert container["name"] == "threat-hunter-agent"
    assert container["image"] == IMAGE.reference
    assert container["user"] == "10001:10001"
    assert container["readonlyRootFilesystem"] is True
    assert container["linuxParameters"] == {"initProcessEnabled": True}
    assert container["healthCheck"]["command"] == ["CMD", "python", "-m", "agents.healthcheck"]
    environment = {item["name"]: item["value"] for item in container["environment"]}
    assert environment == {
        "ACSO_AGENT": "threat-hunter",
        "ACSO_AGENTS_SECRET": "arn:aws:secretsmanager:us-east-1:0:secret:agents",
        "ACSO_DIGEST": "sha256:1",
        "ACSO_ENVIRONMENT": "staging",
        "ACSO_PEOPLE_SECRET": "arn:aws:secretsmanager:us-east-1:0:secret:people",
        "ACSO_STATE_TABLE": "state",
        "ACSO_URL": "http://balancer",
        "ACSO_VERSION": "v1",
        "AWS_REGION": "us-east-1",
        "PORT": "8000",
    }
    assert container["logConfiguration"]["options"]["awslogs-stream-prefix"] == "threat-hunter"


def test_old_tasks_stay_until_new_ones_serve() -> None:
    request = service_request(HERE, AGENT, revision=REVISION)
    rollout = request["deploymentConfiguration"]
    assert (rollout["minimumHealthyPercent"], rollout["maximumPercent"]) == (100, 200)
    assert rollout["deploymentCircuitBreaker"] == {"enable": True, "rollback": True}


def test_an_update_keeps_everything_that_creation_sets() -> None:
    made = service_request(HERE, AGENT, revision=REVISION)
    changed = settings(HERE, AGENT)
    only_at_creation = {
        "clientToken",
        "serviceName",
        "launchType",
        "enableECSManagedTags",
        "propagateTags",
        "tags",
    }
    always = {"cluster", "desiredCount", "taskDefinition"}
    assert set(made) - set(changed) == only_at_creation | always
    assert len(made["clientToken"]) <= 36
    assert canonical.service(made) == canonical.service({**changed, "desiredCount": 1})


async def test_a_plan_changes_nothing_and_lists_each_service(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    before = len(pipeline.world.calls)
    found = await plan(pipeline.context, images("good", supervisor="good-2"))
    assert set(pipeline.world.calls[before:]) == {"describe_services", "describe_task_definition"}
    assert found.changed
    assert "supervisor              change  version good -> good-2" in found.text()
    assert found.text().startswith(f"1 of {COUNT} services of staging would change")
    assert [item["action"] for item in found.data()["services"]].count("none") == COUNT - 1


@pytest.mark.parametrize(("version", "changed"), [("good", False), ("good-2", True)])
async def test_an_image_not_pushed_yet_is_known_by_its_version(
    pipeline: Pipeline, version: str, changed: bool
) -> None:
    await pipeline.deploy("good")
    unpushed = [dataclasses.replace(image, reference="") for image in images(version)]
    found = await plan(pipeline.context, unpushed)

    assert found.changed is changed
