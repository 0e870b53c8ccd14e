"""An agent's variables and secrets: names in the task definition, values nowhere."""

import dataclasses
import json
from typing import Any

import pytest

from ci.aws import secrets
from ci.aws.session import Aws
from ci.aws.target import Target
from ci.config import Agent
from ci.errors import ConfigError
from ci.infra import environment
from ci.infra.generated import facts_of
from ci.release import Image
from ci.release.plan.changes import CurrentService, compare
from ci.release.plan.desired import desired_service, task_definition
from ci.release.records.release import body
from tests.unit.release.conftest import CONFIG, ENV, Pipeline, context
from tests.unit.release.fakes.world import World

HUNTER = CONFIG.agent("threat-hunter")
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:acso/db"
PLACE = dataclasses.replace(ENV, account="123456789012")
AWS = Aws(region="us-east-1")
FULL = f"{SECRET}-a1B2c3"


def container(agent: Agent) -> dict[str, Any]:
    config = dataclasses.replace(CONFIG, agents=(agent,))
    where = dataclasses.replace(context(World()), config=config, env=PLACE)
    image = Image(agent=agent.name, version="v1", reference="r/x@sha256:1")
    found: dict[str, Any] = task_definition(where, agent, image)["containerDefinitions"][0]
    return found


def test_variables_and_secrets_reach_the_container_by_name() -> None:
    agent = dataclasses.replace(
        HUNTER, environment={"LEVEL": "debug"}, secrets={"DB": "acso/db:password", "URL": "/acso/u"}
    )
    found = container(agent)
    variables = {item["name"]: item["value"] for item in found["environment"]}
    assert variables["LEVEL"] == "debug"
    assert variables["ACSO_AGENT"] == agent.name
    assert found["secrets"] == [
        {"name": "DB", "valueFrom": f"{SECRET}:password::"},
        {"name": "URL", "valueFrom": "arn:aws:ssm:us-east-1:123456789012:parameter/acso/u"},
    ]
    assert container(HUNTER)["secrets"] == []


def test_a_changed_secret_or_variable_is_a_change_of_the_service_and_named() -> None:
    where = dataclasses.replace(context(World()), env=PLACE)
    image = Image(agent=HUNTER.name, version="v1", reference="r/x@sha256:1")
    more = dataclasses.replace(HUNTER, environment={"LEVEL": "debug"}, secrets={"DB": "acso/db"})
    agents = tuple(more if agent.name == more.name else agent for agent in CONFIG.agents)
    changed = dataclasses.replace(where, config=dataclasses.replace(CONFIG, agents=agents))
    old, new = desired_service(where, image), desired_service(changed, image)
    assert json.loads(old.content) != json.loads(new.content)
    diff = "\n".join(compare(new, CurrentService(service=None)).diff)
    assert SECRET in diff
    assert "LEVEL" in diff


@pytest.mark.parametrize(
    ("text", "value_from", "resource"),
    [
        ("acso/db", SECRET, f"{SECRET}-??????"),
        ("acso/db:key", f"{SECRET}:key::", f"{SECRET}-??????"),
        (FULL, FULL, FULL),
        (f"{FULL}:key", f"{FULL}:key::", FULL),
        (f"{FULL}:key:AWSCURRENT:", f"{FULL}:key:AWSCURRENT:", FULL),
        (
            "/acso/url",
            "arn:aws:ssm:us-east-1:123456789012:parameter/acso/url",
            "arn:aws:ssm:us-east-1:123456789012:parameter/acso/url",
        ),
    ],
)
def test_a_name_becomes_what_ecs_reads_and_the_role_is_allowed(
    text: str, value_from: str, resource: str
) -> None:
    found = secrets.reference(text, AWS, PLACE)
    assert (found, secrets.policy_resource(found)) == (value_from, resource)
    known = secrets.parse(found, partition="aws", region="r", account="0")
    allowed = resource.replace("??????", "000000")
    assert known.simulated == allowed  # IAM's simulation takes no patterns


def test_the_execution_role_may_read_the_secrets_of_the_agents_and_no_other() -> None:
    plain = environment.desired(Target(aws=AWS, config=CONFIG, env=PLACE))
    assert "SecretsPolicy" not in plain.template
    agent = dataclasses.replace(HUNTER, secrets={"DB": "acso/db:key", "URL": "/acso/url"})
    config = dataclasses.replace(CONFIG, agents=(agent,))
    stack = environment.desired(Target(aws=AWS, config=config, env=PLACE))
    line = next(line for line in stack.template.splitlines() if line.startswith(" SecretsPolicy"))
    policy = json.loads(line.partition(": ")[2])["Properties"]
    assert policy["Roles"] == [{"Ref": "ExecutionRole"}]
    allowed = {item["Action"]: item["Resource"] for item in policy["PolicyDocument"]["Statement"]}
    assert allowed.pop("kms:Decrypt") == {"Fn::GetAtt": ["Key", "Arn"]}
    assert allowed == {
        "secretsmanager:GetSecretValue": [f"{SECRET}-??????"],
        "ssm:GetParameters": ["arn:aws:ssm:us-east-1:123456789012:parameter/acso/url"],
    }
    assert len(facts_of(stack.template).secrets) == 2


async def test_a_record_has_neither_variables_nor_secrets(pipeline: Pipeline) -> None:
    from ci.release.records import table

    agent = dataclasses.replace(HUNTER, environment={"LEVEL": "canary"}, secrets={"DB": "/canary"})
    agents = tuple(agent if item.name == agent.name else item for item in CONFIG.agents)
    config = dataclasses.replace(CONFIG, agents=agents)
    here = dataclasses.replace(
        pipeline.context, config=config, env=dataclasses.replace(PLACE, bake_time=0)
    )
    outcome = await dataclasses.replace(pipeline, context=here).deploy()
    assert outcome.ok
    found = (await table.history(here)).current
    assert found is not None
    assert "canary" not in json.dumps(body(found))
    assert [item.name for item in found.agents] == [item.name for item in agents]


def test_more_secrets_than_a_role_s_policy_can_name_are_refused() -> None:
    def stack(count: int) -> None:
        many = {f"S{n}": f"acso/secret-number-{n}" for n in range(count)}
        config = dataclasses.replace(
            CONFIG, agents=(dataclasses.replace(HUNTER, secrets=many), *CONFIG.agents[1:])
        )
        environment.desired(Target(aws=AWS, config=config, env=PLACE))

    stack(50)
    with pytest.raises(ConfigError, match="its 300 secrets are too many") as raised:
        stack(300)
    assert "json-key" in raised.value.hint
