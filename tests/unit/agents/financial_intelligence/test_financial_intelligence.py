from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.financial_intelligence.logic import (
    Client,
    Licence,
    Process,
    opportunities,
    sells_more,
    wasted,
    worth_automating,
)

CLIENT = Client(name="a", usage=0.81, satisfaction=4.1, renewal_months=6)
LICENCE = Licence(product="b", utilisation=0.59, monthly_cost=1000.01)
PROCESS = Process(name="c", manual_tasks=101, complexity=0.29, expected_return=2.1)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"usage": 0.8}, False),
        ({"satisfaction": 4.0}, False),
        ({"renewal_months": 6.1}, False),
        ({"renewal_months": 0}, True),
    ],
)
def test_a_client_buys_more_only_if_all_three_hold(change: dict[str, Any], expected: bool) -> None:
    assert sells_more(replace(CLIENT, **change)) is expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [({}, True), ({"utilisation": 0.6}, False), ({"monthly_cost": 1000}, False)],
)
def test_licences_are_wasted_only_if_few_are_used_and_they_cost(
    change: dict[str, Any], expected: bool
) -> None:
    assert wasted(replace(LICENCE, **change)) is expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"manual_tasks": 100}, False),
        ({"complexity": 0.3}, False),
        ({"expected_return": 2.0}, False),
    ],
)
def test_work_is_automated_only_if_all_three_hold(change: dict[str, Any], expected: bool) -> None:
    assert worth_automating(replace(PROCESS, **change)) is expected


def test_known_savings_come_first_the_largest_before_all() -> None:
    small = Licence(product="small", utilisation=0.5, monthly_cost=2000)
    large = Licence(product="large", utilisation=0.25, monthly_cost=4000)
    found = opportunities([CLIENT], [small, large], [PROCESS])
    assert [(item.kind, item.subject, item.monthly_saving) for item in found] == [
        ("licences", "large", 3000.0),
        ("licences", "small", 1000.0),
        ("upsell", "a", None),
        ("automation", "c", None),
    ]
    assert found[2].reason == "uses 81%, satisfaction 4.1, renewal in 6 months"


def test_no_figures_are_no_opportunities() -> None:
    assert opportunities([], [], []) == ()


LICENCES = st.lists(
    st.builds(
        Licence, product=st.text(), utilisation=st.floats(0, 1), monthly_cost=st.floats(0, 1e6)
    )
)


@given(licences=LICENCES)
def test_nothing_saves_more_than_it_costs(licences: list[Licence]) -> None:
    found = opportunities([], licences, [])
    assert len(found) == sum(wasted(licence) for licence in licences)
    savings = [item.monthly_saving or 0.0 for item in found]
    assert savings == sorted(savings, reverse=True)
    assert all(0 <= saving <= 1e6 for saving in savings)
