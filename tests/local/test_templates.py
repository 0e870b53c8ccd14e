"""ECS resources of CloudFormation stacks, as AWS documents them."""

import json
from typing import Any

import botocore.exceptions
import pytest

from tests.local.aws import APP, CLUSTER, CRASH, Aws, eventually

pytestmark = pytest.mark.docker


def template(aws: Aws, environ: dict[str, str], more: dict[str, Any]) -> str:
    container = {
        "Name": "app",
        "Image": aws.image,
        "EntryPoint": ["python", "-c"],
        "Command": [APP],
        "Environment": [{"Name": k, "Value": v} for k, v in environ.items()],
        "HealthCheck": {"Command": ["CMD", "true"], "Interval": 1, "Retries": 1},
    }
    service = {
        "Cluster": CLUSTER,
        "ServiceName": "templated",
        "TaskDefinition": {"Ref": "Definition"},
        "DesiredCount": 1,
        "DeploymentConfiguration": {
            "DeploymentCircuitBreaker": {"Enable": True, "Rollback": False}
        },
    }
    definition = {
        "Family": "templated",
        "ContainerDefinitions": [container | more],
        "RuntimePlatform": {"CpuArchitecture": "X86_64", "OperatingSystemFamily": "LINUX"},
    }
    resources = {
        "Definition": {"Type": "AWS::ECS::TaskDefinition", "Properties": definition},
        "Service": {"Type": "AWS::ECS::Service", "Properties": service},
    }
    return json.dumps({"Resources": resources})


def test_a_stack_completes_with_its_service_and_keeps_the_whole_task_definition(aws: Aws) -> None:
    # CloudFormation, AWS::ECS::TaskDefinition ContainerDefinition: Secrets, HealthCheck,
    # LinuxParameters, LogConfiguration; AWS::ECS::Service: complete at the steady state.
    aws.client("ecs").create_cluster(clusterName=CLUSTER)
    aws.client("ssm").put_parameter(Name="/tests/templated", Value="x", Type="String")
    cloudformation = aws.client("cloudformation")
    body = template(
        aws,
        {"VERSION": "one"},
        {
            "Secrets": [{"Name": "TOLD", "ValueFrom": "/tests/templated"}],
            "LinuxParameters": {"InitProcessEnabled": True},
            "DockerLabels": {"Kept.As-It": "Is"},
        },
    )
    cloudformation.create_stack(StackName="templated", TemplateBody=body)
    ecs = aws.client("ecs")
    eventually(lambda: ecs.list_services(cluster=CLUSTER)["serviceArns"])
    assert _status(cloudformation) == "CREATE_IN_PROGRESS"
    eventually(lambda: _status(cloudformation) == "CREATE_COMPLETE")
    service = ecs.describe_services(cluster=CLUSTER, services=["templated"])["services"][0]
    assert service["deployments"][0]["rolloutState"] == "COMPLETED"
    found = ecs.describe_task_definition(taskDefinition="templated")["taskDefinition"]
    container = found["containerDefinitions"][0]
    assert found["runtimePlatform"]["cpuArchitecture"] == "X86_64"
    assert container["secrets"] == [{"name": "TOLD", "valueFrom": "/tests/templated"}]
    assert container["healthCheck"]["command"] == ["CMD", "true"]
    assert container["linuxParameters"] == {"initProcessEnabled": True}
    assert container["dockerLabels"] == {"Kept.As-It": "Is"}
    # An update that triggers the circuit breaker fails the stack, which is rolled back.
    broken = template(aws, {}, {"EntryPoint": CRASH[:2], "Command": CRASH[2:]})
    cloudformation.update_stack(StackName="templated", TemplateBody=broken)
    eventually(lambda: _status(cloudformation).startswith("UPDATE_ROLLBACK"))
    eventually(lambda: _status(cloudformation) == "UPDATE_ROLLBACK_COMPLETE")
    events = cloudformation.describe_stack_events(StackName="templated")["StackEvents"]
    assert any("Circuit Breaker" in item.get("ResourceStatusReason", "") for item in events)
    cloudformation.delete_stack(StackName="templated")


def _status(cloudformation: Any) -> str:
    try:
        stacks = cloudformation.describe_stacks(StackName="templated")["Stacks"]
    except botocore.exceptions.ClientError:
        return "absent"
    return str(stacks[0]["StackStatus"])
