"""The validated release of a source: by its commit, else by its content."""

import dataclasses
from collections.abc import Mapping

import pytest

from ci import release
from ci.errors import PromotionError
from ci.release.records import table
from ci.release.records.by_source import of_content
from tests.unit.release.conftest import Pipeline, all_of, images, validation


class Source:
    """A source whose content versions are computed when they are asked for."""

    def __init__(self, name: str, **others: str) -> None:
        self.wanted, self.asked = all_of(name, **others), 0

    async def versions(self) -> Mapping[str, str]:
        self.asked += 1
        return self.wanted


async def deploy(pipeline: Pipeline, commit: str, name: str, *, valid: bool = True) -> None:
    request = release.Request(commit=commit, branch="main")
    context, lines = pipeline.context, pipeline.lines
    await release.deploy(context, images(name), request, validation(valid), lines.append)


async def found(pipeline: Pipeline, commit: str, source: Source) -> str:
    return await release.release_of(pipeline.context, commit, source.versions)


async def test_a_commit_s_newest_validated_release_is_found_without_looking_at_content(
    pipeline: Pipeline,
) -> None:
    await deploy(pipeline, "aaa", "good")
    await deploy(pipeline, "bbb", "good-2")
    await deploy(pipeline, "aaa", "good-3")
    await deploy(pipeline, "aaa", "good-4", valid=False)
    source = Source("anything")
    assert await found(pipeline, "aaa", source) == "2026.11.24-3"
    assert await found(pipeline, "bbb", source) == "2026.11.24-2"
    assert source.asked == 0


async def test_a_commit_that_changed_nothing_is_found_by_its_content(pipeline: Pipeline) -> None:
    await deploy(pipeline, "aaa", "good")
    await deploy(pipeline, "bbb", "good-2")
    await deploy(pipeline, "ccc", "good-2")  # leaves no record
    assert len((await table.history(pipeline.context)).releases) == 2
    source = Source("good-2")
    assert await found(pipeline, "ccc", source) == "2026.11.24-2"
    assert source.asked == 1
    assert await found(pipeline, "", Source("good")) == "2026.11.24-1"


@pytest.mark.parametrize("source", [Source("good-3"), Source("good", supervisor="good-3")])
async def test_content_that_was_not_validated_there_as_a_whole_is_refused(
    pipeline: Pipeline, source: Source
) -> None:
    await deploy(pipeline, "aaa", "good")
    await deploy(pipeline, "bbb", "good-3", valid=False)
    with pytest.raises(PromotionError) as raised:
        await found(pipeline, "bbb", source)
    assert str(raised.value) == (
        "staging has validated no release of commit bbb, nor one with the same content"
    )
    assert raised.value.hint.startswith("push it to main, wait until staging is validated")


async def test_a_commit_that_is_not_known_is_not_that_of_a_record_without_one(
    pipeline: Pipeline,
) -> None:
    await deploy(pipeline, "", "good")
    with pytest.raises(PromotionError, match="no release of this source"):
        await found(pipeline, "", Source("other"))


async def test_uncommitted_changes_are_of_no_commit(pipeline: Pipeline) -> None:
    await deploy(pipeline, "aaa", "good")
    history = await table.history(pipeline.context)
    (made,) = history.releases
    dirty = dataclasses.replace(made, request=dataclasses.replace(made.request, dirty=True))
    await table.write(pipeline.context, dirty, history.owners[made.id])
    with pytest.raises(PromotionError):
        await found(pipeline, "aaa", Source("other"))


async def test_a_release_with_another_agent_has_other_content(pipeline: Pipeline) -> None:
    await deploy(pipeline, "aaa", "good")
    history = await table.history(pipeline.context)
    services = {f"acso-staging-{agent}": version for agent, version in all_of("good").items()}
    assert of_content(history, services) is history.releases[0]
    assert of_content(history, services | {"acso-staging-sixth": "good"}) is None
    services.popitem()
    assert of_content(history, services) is None
