"""The comparison on made pairs: false alarms at the stated rate, and what it must find."""

import json
import random

import pytest

from validation.regression import comparison, distribution
from validation.regression.comparison import Rule
from validation.regression.distribution import Distribution, measured

RUNS = 200
#: Requests of a run to each agent: the default of acso.toml, 10 a second for a minute.
REQUESTS = 600


def seeded(number: int) -> random.Random:
    return random.Random(number)  # noqa: S311 (made response times)


def made(
    source: random.Random, *, slower: float = 0.0, errors: int = 0, requests: int = REQUESTS
) -> Distribution:
    """Return the response times of a version, about 20 ms with a long tail."""
    seconds = [0.02 * source.lognormvariate(0, 0.4) * (1 + slower) for _ in range(requests)]
    return measured(seconds, errors, memory=100.0)


def alarms(rule: Rule) -> int:
    """Return in how many of 200 runs the same version is a regression of itself."""
    source = seeded(1)
    runs = ({"a": (made(source), made(source))} for _ in range(RUNS))
    return sum(any(item.worse for item in comparison.latencies(pairs, rule)) for pairs in runs)


def test_a_version_is_a_regression_of_itself_at_the_stated_rate_at_most() -> None:
    assert alarms(Rule(noise=5, false_alarms=1, resamples=500)) <= 2


def test_without_noise_the_rate_is_what_it_is_said_to_be() -> None:
    # 40 % of the intervals, of two quantiles, beside the truth: half of these say slower.
    found = alarms(Rule(noise=0, false_alarms=40, resamples=300))
    assert 20 <= found <= 60


def test_as_many_errors_as_before_are_no_regression() -> None:
    source, rule = seeded(2), Rule(noise=5, false_alarms=1, resamples=1000)

    def failing() -> Distribution:
        failed = sum(source.random() < 0.01 for _ in range(REQUESTS))
        return Distribution(answered=REQUESTS - failed, errors=failed, points=(1.0,))

    runs = ({"a": (failing(), failing())} for _ in range(RUNS))
    assert sum(item.worse for pairs in runs for item in comparison.errors(pairs, rule)) <= 2


AGENTS = ("one", "two", "three", "four", "five")
RULE = Rule(noise=5, false_alarms=1)


def test_a_fifth_more_latency_of_one_of_five_agents_is_found() -> None:
    source = seeded(3)
    pairs = {name: (made(source), made(source)) for name in AGENTS}
    pairs["four"] = (pairs["four"][0], made(source, slower=0.2))
    found = comparison.latencies(pairs, RULE)
    worse = [item for item in found if item.worse]
    assert {item.what.split()[0] for item in worse} == {"four"}
    (median,) = (item for item in worse if item.what == "four p50")
    assert 12 < median.change < 28
    assert median.low < median.change < median.high
    assert median.smallest is not None
    assert 5 < median.smallest < 25


def test_two_percent_more_errors_of_one_of_five_agents_are_found() -> None:
    source = seeded(4)
    pairs = {name: (made(source), made(source)) for name in AGENTS}
    pairs["two"] = (made(source), made(source, errors=round(0.02 * REQUESTS), requests=588))
    found = comparison.errors(pairs, RULE)
    assert [item.what for item in found if item.worse] == ["two"]


def test_a_change_that_is_certain_and_small_is_noise() -> None:
    source = seeded(5)
    old, new = made(source, requests=100_000), made(source, slower=0.03, requests=100_000)
    (median, *_) = comparison.latencies({"a": (old, new)}, RULE)
    assert median.low > 0
    assert not median.worse


@pytest.mark.parametrize(("after", "worse"), [(104.0, False), (106.0, True), (50.0, False)])
def test_memory_beyond_the_noise_is_a_regression(after: float, worse: bool) -> None:
    old, new = (measured([0.1], 0, memory=item) for item in (100.0, after))
    (found,) = comparison.memory({"a": (old, new)}, RULE)
    assert found.worse is worse
    assert comparison.memory({"a": (old, measured([0.1], 0))}, RULE) == []


def test_what_is_kept_of_a_release_gives_the_same_answer() -> None:
    source = seeded(6)
    agents = {name: made(source) for name in AGENTS}
    kept = distribution.parsed(json.loads(json.dumps(distribution.body(agents))))
    for share in (0.5, 0.95):
        assert kept["one"].at(share) == pytest.approx(agents["one"].at(share), rel=0.03)
    assert (kept["one"].answered, len(kept["one"].points)) == (REQUESTS, distribution.POINTS)
    assert {item.text() for item in agents.values()} != set()
    pairs = {name: (kept[name], made(source, slower=0.2)) for name in AGENTS}
    assert all(item.worse for item in comparison.latencies(pairs, RULE) if "p50" in item.what)


def test_however_many_agents_there_are_what_is_kept_fits_into_an_item() -> None:
    one = made(seeded(7))
    kept = distribution.body({f"agent-{number}": one for number in range(500)})
    assert len(kept) == 500
    assert len(json.dumps(kept)) < 400_000
    assert distribution.parsed(kept)["agent-1"].at(0.5) == pytest.approx(one.at(0.5), rel=0.1)


def test_an_agent_that_answered_nothing_has_only_errors() -> None:
    dead, alive = measured([], 5), measured([0.1], 0)
    assert comparison.latencies({"a": (alive, dead)}, RULE) == []
    assert dead.text() == "no response, 5 errors"
