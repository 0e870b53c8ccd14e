"""The registry and the environments as stacks: whose identity provider, what is offered."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci import infra
from ci.aws.session import Aws, Credentials
from ci.aws.target import Target
from ci.config import Config, Environment, load
from ci.infra import templates

ROOT = Path(__file__).parents[3]
KEYS = Credentials(access_key_id="AKIATEST", secret_access_key="none")
GITHUB = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"


def _target(aws: Aws, config: Config, environment: Environment | None = None) -> Target:
    chosen = environment or config.environment("development")
    return Target(aws=aws, config=config, env=chosen)


@pytest.fixture
def config() -> Config:
    known = load(ROOT / "tests" / "acso.toml")
    return replace(known, project=replace(known.project, repository="o/acso"))


class Account:
    """CloudFormation and IAM of an account; keeps what a change set was asked for."""

    def __init__(self, providers: list[str], outputs: dict[str, str]) -> None:
        self.providers, self.outputs = providers, outputs
        self.template = "{}"
        self.asked: dict[str, str] = {}
        self.protected: list[str] = []

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803
        outputs = [{"OutputKey": k, "OutputValue": v} for k, v in self.outputs.items()]
        stack = {
            "StackStatus": "CREATE_COMPLETE",
            "Outputs": outputs,
            "EnableTerminationProtection": StackName in self.protected,
        }
        return {"Stacks": [stack]}

    def get_template(self, **_: Any) -> dict[str, Any]:
        return {"TemplateBody": self.template}

    def update_termination_protection(self, StackName: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        self.protected.append(StackName)
        return {}

    def list_open_id_connect_providers(self) -> dict[str, Any]:
        return {"OpenIDConnectProviderList": [{"Arn": arn} for arn in self.providers]}

    def list_change_sets(self, **_: Any) -> dict[str, Any]:
        return {"Summaries": []}

    def create_change_set(self, Parameters: list[dict[str, str]], **_: Any) -> dict[str, Any]:  # noqa: N803
        self.asked = {item["ParameterKey"]: item["ParameterValue"] for item in Parameters}
        return {}

    def describe_change_set(self, **_: Any) -> dict[str, Any]:
        return {"Status": "FAILED", "StatusReason": "didn't contain changes"}

    def delete_change_set(self, **_: Any) -> dict[str, Any]:
        return {}

    delete_stack = delete_change_set

    def get_paginator(self, operation: str) -> Any:
        account = self

        class Pages:
            def paginate(self, **arguments: Any) -> list[dict[str, Any]]:
                return [getattr(account, operation)(**arguments)]

        return Pages()


@pytest.mark.parametrize(
    ("providers", "outputs", "made"),
    [
        pytest.param([], {}, True, id="the account has none"),
        pytest.param(["arn:x:oidc-provider/other.example"], {}, True, id="has another issuer's"),
        pytest.param([GITHUB], {}, False, id="somebody else made it"),
        pytest.param([GITHUB], {"IdentityProvider": GITHUB}, True, id="this stack made it"),
    ],
)
async def test_github_s_identity_provider_is_created_unless_it_exists(
    config: Config, providers: list[str], outputs: dict[str, str], made: bool
) -> None:
    aws = Aws(region="us-east-1", credentials=KEYS)
    account = Account(providers, outputs)
    aws._clients.update(cloudformation=account, iam=account)
    await infra.apply_registry(_target(aws, config), print)
    assert account.asked["Repository"] == ("o/acso" if made else "")


async def test_production_s_protection_is_turned_on_once(config: Config) -> None:
    # CI's role may not ask for it, and need not: an administrator made the stack.
    names = ["Cluster", "Subnets", "SecurityGroup", "ExecutionRole", "LogGroup", "KeyArn", "Topic"]
    names += ["LoadBalancerName", "LoadBalancerHost", "ReleasesTable", "StateTable"]
    aws = Aws(region="us-east-1", credentials=KEYS)
    account = Account([], dict.fromkeys(names, "x"))
    aws._clients.update(cloudformation=account)
    for name in ("production", "production", "staging"):
        found = await infra.apply(_target(aws, config, config.environment(name)), print)
        assert found.url == "http://x"
    assert account.protected == ["acso-production"]


async def test_the_embedded_aws_is_not_asked_for_identity_providers(config: Config) -> None:
    aws = Aws(region="us-east-1", endpoint="http://here", credentials=KEYS)
    account = Account([], {})
    aws._clients.update(cloudformation=account)  # and no IAM
    await infra.apply_registry(_target(aws, config), print)
    assert account.asked["Embedded"] == "true"


async def test_an_environment_with_fewer_agents_removes_no_repository(config: Config) -> None:
    aws = Aws(region="us-east-1", endpoint="http://here", credentials=KEYS)
    account = Account([], {})
    others = [replace(config.agents[0], name="of-another-environment"), config.agents[1]]
    account.template = templates.registry(templates.registry_mapping(tuple(others)))
    aws._clients.update(cloudformation=account)
    fewer = replace(config, agents=config.agents[:2])
    await infra.apply_registry(_target(aws, fewer), print)
    names = ["of-another-environment", *(agent.name for agent in fewer.agents)]
    assert set(account.asked["Agents"].split(",")) == {templates.key(name) for name in names}
