"""A deploy over somebody else's newer release is refused unless it is asked for."""

import dataclasses

import pytest

from ci import release
from ci.errors import NewerReleaseError
from ci.pipeline import ancestry
from ci.release import OutcomeKind, Relation
from ci.release.records.table import history
from tests.unit.release.conftest import ENV, REQUEST, Pipeline, versions


def related(pipeline: Pipeline, relation: Relation) -> Pipeline:
    return pipeline.behaving(relate=lambda _: relation)


async def test_a_release_that_this_checkout_does_not_have_is_not_undone(pipeline: Pipeline) -> None:
    await pipeline.deploy("good-2")
    with pytest.raises(NewerReleaseError) as refused:
        await related(pipeline, Relation.UNKNOWN).deploy("good")
    assert str(refused.value) == (
        "staging runs release 2026.11.24-1 (tests, commit abc, 2026-11-24 12:00 UTC), whose commit "
        "this checkout does not have; a deploy of this source would undo it; nothing was changed"
    )
    assert refused.value.hint == (
        "deploy a commit that contains abc, or ./acso deploy --env staging --over"
    )
    assert set(versions(pipeline.world).values()) == {"good-2"}
    assert len((await history(pipeline.context)).releases) == 1


@pytest.mark.parametrize("relation", [Relation.NEWER, Relation.DIVERGED])
async def test_whoever_goes_back_in_their_own_checkout_may(
    relation: Relation, pipeline: Pipeline
) -> None:
    await pipeline.deploy("good-2")
    outcome = await related(pipeline, relation).deploy("good")
    assert outcome.kind is OutcomeKind.DEPLOYED
    current = await history(pipeline.context)
    other = dataclasses.replace(REQUEST, actor="another")
    assert release.would_undo(current, other, lambda _: relation) == current.current


async def test_the_same_content_undoes_nothing(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    outcome = await related(pipeline, Relation.UNKNOWN).deploy("good")
    assert outcome.kind is OutcomeKind.NOTHING_TO_DO


async def test_a_source_that_contains_the_release_is_deployed(pipeline: Pipeline) -> None:
    await pipeline.deploy("good-2")
    outcome = await related(pipeline, Relation.CONTAINED).deploy("good")
    assert outcome.kind is OutcomeKind.DEPLOYED


def test_over_asks_nobody_and_without_a_checkout_nobody_knows() -> None:
    def relate(_: str) -> Relation:
        return Relation.UNKNOWN

    assert ancestry.relation(over=False) is None
    with ancestry.checkout(relate):
        assert ancestry.relation(over=False) is relate
        assert ancestry.relation(over=True) is None
    release.require_contained(ENV, None, {}, relate)
