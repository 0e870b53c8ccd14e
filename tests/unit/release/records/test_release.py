"""Release records: states follow each other in order, ids sort by age, targets are validated."""

import dataclasses
import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.config import Agent
from ci.errors import UsageError
from ci.release.model import Request, ServiceRevision
from ci.release.records.release import (
    FINAL_STATES,
    FORMAT,
    TRANSITIONS,
    Entry,
    History,
    Kind,
    RecordedStack,
    Release,
    State,
    advance,
    body,
    key,
    next_id,
    parse,
    with_first_step,
)

NOW = datetime.datetime(2026, 11, 24, 23, 59, tzinfo=datetime.UTC)
STATES = st.sampled_from(list(State))


def run(number: int) -> ServiceRevision:
    return ServiceRevision(
        revision=f"arn:f:{number}", version=f"v{number}", digest=f"sha256:{number}", desired=1
    )


def made(
    number: int, state: State = State.SUCCEEDED, *, kind: Kind = Kind.DEPLOY, origin: int = 0
) -> Release:
    content = origin or number
    return Release(
        id=f"2026.11.24-{number}",
        environment="staging",
        kind=kind,
        state=state,
        entries=(
            Entry(
                agent="supervisor",
                service="s",
                action="change",
                before=run(content - 1),
                after=run(content),
            ),
        ),
        request=Request(commit="abc"),
        created_at=NOW.isoformat(),
        origin=f"2026.11.24-{content}",
    )


def history(*releases: Release) -> History:
    return History(releases=tuple(reversed(releases)))


@given(state=STATES, follower=STATES)
def test_only_what_may_follow_follows(state: State, follower: State) -> None:
    release = made(1, state)
    if follower in TRANSITIONS[state]:
        advanced = advance(release, follower, NOW)
        assert advanced.state is follower
        assert advanced.at(follower) == "2026-11-24T23:59:00.000+00:00"
    else:
        with pytest.raises(ValueError, match="cannot go"):
            advance(release, follower, NOW)


@pytest.mark.parametrize("state", list(State))
def test_every_state_leads_to_an_end_and_ends_lead_nowhere(state: State) -> None:
    reached, new = {state}, {state}
    while new:
        new = {follower for item in new for follower in TRANSITIONS[item]} - reached
        reached |= new
    assert reached & FINAL_STATES
    assert (state in FINAL_STATES) == (not TRANSITIONS[state])


def test_a_recorded_reason_is_not_overwritten() -> None:
    failed_tasks = advance(made(1, State.DEPLOYING), State.ROLLING_BACK, NOW, why="boom")
    assert advance(failed_tasks, State.ROLLED_BACK, NOW).why == "boom"


@given(
    state=STATES,
    before=st.none() | st.just(run(1)),
    took=st.lists(st.text(max_size=5), max_size=2),
    why=st.text(max_size=20),
)
def test_a_record_survives_its_storage(
    state: State, before: ServiceRevision | None, took: list[str], why: str
) -> None:
    entry = dataclasses.replace(made(2).entries[0], before=before)
    release = with_first_step(
        dataclasses.replace(
            made(2, state),
            entries=(entry,),
            took_over=tuple(took),
            why=why,
            failures=({"log": ["boom"]},),
        ),
        NOW,
    )
    assert parse(json.loads(json.dumps(body(release)))) == release


def test_ids_count_within_the_day() -> None:
    assert next_id([], NOW) == "2026.11.24-1"
    known = ["2026.11.24-2", "2026.11.24-10", "2026.11.23-40"]
    assert next_id(known, NOW) == "2026.11.24-11"
    assert next_id(known, NOW + datetime.timedelta(minutes=2)) == "2026.11.25-1"


@given(st.lists(st.tuples(st.dates(), st.integers(min_value=1, max_value=99999)), min_size=2))
def test_keys_sort_as_releases_were_made(made_at: list[tuple[datetime.date, int]]) -> None:
    ids = [f"{day:%Y.%m.%d}-{n}".zfill(12) for day, n in sorted(made_at) if day.year > 999]
    assert [key(id_) for id_ in ids] == sorted(key(id_) for id_ in ids)


@pytest.mark.parametrize("wrong", ["", "7", "2026.11.24", "2026.11.24-x", "v1"])
def test_an_invalid_release_id_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match=r"looks like 2026\.11\.24-3"):
        key(wrong)


def test_a_rollback_returns_to_the_validated_release_before_the_current_one() -> None:
    past = history(made(1), made(2, State.ROLLED_BACK), made(3), made(4, State.FAILED))
    target = past.target(None)
    assert target is not None
    assert target.id == "2026.11.24-1"


def test_a_second_rollback_returns_to_an_even_earlier_release() -> None:
    back = made(4, kind=Kind.ROLLBACK, origin=2)
    target = history(made(1), made(2), made(3), back).target(None)
    assert target is not None
    assert target.id == "2026.11.24-1"


def test_a_rollback_over_an_unfinished_release_undoes_that() -> None:
    target = history(made(1), made(2), made(3, State.DEPLOYING)).target(None)
    assert target is not None
    assert target.id == "2026.11.24-2"


@pytest.mark.parametrize("past", [(), (made(1),), (made(1, State.FAILED), made(2))])
def test_without_an_earlier_validated_release_there_is_no_target(past: tuple[Release, ...]) -> None:
    assert history(*past).target(None) is None


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("2026.11.24-2", r"did not succeed \(rolled back\)"),
        ("2026.11.24-9", "no validated release 2026.11.24-9"),
    ],
)
def test_only_validated_releases_can_be_named(to: str, said: str) -> None:
    past = history(made(1), made(2, State.ROLLED_BACK), made(3))
    with pytest.raises(UsageError, match=said) as raised:
        past.target(to)
    assert raised.value.hint == "validated releases: 2026.11.24-3, 2026.11.24-1"


def test_a_service_returns_to_the_validated_release_whatever_runs() -> None:
    past = history(made(3), made(4, State.DEPLOYING))
    assert past.before("s", run(4)) == run(3)


def test_a_service_returns_to_what_ran_before_the_first_unfinished_release() -> None:
    past = history(made(4, State.DEPLOYING), made(5, State.DEPLOYING))
    assert past.before("s", run(5)) == run(3)
    assert past.before("unknown", run(5)) == run(5)


AGENT = Agent(name="supervisor", port=8000, health_path="/health", calls=("threat-hunter",))
STACK = RecordedStack(name="s", template="0" * 64, parameters={"A": "1"}, tags={})


def test_agents_stack_and_settings_are_recorded() -> None:
    whole = dataclasses.replace(run(1), settings='{"enableExecuteCommand": true}')
    entry = dataclasses.replace(made(1).entries[0], after=whole)
    release = dataclasses.replace(made(1), entries=(entry,), agents=(AGENT,), stack=STACK)
    found = parse(json.loads(json.dumps(body(release))))
    assert found == release
    assert found.after["s"].settings == whole.settings


def test_a_record_of_an_earlier_version_is_read() -> None:
    data = json.loads(json.dumps(body(made(1))))
    for name in ("format", "agents", "stack"):
        del data[name]
    for when in ("before", "after"):
        del data["entries"][0][when]["settings"]
    assert parse(data) == made(1)


def test_a_record_of_a_later_version_is_refused_with_a_sentence() -> None:
    later = body(made(1)) | {"format": FORMAT + 1, "unheard-of": True}
    with pytest.raises(UsageError, match=r"release 2026.11.24-1 was recorded by a later version"):
        parse(later)


def test_what_changed_settings_or_the_stack_alone_can_be_rolled_back() -> None:
    def changed(number: int, settings: str, parameter: str) -> Release:
        entry = made(1).entries[0]
        after = dataclasses.replace(run(1), settings=settings)
        stack = dataclasses.replace(STACK, parameters={"A": parameter})
        same = (dataclasses.replace(entry, after=after),)
        return dataclasses.replace(made(number), entries=same, stack=stack)

    first = changed(1, "{}", "1")
    for second in (changed(2, '{"a": 1}', "1"), changed(2, "{}", "2")):
        assert history(first, second).target(None) == first
    assert history(first, changed(2, "{}", "1")).target(None) is None
    # A record of an earlier version says nothing of either.
    assert (
        history(dataclasses.replace(made(1), entries=made(1).entries), first).target(None) is None
    )


def test_a_way_back_has_the_settings_that_run_if_the_record_has_none() -> None:
    running = dataclasses.replace(run(1), settings="{}")
    before = history(made(1)).before("s", running)
    assert before is not None
    assert before.settings == "{}"
    assert history(made(1)).before("s", dataclasses.replace(run(2), settings="{}")) == run(1)
