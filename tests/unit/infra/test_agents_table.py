"""What an agent may do in the table that all agents share, and with the callers' tokens."""

from typing import Any

import pytest

from ci.config import Config
from ci.infra import templates
from tests.unit.infra.parsing import listed, parsed, statements

LEADING = "dynamodb:LeadingKeys"


@pytest.fixture
def role(config: Config) -> list[dict[str, Any]]:
    """The statements of an agent's task role."""
    resources = parsed(templates.environment(config.agents))["Resources"]
    return statements({"Resources": resources["Fn::ForEach::TaskRoles"][2]})


def on_table(role: list[dict[str, Any]], action: str) -> list[dict[str, Any]]:
    return [
        item
        for item in role
        if action in listed(item["Action"]) and "AgentsTable" in str(item.get("Resource"))
    ]


@pytest.mark.parametrize("action", ["PutItem", "DeleteItem", "Query"])
def test_an_agent_writes_and_lists_its_own_partitions_only(
    role: list[dict[str, Any]], action: str
) -> None:
    [statement] = on_table(role, f"dynamodb:{action}")
    [pattern] = statement["Condition"]["ForAllValues:StringLike"][LEADING]
    assert "${Name}#*" in str(pattern)
    # Without keys, "for all values" would hold as well.
    assert statement["Condition"]["Null"] == {LEADING: "false"}


def test_an_agent_reads_approvals_of_others_and_nothing_else(role: list[dict[str, Any]]) -> None:
    own, approvals = on_table(role, "dynamodb:GetItem")
    assert listed(own["Action"]) != listed(approvals["Action"]) == ["dynamodb:GetItem"]
    condition = approvals["Condition"]
    assert condition["ForAllValues:StringEquals"][LEADING] == ["supervisor#approval"]
    assert condition["Null"] == {LEADING: "false"}


def test_an_agent_reads_the_two_secrets_with_tokens_only(role: list[dict[str, Any]]) -> None:
    [statement] = [item for item in role if "secretsmanager" in str(item["Action"])]
    assert listed(statement["Action"]) == ["secretsmanager:GetSecretValue"]
    assert len(statement["Resource"]) == 2
    assert "PeopleToken" in str(statement["Resource"])
    assert "AgentsToken" in str(statement["Resource"])


def test_expired_items_are_removed_and_secrets_have_no_fixed_name(config: Config) -> None:
    resources = parsed(templates.environment(config.agents))["Resources"]
    table = resources["AgentsTable"]["Properties"]
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}
    for name in ("PeopleToken", "AgentsToken"):
        # A deleted secret keeps its name for weeks: an environment could not be created again.
        assert "Name" not in resources[name]["Properties"]
        generated = resources[name]["Properties"]["GenerateSecretString"]
        assert generated["PasswordLength"] >= 32
