"""Commands in running tasks: which task, what may be lacking, and what the plugin is handed."""

import dataclasses
import json
from typing import Any

import pytest
from botocore.stub import Stubber

from ci.aws.ecs import Task
from ci.aws.session import Aws, Credentials
from ci.errors import AwsError, ExecError, UsageError
from ci.release.observe import ecs_exec
from ci.release.plan import desired
from tests.unit.release.conftest import Pipeline, images
from tests.unit.release.rollout.test_verdict import task

ON = task(exec_agent="RUNNING", container="supervisor-agent", runtime="r-1")
SESSION = {"sessionId": "s-1", "streamUrl": "wss://x", "tokenValue": "token"}


def on_aws(pipeline: Pipeline, region: str = "us-east-1") -> tuple[Any, Stubber]:
    keys = Credentials(access_key_id="AKIATEST", secret_access_key="none")
    context = dataclasses.replace(pipeline.context, aws=Aws(region=region, credentials=keys))
    return context, Stubber(context.aws.client("ecs"))


async def test_the_plugin_is_handed_the_session_and_whom_it_is_with(pipeline: Pipeline) -> None:
    context, stub = on_aws(pipeline)
    expected = {
        "cluster": "acso-staging-cluster",
        "task": ON.id,
        "container": "supervisor-agent",
        "command": "sh -c 'echo $HOME'",
        "interactive": True,
    }
    stub.add_response("execute_command", {"session": SESSION}, expected)
    with stub:
        argv = await ecs_exec.start_session(context, ON, ["sh", "-c", "echo $HOME"])
    assert argv[0] == "session-manager-plugin"
    assert json.loads(argv[1]) == SESSION
    assert argv[2:5] == ["us-east-1", "StartSession", ""]
    assert json.loads(argv[5]) == {"Target": f"ecs:acso-staging-cluster_{ON.id}_r-1"}
    assert argv[6] == "https://ssm.us-east-1.amazonaws.com"


async def test_china_has_its_own_domain(pipeline: Pipeline) -> None:
    context, stub = on_aws(pipeline, "cn-north-1")
    stub.add_response("execute_command", {"session": SESSION})
    with stub:
        assert (await ecs_exec.start_session(context, ON, ["sh"]))[6].endswith(".amazonaws.com.cn")


@pytest.mark.parametrize(
    ("state", "said", "hint"),
    [
        (None, "was started without ECS Exec", "ecs_exec = true in [environments.staging]"),
        ("PENDING", "is PENDING, not RUNNING", "wait a moment"),
        ("STOPPED", "is STOPPED, not RUNNING", "ssmmessages"),
    ],
)
async def test_a_task_without_ecs_exec_is_refused_before_ecs_is_called(
    pipeline: Pipeline, state: str | None, said: str, hint: str
) -> None:
    with pytest.raises(ExecError, match=said) as raised:
        await ecs_exec.start_session(
            pipeline.context, dataclasses.replace(ON, exec_agent=state), ["sh"]
        )
    assert hint in raised.value.hint
    assert pipeline.world.calls == []


async def test_a_refusal_of_ecs_is_reported(pipeline: Pipeline) -> None:
    context, stub = on_aws(pipeline)
    stub.add_client_error("execute_command", "AccessDeniedException", "no")
    with stub, pytest.raises(AwsError, match="AccessDenied") as raised:
        await ecs_exec.start_session(context, ON, ["sh"])
    assert raised.value.hint == "missing permission: ecs:ExecuteCommand"


async def test_the_newest_running_task_of_the_agent_is_entered(pipeline: Pipeline) -> None:
    await pipeline.deploy()
    await pipeline.deploy("good-2")
    found = await ecs_exec.running_task(pipeline.context, "supervisor")
    newest = [item for item in pipeline.world.tasks if item.service.endswith("-supervisor")][-1]
    assert isinstance(found, Task)
    assert found.id == newest.id


async def test_without_a_running_task_there_is_nothing_to_enter(pipeline: Pipeline) -> None:
    with pytest.raises(ExecError, match="no task of supervisor runs in staging"):
        await ecs_exec.running_task(pipeline.context, "supervisor")
    with pytest.raises(UsageError, match="did you mean 'supervisor'"):
        await ecs_exec.running_task(pipeline.context, "supervisr")


def test_ecs_exec_follows_acso_toml_and_makes_the_root_filesystem_writable(
    pipeline: Pipeline,
) -> None:
    for on in (True, False):
        env = dataclasses.replace(pipeline.context.env, ecs_exec=on)
        context = dataclasses.replace(pipeline.context, env=env)
        agent = context.config.agents[0]
        (container,) = desired.task_definition(context, agent, images()[0])["containerDefinitions"]
        assert container["readonlyRootFilesystem"] is not on
        assert desired.service(context, agent, revision="r")["enableExecuteCommand"] is on
        assert desired.settings(context, agent)["enableExecuteCommand"] is on
