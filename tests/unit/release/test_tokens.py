"""Tokens of the agents' callers, over a model of Secrets Manager's versions."""

import json
from dataclasses import replace
from typing import Any

import pytest

from ci import release
from ci.aws.session import Aws, Credentials
from ci.errors import UsageError
from tests.unit.json_documents import result
from tests.unit.release.conftest import Outputs, Pipeline


class Secrets:
    """Secrets with versions in stages, as the API Reference describes them."""

    def __init__(self, **texts: str) -> None:
        self.versions = {name: [text] for name, text in texts.items()}
        self.revoked: set[str] = set()

    def get_secret_value(self, **request: Any) -> dict[str, Any]:
        return {"SecretString": self.versions[request["SecretId"]][-1]}

    def put_secret_value(self, **request: Any) -> dict[str, Any]:
        self.versions[request["SecretId"]].append(request["SecretString"])
        self.revoked.discard(request["SecretId"])
        return {}

    def describe_secret(self, **request: Any) -> dict[str, Any]:
        count, id_ = len(self.versions[request["SecretId"]]), request["SecretId"]
        stages = {str(count): ["AWSCURRENT"]}
        if count > 1 and id_ not in self.revoked:
            stages[str(count - 1)] = ["AWSPREVIOUS"]
        return {"VersionIdsToStages": stages}

    def update_secret_version_stage(self, **request: Any) -> dict[str, Any]:
        assert request["VersionStage"] == "AWSPREVIOUS"
        assert request["RemoveFromVersionId"] == str(len(self.versions[request["SecretId"]]) - 1)
        self.revoked.add(request["SecretId"])
        return {}


@pytest.fixture
def secrets() -> Secrets:
    return Secrets(people=json.dumps({"operator": "o1", "bob": "b1"}), agents="a1")


@pytest.fixture
def context(pipeline: Pipeline, secrets: Secrets) -> release.ReleaseContext:
    aws = Aws(
        region="us-east-1",
        credentials=Credentials(access_key_id="AKIATEST", secret_access_key="none"),
    )
    aws._clients["secretsmanager"] = secrets
    outputs = Outputs(people_secret="people", agents_secret="agents")
    return replace(pipeline.context, aws=aws, outputs=outputs)


async def test_a_person_s_token_is_shown(context: release.ReleaseContext) -> None:
    shown = await release.token(context, "operator")
    assert shown.text() == "o1"
    result("token").validate(shown.data())
    assert shown.data() == {"caller": "operator", "token": "o1"}
    with pytest.raises(UsageError, match="nobody in staging is named carol") as unknown:
        await release.token(context, "carol")
    assert unknown.value.hint == "known: bob, operator"


async def test_a_rotation_gives_everybody_a_new_token_and_keeps_the_old_ones(
    context: release.ReleaseContext, secrets: Secrets
) -> None:
    done = await release.rotate_tokens(context, revoke=False)
    assert done.callers == ("agents", "bob", "operator")
    new = json.loads(secrets.versions["people"][-1])
    assert new.keys() == {"operator", "bob"}
    everything = [*new.values(), secrets.versions["agents"][-1]]
    assert len({*everything, "o1", "b1", "a1"}) == 6
    assert all(len(token) >= 48 for token in everything)
    assert secrets.revoked == set()
    # What is shown and recorded has no token in it.
    result("rotation").validate(done.data())
    assert not [token for token in everything if token in done.text() + json.dumps(done.data())]


async def test_after_a_leak_the_old_tokens_are_revoked(
    context: release.ReleaseContext, secrets: Secrets
) -> None:
    done = await release.rotate_tokens(context, revoke=True)
    assert secrets.revoked == {"people", "agents"}
    assert "refused within a minute" in done.text()
