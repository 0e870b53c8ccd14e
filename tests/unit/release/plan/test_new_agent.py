"""Plans of a deployed environment whose acso.toml has gained an agent."""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ci import infra
from ci.aws.target import Target
from ci.pipeline import images as pipeline_images
from ci.pipeline.preview import preview
from ci.release import Image
from ci.stages.build import Built
from tests.unit.release.conftest import CONFIG, Outputs, Pipeline, images

NEW = dataclasses.replace(CONFIG.agent("threat-hunter"), name="code-review")
OUTPUTS = infra.Outputs(
    **dataclasses.asdict(Outputs()), load_balancer_name="balancer", kms_key="arn/key"
)


def returning(value: object) -> Callable[..., Awaitable[Any]]:
    async def answer(*_: object) -> Any:
        return value

    return answer


@pytest.fixture
def target(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Target:
    """A deployed environment, and a configuration with one agent more."""
    context = pipeline.context
    monkeypatch.setattr(context.aws, "account", returning("123456789012"))
    monkeypatch.setattr(infra, "outputs", returning(OUTPUTS))
    monkeypatch.setattr(infra, "preview", returning([]))
    monkeypatch.setattr(infra, "stack_facts", returning(infra.StackFacts(current={}, desired={})))
    config = dataclasses.replace(CONFIG, agents=(*CONFIG.agents, NEW))
    return Target(aws=context.aws, config=config, env=context.env)


async def test_its_service_is_planned_as_created_and_the_others_as_unchanged(
    pipeline: Pipeline, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pipeline.deploy("good")
    pushed = {image.agent: image for image in images("good")}

    async def find(_: Target, built: Built) -> Image:
        return pushed.get(built.agent, Image(agent=built.agent, version=built.version))

    monkeypatch.setattr(pipeline_images, "find", find)
    container: Any = None
    built = [Built(agent=a.name, version="good", container=container) for a in target.config.agents]
    found = await preview(target, built)
    assert found.services is not None
    actions = {change.agent: str(change.action) for change in found.services.changes}
    assert actions == dict.fromkeys(pushed, "none") | {"code-review": "create"}
    assert '"targetGroupArn": "(created with the infrastructure)"' in found.text()
    assert found.saved.services["service acso-staging-code-review"] == "absent"


def test_resources_that_exist_are_shown_under_their_own_names(target: Target) -> None:
    found = infra.with_new_agents(OUTPUTS, target.config)
    assert found.task_roles == {**OUTPUTS.task_roles, "code-review": infra.PENDING}
    assert found.target_groups == {**OUTPUTS.target_groups, "code-review": infra.PENDING}
