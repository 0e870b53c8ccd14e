"""Which task definitions and resources the embedded AWS refuses."""

from typing import Any

import anyio
import pytest

from ci.local.aws import restrictions
from ci.local.aws.restrictions import exists, refusal

FARGATE = {
    "networkMode": "awsvpc",
    "requiresCompatibilities": ["FARGATE"],
    "pidMode": "task",
    "volumes": [{"name": "own"}, {"name": "efs", "efsVolumeConfiguration": {"fileSystemId": "f"}}],
}
CONTAINER = {
    "privileged": False,
    "links": [],
    "linuxParameters": {
        "capabilities": {"add": ["SYS_PTRACE"], "drop": ["ALL"]},
        "initProcessEnabled": True,
    },
}


def test_what_fargate_accepts_is_accepted() -> None:
    assert refusal({**FARGATE, "containerDefinitions": [CONTAINER]}) == ""
    assert refusal({"networkMode": "bridge"}) == ""


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        # Messages of ECS, as users report them.
        ({"networkMode": "host"}, "Fargate only supports network mode 'awsvpc'."),
        ({"networkMode": "bridge"}, "Fargate only supports network mode 'awsvpc'."),
        (
            {"volumes": [{"name": "a", "host": {"sourcePath": "/"}}]},
            "Fargate compatible task definitions do not support sourcePath",
        ),
        # Not in the API's spelling: ministack accepts this too.
        ({"volumes": [{"Name": "a", "Host": {"SourcePath": "/"}}]}, "support sourcePath"),
        ({"volumes": [{"dockerVolumeConfiguration": {"driver": "local"}}]}, "dockerVolumeConf"),
        ({"pidMode": "host"}, "pidMode 'task'"),
        ({"ipcMode": "host"}, "ipcMode"),
    ],
)
def test_a_task_that_reaches_the_host_is_refused(part: dict[str, Any], reason: str) -> None:
    assert reason in refusal({**FARGATE, **part})


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"privileged": True}, "privileged"),
        ({"Privileged": True}, "privileged"),
        ({"dockerSecurityOptions": ["apparmor:unconfined"]}, "dockerSecurityOptions"),
        ({"extraHosts": [{"hostname": "a", "ipAddress": "127.0.0.1"}]}, "extraHosts"),
        ({"links": ["other"]}, "links"),
        ({"linuxParameters": {"devices": [{"hostPath": "/dev/sda"}]}}, "devices"),
        ({"linuxParameters": {"capabilities": {"add": ["SYS_ADMIN"]}}}, "not SYS_ADMIN"),
        ({"LinuxParameters": {"Capabilities": {"Add": ["ALL"]}}}, "not ALL"),
    ],
)
def test_a_container_with_rights_on_the_host_is_refused(part: dict[str, Any], reason: str) -> None:
    containers = [CONTAINER, {**CONTAINER, **part}]
    assert reason in refusal({**FARGATE, "containerDefinitions": containers})


def test_a_container_is_not_started_if_its_definition_came_in_another_way() -> None:
    build = restrictions.with_guarded_start(lambda *_: {"ports": {"80/tcp": 80, "81/tcp": 0}})
    with pytest.raises(ValueError, match="privileged"):
        build({"privileged": True}, {})
    assert build({}, {"networkMode": "bridge"})["ports"] == {
        "80/tcp": ("127.0.0.1", 80),
        "81/tcp": ("127.0.0.1", None),
    }


def test_resources_that_run_programs_do_not_exist() -> None:
    kinds = ["ECS::Service", "EC2::VPC", "EC2::Instance", "Lambda::Function", "CodeBuild::Project"]
    assert [exists(f"AWS::{kind}") for kind in kinds] == [True, True, False, False, False]


def test_the_administration_of_ministack_is_closed() -> None:
    seen: list[str] = []
    answers: list[Any] = []

    async def app(scope: dict[str, Any], _receive: object, _send: object) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(str(scope.get("path")))

    async def send(message: dict[str, Any]) -> None:
        await anyio.lowlevel.checkpoint()
        answers.append(message.get("status", message["type"]))

    async def ask() -> None:
        closed = restrictions.without_administration(app)
        await closed({"type": "lifespan"}, None, send)
        for path in ("/", "/_alb/x/", "/_ministack/reset", "/_aws/lambda-url/x"):
            await closed({"type": "http", "path": path}, None, send)
        await closed({"type": "websocket", "path": "/_aws/execute-api/x"}, None, send)

    anyio.run(ask)
    assert seen == ["None", "/", "/_alb/x/"]
    assert answers == [404, "http.response.body", 404, "http.response.body", "websocket.close"]
