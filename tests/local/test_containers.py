"""Containers are started as their task definition says, as AWS documents it."""

from pathlib import Path

import pytest

from ci.aws import secrets, session
from ci.config import load
from tests.local.aws import Aws, eventually

pytestmark = pytest.mark.docker


def test_a_container_gets_the_options_of_its_definition(aws: Aws) -> None:
    # ECS API Reference, ContainerDefinition: entryPoint, command, user, workingDirectory,
    # readonlyRootFilesystem, memory and cpu "map to" the options of docker run; linuxParameters.
    # initProcessEnabled runs an init process; Task definition parameters, Bind mounts: a volume
    # without a host folder is empty and the task's own.
    definition = aws.definition(
        user="1234",
        workingDirectory="/tmp",
        readonlyRootFilesystem=True,
        memory=64,
        cpu=128,
        stopTimeout=7,
        linuxParameters={"initProcessEnabled": True, "capabilities": {"drop": ["NET_RAW"]}},
        ulimits=[{"name": "nofile", "softLimit": 512, "hardLimit": 1024}],
    )
    container = aws.container(aws.run(definition))
    config, host = container.attrs["Config"], container.attrs["HostConfig"]
    assert config["Entrypoint"] == ["python", "-c"]
    assert (config["User"], config["WorkingDir"]) == ("1234", "/tmp")
    assert (host["ReadonlyRootfs"], host["Init"]) == (True, True)
    assert (host["Memory"], host["CpuShares"]) == (64 * 2**20, 128)
    assert host["CapDrop"] == ["NET_RAW"]
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 512, "Hard": 1024}]
    container.remove(force=True)


def test_a_container_that_exceeds_its_memory_is_killed_with_that_reason(aws: Aws) -> None:
    # ECS Developer Guide, "Stopped task error messages": OutOfMemoryError, "Container killed due
    # to memory usage"; the task stops with "Essential container in task exited".
    task = aws.run(aws.definition({"EAT": "1"}, memory=32))
    eventually(lambda: aws.task(task)["lastStatus"] == "STOPPED")
    ended = aws.task(task)
    assert ended["containers"][0]["reason"].startswith("OutOfMemoryError")
    assert ended["containers"][0]["exitCode"] == 137
    assert ended["stoppedReason"] == "Essential container in task exited"
    assert ended["stopCode"] == "EssentialContainerExited"


def test_a_secure_string_is_decrypted_for_a_task(aws: Aws) -> None:
    # ECS Developer Guide, "Pass Systems Manager parameters through environment variables": the
    # agent retrieves the decrypted value. Only there: others still have to ask for it.
    ssm = aws.client("ssm")
    ssm.put_parameter(Name="/tests/secret", Value="in plain", Type="SecureString")
    definition = aws.definition(secrets=[{"name": "SECRET", "valueFrom": "/tests/secret"}])
    container = aws.container(aws.run(definition))
    assert "SECRET=in plain" in container.attrs["Config"]["Env"]
    assert ssm.get_parameter(Name="/tests/secret")["Parameter"]["Value"] != "in plain"
    container.remove(force=True)


def test_secrets_as_acso_toml_names_them_reach_the_container(aws: Aws) -> None:
    aws.client("secretsmanager").create_secret(
        Name="tests/keys", SecretString='{"search": "canary"}'
    )
    aws.client("ssm").put_parameter(Name="/tests/url", Value="http://x", Type="String")
    env = load(Path(__file__).parents[1] / "acso.toml").environment("development")
    place = session.Aws(region="us-east-1", endpoint=aws.emulator.endpoint)
    named = {"SEARCH": "tests/keys:search", "URL": "/tests/url", "ALL": "tests/keys"}
    definition = aws.definition(
        secrets=[
            {"name": name, "valueFrom": secrets.reference(text, place, env)}
            for name, text in named.items()
        ]
    )
    container = aws.container(aws.run(definition))
    given = {"SEARCH=canary", "URL=http://x", 'ALL={"search": "canary"}'}
    assert given <= set(container.attrs["Config"]["Env"])
    known = aws.client("ecs").describe_task_definition(taskDefinition=definition)
    assert "canary" not in str(known)
    container.remove(force=True)


def test_an_image_is_pulled_by_the_uri_of_its_repository(aws: Aws) -> None:
    # ECR User Guide, "Using Amazon ECR images with Amazon ECS": a task definition names
    # ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY, the repositoryUri.
    name = f"{aws.emulator.registry}/acso-tests"
    repository = aws.push(name)
    task = aws.run(aws.definition(image=f"{repository}:1"))
    eventually(lambda: aws.task(task)["lastStatus"] == "STOPPED")
    # The image is there and has no program: it was pulled, and could not be started.
    aws.docker.client.images.get(f"{name}:1")
    assert "executable file not found" in aws.task(task)["stoppedReason"]
    assert aws.task(task)["containers"][0]["image"].startswith("000000000000.dkr.ecr.us-east-1.")
