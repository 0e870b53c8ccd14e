"""The prober's task: what it is started with, that its revision is reused, what is left."""

import dataclasses
import re
import time
from typing import Any

import pytest

from ci.aws import canonical
from ci.aws.prober import ALIVE, KEPT_SECONDS, READY, Request, Response, packed_response
from ci.aws.probing.channel import MOST, PARTITION, Channel
from ci.release.probing.task import LEFT_SECONDS, Prober, ProberSettings

SETTINGS = ProberSettings(
    prefix="acso-staging",
    region="us-east-1",
    cluster="acso-staging-cluster",
    subnets=("subnet-1", "subnet-2"),
    security_group="sg-probe",
    role="arn:aws:iam::0:role/acso-staging-probe",
    execution_role="arn:aws:iam::0:role/acso-staging-execution-role",
    log_group="/aws/acso/staging/agents",
    table="acso-staging-agents",
    url="http://balancer",
    image="registry/acso-supervisor@sha256:1",
    architecture="X86_64",
    tags={"project": "acso"},
)
FAMILY = "acso-staging-_probe"


class Account:
    """Task definitions, tasks and rows; calls are kept."""

    def __init__(self) -> None:
        self.definitions: dict[str, dict[str, Any]] = {}
        self.tasks: list[dict[str, Any]] = []
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def call(self, _: str, operation: str, /, **arguments: Any) -> Any:
        self.calls.append((operation, arguments))
        return getattr(self, operation)(**arguments)

    async def pages(self, service: str, operation: str, key: str, /, **arguments: Any) -> Any:
        return (await self.call(service, operation, **arguments))[key]

    def list_task_definitions(self, familyPrefix: str, **_: Any) -> Any:  # noqa: N803
        return {"taskDefinitionArns": [a for a in reversed(self.definitions) if familyPrefix in a]}

    def describe_task_definition(self, taskDefinition: str, **_: Any) -> Any:  # noqa: N803
        return {"taskDefinition": self.definitions[taskDefinition]}

    def register_task_definition(self, **request: Any) -> Any:
        arn = f"arn:aws:ecs:r:0:task-definition/{request['family']}:{len(self.calls)}"
        self.definitions[arn] = {**request, "taskDefinitionArn": arn}
        return {"taskDefinition": self.definitions[arn]}

    def deregister_task_definition(self, taskDefinition: str) -> Any:  # noqa: N803
        del self.definitions[taskDefinition]

    def run_task(self, **request: Any) -> Any:
        task = {
            "taskArn": f"arn/task{len(self.tasks)}",
            "taskDefinitionArn": request["taskDefinition"],
            "lastStatus": "RUNNING",
            "startedBy": request["startedBy"],
        }
        self.tasks.append(task)
        return {"tasks": [task], "failures": []}

    def list_tasks(self, **_: Any) -> Any:
        return {"taskArns": [task["taskArn"] for task in self.tasks]}

    def describe_tasks(self, tasks: list[str], **_: Any) -> Any:
        return {"tasks": [t for t in self.tasks if t["taskArn"].rpartition("/")[2] in tasks]}

    def stop_task(self, task: str, **_: Any) -> Any:
        self.tasks = [item for item in self.tasks if not item["taskArn"].endswith(task)]

    def put_item(self, Item: dict[str, Any], **_: Any) -> Any:  # noqa: N803
        self.rows[Item["pk"]["S"], Item["sk"]["S"]] = Item

    def get_item(self, Key: dict[str, Any], **_: Any) -> Any:  # noqa: N803
        item = self.rows.get((Key["pk"]["S"], Key["sk"]["S"]))
        return {"Item": item} if item else {}

    def delete_item(self, Key: dict[str, Any], **_: Any) -> Any:  # noqa: N803
        self.rows.pop((Key["pk"]["S"], Key["sk"]["S"]), None)

    def query(self, ExpressionAttributeValues: dict[str, Any], **_: Any) -> Any:  # noqa: N803
        pk, prefix = (ExpressionAttributeValues[name]["S"] for name in (":pk", ":prefix"))
        return {"Items": [v for (a, b), v in self.rows.items() if a == pk and b.startswith(prefix)]}

    def done(self, operation: str) -> list[dict[str, Any]]:
        return [arguments for name, arguments in self.calls if name == operation]


@pytest.fixture
def account() -> Account:
    return Account()


def prober(account: Any, settings: ProberSettings = SETTINGS, id_: str = "one") -> Prober:
    channel = Channel(aws=account, table=settings.table, id=id_)
    return Prober(aws=account, settings=settings, channel=channel)


async def test_a_task_has_exactly_its_role_its_network_and_its_program(account: Account) -> None:
    task = await prober(account).start()
    (definition,) = account.definitions.values()
    assert definition["family"] == FAMILY
    assert definition["taskRoleArn"].endswith("role/acso-staging-probe")
    (container,) = definition["containerDefinitions"]
    assert container["image"] == SETTINGS.image
    assert container["command"][:5] == ["timeout", "--kill-after=10", "3630", "python", "-c"]
    compile(container["command"][5], "program", "exec")
    assert "secrets" not in container
    assert container["readonlyRootFilesystem"] is True
    assert {item["name"]: item["value"] for item in container["environment"]} == {
        "ACSO_PROBE_SECONDS": "3600",
        "ACSO_PROBE_TABLE": "acso-staging-agents",
        "ACSO_PROBE_URL": "http://balancer",
        "AWS_REGION": "us-east-1",
    }
    (request,) = account.done("run_task")
    network = request["networkConfiguration"]["awsvpcConfiguration"]
    assert network["securityGroups"] == ["sg-probe"]
    assert network["assignPublicIp"] == "DISABLED"
    (override,) = request["overrides"]["containerOverrides"]
    assert override["environment"] == [{"name": "ACSO_PROBE_PARTITION", "value": f"{PARTITION}one"}]
    assert re.fullmatch(r"[A-Za-z0-9/_-]{1,128}", request["startedBy"])  # what RunTask accepts
    assert task.started_by.endswith("/one")


async def test_a_revision_is_used_again_and_replaced_when_it_changes(account: Account) -> None:
    await prober(account).start()
    await prober(account, id_="two").start()
    (revision,) = account.definitions
    assert len(account.done("register_task_definition")) == 1
    newer = dataclasses.replace(SETTINGS, image="registry/acso-supervisor@sha256:2")
    await prober(account, newer).start()
    (found,) = account.definitions
    assert found != revision
    assert "sha256:2" in canonical.definition(account.definitions[found])


@pytest.mark.parametrize(("age", "stopped"), [(0, 0), (LEFT_SECONDS - 5, 0), (LEFT_SECONDS + 5, 1)])
async def test_a_prober_whose_client_is_gone_is_stopped_by_the_next(
    account: Account, age: float, stopped: int
) -> None:
    lines: list[str] = []
    old = prober(account, id_="old")
    await old.start()
    await old.channel.beat(1)
    beat = account.rows[f"{PARTITION}old", ALIVE]
    beat["expires"]["N"] = str(time.time() + KEPT_SECONDS - age)
    await prober(account, id_="new").stop_left(lines.append)
    assert len(account.done("stop_task")) == stopped
    assert lines == ["prober task0 was left by a command that is gone, and is stopped"] * stopped


async def test_tasks_of_agents_are_no_probers(account: Account) -> None:
    account.tasks.append(
        {
            "taskArn": "arn/agent",
            "taskDefinitionArn": "arn/acso-staging-supervisor:1",
            "lastStatus": "RUNNING",
        }
    )
    await prober(account).stop_left(print)
    assert account.done("stop_task") == []


async def test_a_stopped_prober_leaves_no_row(account: Account) -> None:
    made = prober(account)
    task = await made.start()
    await made.channel.ask("1", Request(url="/x", headers={"Authorization": "secret"}))
    await made.channel.beat(1)
    await made.stop(task)
    assert account.rows == {}
    assert account.tasks == []


async def test_answers_are_read_once_and_ready_stays(account: Account) -> None:
    channel = prober(account).channel
    assert await channel.answers() == {}
    response = packed_response(Response(status=200, content=b'{"a": 1}'))
    for name, value in ((READY, ""), ("from#7", response)):
        account.put_item({"pk": {"S": f"{PARTITION}one"}, "sk": {"S": name}, "value": {"S": value}})
    found = await channel.answers()
    assert (found["7"].body, found[""].status) == ({"a": 1}, 200)
    assert set(await channel.answers()) == {""}


async def test_a_request_that_fits_no_row_is_refused(account: Account) -> None:
    with pytest.raises(ValueError, match="too large for the prober"):
        await prober(account).channel.ask("1", Request(url="/x", body=b"x" * MOST))
    assert account.rows == {}
