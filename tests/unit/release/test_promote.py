"""What may be promoted: a validated release, whole, whose images the target's registry has."""

import dataclasses
from typing import Any

import pytest

from ci.aws import ecr
from ci.config import Agent
from ci.errors import PromotionError, UsageError
from ci.release import Promotion, promotion
from ci.release.records import table
from tests.unit.release.conftest import CONFIG, Pipeline

PRODUCTION = CONFIG.environment("production")
HeldLock = dict[str, set[str]]


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> HeldLock:
    """The target's registry: the digests of each repository."""
    found: HeldLock = {agent.repository: {"sha256:good"} for agent in CONFIG.agents}

    async def host(_: Any) -> str:
        return "elsewhere"

    async def has(_: Any, repository: str, digest: str) -> bool:
        return digest in found[repository]

    monkeypatch.setattr(ecr, "host", host)
    monkeypatch.setattr(ecr, "has", has)
    return found


async def promoted(pipeline: Pipeline, id_: str | None = None) -> Promotion:
    return await promotion(pipeline.context, id_, pipeline.context.aws, PRODUCTION)


@pytest.mark.usefixtures("held")
async def test_the_last_validated_release_is_promoted_by_digest_with_its_source(
    pipeline: Pipeline,
) -> None:
    await pipeline.deploy("good")
    await pipeline.deploy("good-2", supervisor="crash")
    found = await promoted(pipeline)
    assert [image.agent for image in found.images] == [agent.name for agent in CONFIG.agents]
    assert {(image.version, image.digest) for image in found.images} == {("good", "sha256:good")}
    assert found.images[0].reference == "elsewhere/acso-supervisor@sha256:good"
    assert found.request.promoted_from == "staging 2026.11.24-1"
    assert (found.request.commit, found.request.branch) == ("abc", "main")


@pytest.mark.usefixtures("held")
async def test_an_older_validated_release_can_be_named(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    await pipeline.deploy("good-2")
    found = await promoted(pipeline, "2026.11.24-1")
    assert found.request.promoted_from == "staging 2026.11.24-1"


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize(
    ("id_", "error", "said"),
    [
        ("2026.11.24-2", PromotionError, r"did not pass validation in staging \(rolled back\)"),
        ("2026.11.24-7", UsageError, "is not on record"),
        ("seven", UsageError, "is not a release"),
    ],
)
async def test_a_release_that_was_not_validated_is_refused(
    pipeline: Pipeline, id_: str, error: type[Exception], said: str
) -> None:
    await pipeline.deploy("good")
    await pipeline.deploy("good-2", valid=False)
    with pytest.raises(error, match=said):
        await promoted(pipeline, id_)


@pytest.mark.usefixtures("held")
async def test_an_environment_that_never_validated_anything_is_refused(pipeline: Pipeline) -> None:
    await pipeline.deploy("good", valid=False)
    with pytest.raises(PromotionError, match="staging has no validated release"):
        await promoted(pipeline)


async def test_every_image_missing_in_the_target_is_listed(
    pipeline: Pipeline, held: HeldLock
) -> None:
    await pipeline.deploy("good")
    held["acso-supervisor"].clear()
    held["acso-threat-hunter"].clear()
    with pytest.raises(PromotionError) as raised:
        await promoted(pipeline)
    assert str(raised.value).splitlines()[1:] == [
        "  elsewhere/acso-supervisor@sha256:good",
        "  elsewhere/acso-threat-hunter@sha256:good",
    ]


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (
            True,
            "ECR replication has to bring them from staging's registry (docs/aws.md, Promotion)",
        ),
        (False, "staging's registry has lost them too: ./acso deploy --env staging"),
    ],
    ids=["not replicated", "deleted"],
)
async def test_how_to_get_missing_images_depends_on_whether_the_source_has_them(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, said: str, *, kept: bool
) -> None:
    await pipeline.deploy("good")
    elsewhere: Any = object()

    async def host(_: Any) -> str:
        return "elsewhere"

    async def has(aws: Any, *_: str) -> bool:
        return kept and aws is not elsewhere

    monkeypatch.setattr(ecr, "host", host)
    monkeypatch.setattr(ecr, "has", has)
    with pytest.raises(PromotionError) as raised:
        await promotion(pipeline.context, None, elsewhere, PRODUCTION)
    assert said in raised.value.hint


@pytest.mark.usefixtures("held")
async def test_an_agent_without_an_image_in_the_release_is_reported(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    sixth = Agent(name="code-review", port=8000, health_path="/health", calls=())
    config = dataclasses.replace(CONFIG, agents=(*CONFIG.agents, sixth))
    context = dataclasses.replace(pipeline.context, config=config)
    with pytest.raises(PromotionError, match=r"2026.11.24-1 of staging has no image of code"):
        await promotion(context, None, context.aws, PRODUCTION)


@pytest.mark.usefixtures("held")
async def test_uncommitted_changes_are_promoted_nowhere(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    (release,) = (await table.history(pipeline.context)).releases
    dirty = dataclasses.replace(release.request, dirty=True)
    token = (await table.history(pipeline.context)).owners[release.id]
    await table.write(pipeline.context, dataclasses.replace(release, request=dirty), token)
    with pytest.raises(PromotionError, match="uncommitted changes"):
        await promoted(pipeline)
