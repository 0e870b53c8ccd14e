"""Policy documents of agents: what gives away more than was meant is refused."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci.config import load, policies
from ci.errors import ConfigError

CONFIG = load(Path(__file__).parents[3] / "tests" / "acso.toml")
GOOD = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::reports/*"}


def document(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Action": "*"}, "Statement[0].Action: '*': name the actions"),
        ({"Action": ["s3:GetObject", "s3:*"]}, "Statement[0].Action: 's3:*': name the actions"),
        ({"Action": "iam:PassRole"}, "Statement[0].Action: 'iam:PassRole'"),
        ({"Action": "sts:AssumeRole"}, "Statement[0].Action: 'sts:AssumeRole'"),
        ({"Resource": "*"}, "Statement[0].Resource: '*': name the resources by ARN"),
        (
            {"Resource": "arn:aws:s3:::*"},
            "Statement[0].Resource: 'arn:aws:s3:::*': name the resources",
        ),
        ({"Principal": "*"}, "Statement[0].Principal: not allowed here"),
        ({"NotAction": "s3:*"}, "Statement[0].NotAction: not allowed here"),
        ({"Effect": "allow"}, "Statement[0].Effect: must be Allow or Deny"),
    ],
)
def test_what_gives_away_too_much_is_refused_by_file_and_statement(
    change: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        policies.document("agents/x.json", document({**GOOD, **change}))
    assert str(raised.value).startswith(f"agents/x.json: {message}")


@pytest.mark.parametrize(
    "statement",
    [
        GOOD,
        {**GOOD, "Action": ["s3:Get*"]},
        {**GOOD, "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/team": "x"}}},
        {"Effect": "Deny", "Action": "s3:*", "Resource": "*"},
    ],
)
def test_what_is_narrow_is_accepted(statement: Mapping[str, Any]) -> None:
    assert policies.document("x.json", document(statement))["Statement"] == [statement]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"Version": "1", "Statement": []}'])
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"x\.json"):
        policies.document("x.json", text)


def test_a_policy_longer_than_iam_allows_is_refused() -> None:
    long = {**GOOD, "Resource": [f"arn:aws:s3:::bucket-{n}/*" for n in range(500)]}
    with pytest.raises(ConfigError, match="characters; a role's policy may have 8000"):
        policies.document("x.json", document(long))


def test_documents_are_kept_by_agent() -> None:
    agents = (replace(CONFIG.agents[0], permissions="x.json"), *CONFIG.agents[1:])
    config = replace(CONFIG, agents=agents)
    assert policies.paths(config) == ["x.json"]
    found = policies.with_policies(config, {"x.json": document(GOOD)}).policies
    assert found[CONFIG.agents[0].name]["Statement"] == [GOOD]
