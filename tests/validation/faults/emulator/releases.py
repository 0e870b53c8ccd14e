"""Faults of release records, and of what they refer to, in the embedded AWS."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

from ci.aws import ecs
from ci.release import ReleaseContext
from tests.validation.faults.emulator.running import (
    DEFINITION,
    bodies,
    definition,
    recorded,
    with_after,
)
from tests.validation.faults.fault import on_emulator

Ecr = Callable[..., Awaitable[dict[str, Any]]]
NOBODY = f"sha256:{'0' * 64}"  # the digest of no image
LAST = "financial-intelligence"


def _after(body: dict[str, Any]) -> dict[str, Any]:
    entry = next(item for item in body["entries"] if item["agent"] == LAST)
    found: dict[str, Any] = entry["after"]
    return found


@on_emulator(
    "smoke.images",
    wrong="The last agent runs another digest than its release recorded.",
    read=bodies,
    shows=lambda found: _after(found[0])["digest"] == NOBODY,
    needs="services",
)
async def running_digest_not_recorded(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in recorded(place, 0, with_after(LAST, digest=NOBODY)):
        yield


@on_emulator(
    "recovery.previous",
    wrong="The release before the current one failed: there is no validated one to return to.",
    read=bodies,
    shows=lambda found: [body["state"] for body in found] == ["succeeded", "failed"],
    needs="releases",
)
async def previous_release_failed(place: ReleaseContext) -> AsyncIterator[None]:
    def failed(body: dict[str, Any]) -> dict[str, Any]:
        return body | {"state": "failed", "why": "planted"}

    async for _ in recorded(place, 1, failed):
        yield


@on_emulator(
    "recovery.previous",
    wrong="The image of the previous release's last agent is not in ECR.",
    read=bodies,
    shows=lambda found: _after(found[1])["digest"] == NOBODY,
    needs="releases",
)
async def previous_image_never_pushed(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in recorded(place, 1, with_after(LAST, digest=NOBODY)):
        yield


async def previous_image(place: ReleaseContext) -> list[str]:
    """Return the errors of reading the previous release's image of the last agent."""
    repository, digest = await _image(place)
    answer = await place.aws.call(
        "ecr",
        "batch_get_image",
        repositoryName=repository,
        imageIds=[{"imageDigest": digest}],
    )
    return [item["failureCode"] for item in answer.get("failures", ())]


async def _image(place: ReleaseContext) -> tuple[str, str]:
    """Return repository and digest of the image that the previous release's last agent ran."""
    revision = _after((await bodies(place))[1])["revision"]
    answer = await place.aws.call("ecs", "describe_task_definition", taskDefinition=revision)
    image = str(answer["taskDefinition"]["containerDefinitions"][0]["image"])
    name, _, digest = image.partition("@")
    return name.partition("/")[2], digest


@on_emulator(
    "recovery.previous",
    wrong="The image that the previous release ran was deleted from ECR.",
    read=previous_image,
    shows=lambda failures: failures == ["ImageNotFound"],
    needs="releases",
)
async def previous_image_deleted(place: ReleaseContext) -> AsyncIterator[None]:
    ecr, id_, restore = await _kept(place)
    await ecr("batch_delete_image", imageIds=[id_])
    yield
    await restore()


async def _kept(place: ReleaseContext) -> tuple[Ecr, dict[str, str], Callable[[], Awaitable[None]]]:
    """Return calls of the previous image's repository, the image's id, and its restoration."""
    repository, digest = await _image(place)
    ecr, id_ = partial(place.aws.call, "ecr", repositoryName=repository), {"imageDigest": digest}
    manifest = (await ecr("batch_get_image", imageIds=[id_]))["images"][0]
    kept = {key: manifest[key] for key in ("imageManifest", "imageManifestMediaType")}
    before = await tags(place)

    async def restore() -> None:
        for tag in before:
            await ecr("put_image", imageTag=tag, **kept)

    return ecr, id_, restore


async def previous_revision(place: ReleaseContext) -> str:
    """Return the status of the revision that the previous release's last agent ran."""
    revision = _after((await bodies(place))[1])["revision"]
    answer = await place.aws.call("ecs", "describe_task_definition", taskDefinition=revision)
    return str(answer["taskDefinition"]["status"])


@on_emulator(
    "recovery.previous",
    wrong="The revision that the previous release ran is deregistered: no service can move to it.",
    read=previous_revision,
    shows=lambda status: status == "INACTIVE",
    needs="releases",
)
async def previous_revision_deregistered(place: ReleaseContext) -> AsyncIterator[None]:
    # A deregistered revision stays so: the record gets a copy of it, which is deregistered.
    running = await definition(place)
    request = {key: running[key] for key in DEFINITION if running.get(key)}
    made = await place.aws.call("ecs", "register_task_definition", **request)
    revision = made["taskDefinition"]["taskDefinitionArn"]
    await ecs.deregister(place.aws, revision)
    async for _ in recorded(place, 1, with_after(LAST, revision=revision)):
        yield


async def tags(place: ReleaseContext) -> list[str]:
    """Return the tags of the previous release's image of the last agent."""
    repository, digest = await _image(place)
    answer = await place.aws.call(
        "ecr",
        "describe_images",
        repositoryName=repository,
        imageIds=[{"imageDigest": digest}],
    )
    return sorted(answer["imageDetails"][0].get("imageTags", ()))


@on_emulator(
    wrong="Harmless: an image of a release has one more tag, which nothing uses.",
    read=tags,
    shows=lambda found: "planted" in found,
    needs="releases",
)
async def harmless_second_tag(place: ReleaseContext) -> AsyncIterator[None]:
    ecr, id_, restore = await _kept(place)
    manifest = (await ecr("batch_get_image", imageIds=[id_]))["images"][0]["imageManifest"]
    await ecr("put_image", imageManifest=manifest, imageTag="planted")
    yield
    # The embedded AWS removes an image by any of its tags, so it is put back.
    await ecr("batch_delete_image", imageIds=[id_])
    await restore()
