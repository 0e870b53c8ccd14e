"""ECS's answers, in the shapes of its API reference, as values."""

import datetime
from typing import Any

import pytest
from botocore.stub import Stubber

from ci.aws import ecs
from ci.aws.session import Aws, Credentials
from ci.errors import AwsError

ARN = "arn:aws:ecs:us-east-1:123456789012"
NOW = datetime.datetime(2026, 11, 24, 12, 0, tzinfo=datetime.UTC)


@pytest.fixture
def aws() -> Aws:
    keys = Credentials(access_key_id="AKIATEST", secret_access_key="none")
    return Aws(region="us-east-1", credentials=keys)


def service(name: str = "acso-staging-supervisor", **changes: Any) -> dict[str, Any]:
    return {
        "serviceArn": f"{ARN}:service/acso-staging-cluster/{name}",
        "serviceName": name,
        "clusterArn": f"{ARN}:cluster/acso-staging-cluster",
        "status": "ACTIVE",
        "desiredCount": 2,
        "runningCount": 1,
        "pendingCount": 1,
        "taskDefinition": f"{ARN}:task-definition/{name}:8",
        "deploymentConfiguration": {
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
            "maximumPercent": 200,
            "minimumHealthyPercent": 100,
        },
        "deployments": [
            {
                "id": "ecs-svc/8",
                "status": "PRIMARY",
                "taskDefinition": f"{ARN}:task-definition/{name}:8",
                "desiredCount": 2,
                "runningCount": 1,
                "createdAt": NOW,
                "rolloutState": "IN_PROGRESS",
                "rolloutStateReason": "ECS deployment ecs-svc/8 in progress.",
            },
            {
                "id": "ecs-svc/7",
                "status": "ACTIVE",
                "taskDefinition": f"{ARN}:task-definition/{name}:7",
                "desiredCount": 0,
                "runningCount": 1,
                "rolloutState": "COMPLETED",
            },
        ],
        "events": [
            {"id": "2", "createdAt": NOW, "message": "(service x) has started 1 tasks."},
            {"id": "1", "createdAt": NOW, "message": "older"},
        ],
        **changes,
    }


async def test_a_service_is_returned_with_its_deployments(aws: Aws) -> None:
    with Stubber(aws.client("ecs")) as stub:
        stub.add_response(
            "describe_services",
            {"services": [service()], "failures": [{"arn": "x", "reason": "MISSING"}]},
            {"cluster": "c", "services": ["acso-staging-supervisor", "x"]},
        )
        found = await ecs.services(aws, "c", ["acso-staging-supervisor", "x"])
    told = found.pop("acso-staging-supervisor")
    assert found == {}
    assert (told.desired, told.running, told.last_event) == (
        2,
        1,
        "(service x) has started 1 tasks.",
    )
    assert told.primary is not None
    assert told.primary.id == "ecs-svc/8"
    assert told.primary.state == "IN_PROGRESS"
    assert told.primary.created_at == NOW


async def test_services_are_described_ten_at_a_time(aws: Aws) -> None:
    names = [f"s{n}" for n in range(23)]
    with Stubber(aws.client("ecs")) as stub:
        for start in (0, 10, 20):
            batch = names[start : start + 10]
            stub.add_response(
                "describe_services",
                {"services": [service(name) for name in batch]},
                {"cluster": "c", "services": batch},
            )
        assert list(await ecs.services(aws, "c", names)) == names
        stub.assert_no_pending_responses()


def task(**changes: Any) -> dict[str, Any]:
    return {
        "taskArn": f"{ARN}:task/acso-staging-cluster/0123abcd",
        "group": "service:acso-staging-supervisor",
        "taskDefinitionArn": f"{ARN}:task-definition/acso-staging-supervisor:8",
        "lastStatus": "RUNNING",
        "desiredStatus": "RUNNING",
        "healthStatus": "HEALTHY",
        "startedBy": "ecs-svc/8",
        "createdAt": NOW,
        "containers": [{"name": "supervisor-agent", "healthStatus": "HEALTHY"}],
        "attachments": [
            {
                "type": "ElasticNetworkInterface",
                "details": [
                    {"name": "subnetId", "value": "subnet-1"},
                    {"name": "privateIPv4Address", "value": "10.0.1.7"},
                ],
            }
        ],
        **changes,
    }


async def told(aws: Aws, data: dict[str, Any]) -> ecs.Task:
    with Stubber(aws.client("ecs")) as stub:
        stub.add_response("describe_tasks", {"tasks": [data]}, {"cluster": "c", "tasks": ["t"]})
        (found,) = await ecs.tasks(aws, "c", ["t"])
    return found


async def test_a_running_task_has_its_address_and_deployment(aws: Aws) -> None:
    found = await told(aws, task())
    assert (found.id, found.service) == ("0123abcd", "acso-staging-supervisor")
    assert (found.address, found.started_by, found.health) == ("10.0.1.7", "ecs-svc/8", "HEALTHY")


async def test_a_stopped_task_speaks_for_the_container_that_failed(aws: Aws) -> None:
    containers = [
        {"name": "proxy", "exitCode": 0},
        {"name": "main", "exitCode": 137, "reason": "OutOfMemoryError: killed"},
    ]
    found = await told(
        aws,
        task(
            lastStatus="STOPPED",
            stopCode="EssentialContainerExited",
            stoppedReason="Essential container in task exited",
            containers=containers,
        ),
    )
    assert (found.exit_code, found.container_reason) == (137, "OutOfMemoryError: killed")
    assert found.stop_code == "EssentialContainerExited"


@pytest.mark.parametrize("added", ["aws-guardduty-agent-1", "log-agent", "envoy"])
async def test_a_stopped_task_speaks_for_the_agent_not_for_what_was_added(
    aws: Aws, added: str
) -> None:
    containers = [{"name": added, "exitCode": 137}, {"name": "supervisor-agent", "exitCode": 0}]
    revision = f"{ARN}:task-definition/acso-staging-supervisor:7"
    found = await told(aws, task(taskDefinitionArn=revision, containers=containers))
    assert (found.exit_code, found.container) == (0, "supervisor-agent")


async def test_one_sick_container_makes_the_task_sick(aws: Aws) -> None:
    data = task(containers=[{"healthStatus": "HEALTHY"}, {"healthStatus": "UNHEALTHY"}])
    del data["healthStatus"]
    assert (await told(aws, data)).health == "UNHEALTHY"


async def test_a_task_that_no_service_started_belongs_to_none(aws: Aws) -> None:
    data = task(group="family:x", attachments=[], containers=[])
    del data["healthStatus"]
    found = await told(aws, data)
    assert (found.service, found.address, found.health) == ("", "", "UNKNOWN")


async def test_a_revision_is_returned_with_image_and_environment(aws: Aws) -> None:
    revision = f"{ARN}:task-definition/f:8"
    container = {
        "name": "main",
        "image": "r/acso-x@sha256:8",
        "environment": [{"name": "ACSO_VERSION", "value": "v8"}],
    }
    data = {"taskDefinitionArn": revision, "family": "f", "containerDefinitions": [container]}
    with Stubber(aws.client("ecs")) as stub:
        stub.add_response("describe_task_definition", {"taskDefinition": data})
        stub.add_client_error("describe_task_definition", "ClientException", "Unable to describe")
        found = await ecs.task_definition(aws, revision)
        assert await ecs.task_definition(aws, revision) is None
    assert found is not None
    assert found.image == "r/acso-x@sha256:8"
    assert found.environment == {"ACSO_VERSION": "v8"}


async def test_deleting_what_is_gone_is_no_error(aws: Aws) -> None:
    with Stubber(aws.client("ecs")) as stub:
        stub.add_client_error("delete_service", "ServiceNotFoundException", "gone")
        await ecs.delete_service(aws, "c", "s")


async def test_all_pages_of_tasks_are_read(aws: Aws) -> None:
    expected = {"cluster": "c", "desiredStatus": "STOPPED"}
    with Stubber(aws.client("ecs")) as stub:
        stub.add_response(
            "list_tasks", {"taskArns": [f"{ARN}:task/c/a"], "nextToken": "more"}, expected
        )
        stub.add_response(
            "list_tasks", {"taskArns": [f"{ARN}:task/c/b"]}, expected | {"nextToken": "more"}
        )
        assert await ecs.task_ids(aws, "c", stopped=True) == ["a", "b"]


async def test_a_cluster_that_is_not_there_has_no_status(aws: Aws) -> None:
    with Stubber(aws.client("ecs")) as stub:
        stub.add_response("describe_clusters", {"clusters": [], "failures": []})
        stub.add_response("describe_clusters", {"clusters": [{"status": "ACTIVE"}]})
        assert await ecs.cluster_status(aws, "c") is None
        assert await ecs.cluster_status(aws, "c") == "ACTIVE"


async def test_a_one_off_task_is_started_or_the_reason_raised(aws: Aws) -> None:
    request = {"cluster": "c", "taskDefinition": "d:8"}
    with Stubber(aws.client("ecs")) as stub:
        stub.add_response("run_task", {"tasks": [task()], "failures": []}, request)
        failure = {"arn": "a", "reason": "RESOURCE:CPU", "detail": "too little"}
        stub.add_response("run_task", {"tasks": [], "failures": [failure]}, request)
        stub.add_response("run_task", {"tasks": [], "failures": []}, request)
        assert (await ecs.run_task(aws, request)).id == "0123abcd"
        with pytest.raises(AwsError, match=r"RESOURCE:CPU \(too little\)") as raised:
            await ecs.run_task(aws, request)
        assert raised.value.code == "RESOURCE:CPU"
        with pytest.raises(AwsError, match="no task was started"):
            await ecs.run_task(aws, request)


async def test_a_task_is_stopped_with_the_reason_that_it_will_tell(aws: Aws) -> None:
    expected = {"cluster": "c", "task": "0123abcd", "reason": "enough"}
    with Stubber(aws.client("ecs")) as stub:
        stub.add_response("stop_task", {"task": task()}, expected)
        await ecs.stop_task(aws, "c", "0123abcd", reason="enough")


@pytest.mark.parametrize(
    ("told", "agents", "state"),
    [
        (False, [{"name": "ExecuteCommandAgent", "lastStatus": "RUNNING"}], None),
        (True, [{"name": "ExecuteCommandAgent", "lastStatus": "RUNNING"}], "RUNNING"),
        (True, [{"name": "ExecuteCommandAgent", "lastStatus": "STOPPED"}], "STOPPED"),
        (True, [], "PENDING"),
    ],
)
async def test_a_task_tells_whether_commands_can_be_run_in_it(
    aws: Aws, told: bool, agents: list[dict[str, str]], state: str | None
) -> None:
    data = task(enableExecuteCommand=told)
    data["containers"][0] |= {"name": "main", "runtimeId": "r-1", "managedAgents": agents}
    with Stubber(aws.client("ecs")) as stub:
        stub.add_response("describe_tasks", {"tasks": [data]})
        (found,) = await ecs.tasks(aws, "c", ["0123abcd"])
    assert (found.exec_agent, found.container, found.runtime) == (state, "main", "r-1")
