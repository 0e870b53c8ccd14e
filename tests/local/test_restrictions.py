"""The embedded AWS gives nobody the rights of its process, at its API and in stacks."""

import json
import urllib.error
import urllib.request

import botocore.exceptions
import pytest

from tests.local.aws import Aws, eventually

pytestmark = pytest.mark.docker


def test_a_task_definition_that_reaches_the_host_is_refused_as_on_fargate(aws: Aws) -> None:
    with pytest.raises(botocore.exceptions.ClientError, match="do not support privileged"):
        aws.definition(privileged=True)
    container = {"name": "a", "image": "a", "memory": 64}
    mount = {"sourceVolume": "root", "containerPath": "/host"}
    with pytest.raises(botocore.exceptions.ClientError, match="do not support sourcePath"):
        aws.client("ecs").register_task_definition(
            family="refused",
            containerDefinitions=[container | {"mountPoints": [mount]}],
            volumes=[{"name": "root", "host": {"sourcePath": "/"}}],
        )


def test_a_stack_with_such_a_task_definition_fails(aws: Aws) -> None:
    cloudformation = aws.client("cloudformation")
    container = {"Name": "a", "Image": "a", "Privileged": True}
    definition = {
        "Type": "AWS::ECS::TaskDefinition",
        "Properties": {"ContainerDefinitions": [container]},
    }
    body = json.dumps({"Resources": {"Definition": definition}})
    cloudformation.create_stack(StackName="refused", TemplateBody=body)

    def status() -> str:
        return str(cloudformation.describe_stacks(StackName="refused")["Stacks"][0]["StackStatus"])

    eventually(lambda: status() == "ROLLBACK_COMPLETE")
    events = cloudformation.describe_stack_events(StackName="refused")["StackEvents"]
    reasons = [event.get("ResourceStatusReason", "") for event in events]
    assert any("do not support privileged" in reason for reason in reasons)


def test_a_stack_cannot_contain_a_program_of_lambda(aws: Aws) -> None:
    body = json.dumps({"Resources": {"Program": {"Type": "AWS::Lambda::Function"}}})
    with pytest.raises(botocore.exceptions.ClientError, match="Unrecognized resource types"):
        aws.client("cloudformation").create_stack(StackName="program", TemplateBody=body)


def test_services_that_run_programs_and_the_administration_do_not_answer(aws: Aws) -> None:
    with pytest.raises(botocore.exceptions.ClientError):
        aws.client("lambda").list_functions()
    with pytest.raises(botocore.exceptions.ClientError):
        aws.client("ec2").run_instances(ImageId="ami-1", MinCount=1, MaxCount=1)
    request = urllib.request.Request(
        f"{aws.emulator.endpoint}/_ministack/reset", data=b"", method="POST"
    )
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(request, timeout=10)
