"""When a target or a container counts as healthy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.local.aws.health import FIRST_INTERVAL, Health, Rule, matches

RULE = Rule(interval=5, failures=2, successes=3)


def probed(rule: Rule, answers: list[bool], every: float) -> Health:
    """Return the health after probes with these results, at equal intervals from the start."""
    health = Health(rule=rule, since=0.0)
    for number, good in enumerate(answers):
        now = number * every
        health.passed(now) if good else health.failed(now, "no")
    return health


def test_one_success_makes_a_new_target_healthy() -> None:
    assert probed(RULE, [False, True], every=0.2).state == "healthy"


def test_a_new_target_is_unhealthy_only_after_the_time_of_all_its_failures() -> None:
    assert probed(RULE, [False] * 50, every=0.2).state == "initial"
    assert probed(RULE, [False] * 51, every=0.2).state == "unhealthy"


def test_failures_in_the_start_period_do_not_count() -> None:
    with_grace = Rule(interval=5, failures=2, grace=10)
    assert probed(with_grace, [False] * 99, every=0.2).state == "initial"
    assert probed(with_grace, [False] * 101, every=0.2).state == "unhealthy"


def test_a_healthy_target_stays_healthy_below_the_threshold_of_failures() -> None:
    assert probed(RULE, [True, False], every=5).state == "healthy"
    assert probed(RULE, [True, False, False], every=5).state == "unhealthy"
    assert probed(RULE, [True, False, True, False], every=5).state == "healthy"


def test_an_unhealthy_target_needs_its_successes_in_a_row() -> None:
    unhealthy = [True, False, False]
    assert probed(RULE, [*unhealthy, True, True], every=5).state == "unhealthy"
    assert probed(RULE, [*unhealthy, True, True, True], every=5).state == "healthy"
    assert probed(RULE, [*unhealthy, True, True, False, True], every=5).state == "unhealthy"


def test_a_new_target_is_probed_soon_and_later_at_its_interval() -> None:
    health = Health(rule=RULE, since=0.0)
    assert health.due(0.0)
    health.failed(0.0, "no")
    assert (health.due(FIRST_INTERVAL / 2), health.due(FIRST_INTERVAL)) == (False, True)
    health.passed(FIRST_INTERVAL)
    assert (health.due(4.9), health.due(FIRST_INTERVAL + 5)) == (False, True)


@given(st.lists(st.booleans(), max_size=60), st.floats(min_value=0.05, max_value=20))
def test_fewer_failures_in_a_row_than_the_threshold_never_make_it_unhealthy(
    answers: list[bool], every: float
) -> None:
    runs = "".join("+" if good else "-" for good in answers).split("+")
    longest = max(len(run) for run in runs)
    health = probed(RULE, answers, every)
    if (longest - 1) * every < RULE.interval * (RULE.failures - 1):
        assert health.state != "unhealthy"


@pytest.mark.parametrize(
    ("matcher", "code", "expected"),
    [
        ("200", 200, True),
        ("200", 201, False),
        ("200-299", 250, True),
        ("200,302", 302, True),
        ("200-202, 404", 404, True),
        ("200-202", 203, False),
        ("", 200, False),
    ],
)
def test_a_matcher_is_read_as_the_load_balancer_does(
    matcher: str, code: int, expected: bool
) -> None:
    assert matches(matcher, code) is expected
