"""Costs: records in, anomalies with their false-positive rate, forecasts, reports."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.financial_intelligence.records import RecordsError, read, summed
from agents.financial_intelligence.reports import before
from agents.financial_intelligence.statistics import BASELINE, anomalies, forecast
from tests.unit.agents.house import House

CUR = """identity/LineItemId,lineItem/UsageAccountId,lineItem/UsageStartDate,\
lineItem/ProductCode,lineItem/UnblendedCost,lineItem/CurrencyCode
1,111111111111,2026-11-23T00:00:00Z,AmazonEC2,1.10,USD
2,111111111111,2026-11-23T01:00:00Z,AmazonEC2,2.20,USD
3,222222222222,2026-11-24T00:00:00Z,AmazonS3,0.5,USD
4,111111111111,2026-11-24T00:00:00Z,AmazonS3,much,USD
5,111111111111,2026-13-24T00:00:00Z,AmazonS3,1,USD
"""


def test_reports_of_aws_are_summed_by_account_service_and_day() -> None:
    found = read(CUR, is_csv=True)
    assert (found.rows, found.invalid) == (5, 2)
    assert found.problems[0] == "record 4: the cost is not a number"
    sums = {(c.account, c.service): dict(days) for c, days in found.cells.items()}
    assert sums == {
        ("111111111111", "AmazonEC2"): {"2026-11-23": Decimal("3.30")},
        ("222222222222", "AmazonS3"): {"2026-11-24": Decimal("0.5")},
    }


@pytest.mark.parametrize("text", ["", "{", "{}", '{"records": 1}', "[" * 100_000])
def test_a_body_that_is_no_list_of_records_is_refused(text: str) -> None:
    with pytest.raises(RecordsError):
        read(text, is_csv=False)
    with pytest.raises(RecordsError, match="column"):
        read(text[:10], is_csv=True)


def test_columns_that_are_needed_are_named_before_any_record() -> None:
    with pytest.raises(RecordsError, match="no column service: its names are "):
        read("date,cost\n2026-11-24,1\n", is_csv=True)


def test_the_hours_of_a_day_count_for_the_day_in_utc() -> None:
    rows = [{"date": "2026-11-24T01:00:00+02:00", "cost": "1", "service": "AmazonS3"}]
    ((_, days),) = summed(rows).cells.items()
    assert dict(days) == {"2026-11-23": Decimal(1)}


@given(
    rows=st.lists(
        st.dictionaries(
            st.sampled_from(("date", "cost", "service", "line_item_usage_start_date")),
            st.one_of(st.text(max_size=12), st.floats(), st.just("2026-11-24"), st.none()),
        )
        | st.integers()
    )
)
def test_a_record_counts_or_is_a_problem(rows: list[Any]) -> None:
    found = summed(rows)
    assert found.rows == len(rows)
    assert all(day[:7] == c.month for c, days in found.cells.items() for day in days)
    assert (found.invalid == 0) <= (not found.problems)


def noise(seed: int, days: int, *, slope: float = 0.0) -> list[float]:
    random = Random(seed)  # noqa: S311 - a repeatable one
    return [100 + slope * day + random.gauss(0, 10) for day in range(days)]


def test_fewer_than_1_in_200_normal_days_are_called_unusual() -> None:
    days = positives = 0
    for seed in range(100):
        series = noise(seed, 128)
        days += len(series) - BASELINE
        positives += sum(item.day >= BASELINE for item in anomalies(series))
    assert positives / days < 1 / 200


@pytest.mark.parametrize(("factor", "found"), [(2.0, 50), (0.3, 50)])
def test_a_doubled_or_missing_cost_is_found(factor: float, found: int) -> None:
    hits = 0
    for seed in range(50):
        series = noise(seed, 60)
        series[50] *= factor
        hits += any(item.day == 50 for item in anomalies(series))
    assert hits >= found - 2


@pytest.mark.parametrize(
    ("series", "days"),
    [
        ([10.0] * 20 + [10.5], []),  # half a dollar is not worth a look
        ([10.0] * 20 + [20.0] + [10.0] * 5, [20]),
        ([0.0] * 14 + [5.0, 5.0], [14, 15]),
        ([10.0] * 13 + [99.0], []),  # too few days to compare with
        ([], []),
    ],
)
def test_constant_costs_are_compared_without_a_spread(series: list[float], days: list[int]) -> None:
    assert [item.day for item in anomalies(series)] == days


@given(series=st.lists(st.floats(0, 1e6), max_size=60), scale=st.sampled_from((2.0, 4.0)))
def test_any_series_has_a_result(series: Sequence[float], scale: float) -> None:
    for item in anomalies(series):
        assert 14 <= item.day < len(series)
    found = forecast(series, 30)
    assert (found is None) == (len(series) < 14)
    if found:
        assert 0 <= found.low <= found.total <= found.high
        more = forecast([value * scale for value in series], 30)
        assert more is not None
        assert more.total == pytest.approx(found.total * scale, rel=0.01, abs=0.1)


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_the_interval_of_a_forecast_contains_19_of_20_totals(slope: float) -> None:
    inside = 0
    for seed in range(200):
        series = noise(seed, 86, slope=slope)
        found = forecast(series[:56], 30)
        assert found is not None
        inside += found.low <= sum(series[56:]) <= found.high
    assert inside >= 190


def test_single_peaks_do_not_move_a_forecast() -> None:
    calm = [100.0] * 56
    peak = [*calm[:50], 9000.0, *calm[51:]]
    one, two = forecast(calm, 30), forecast(peak, 30)
    assert one is not None
    assert two is not None
    assert one.total == two.total == 3000


def rows(days: int, **costs: float) -> list[dict[str, Any]]:
    """Return a record for each service on each of the days up to 24 November."""
    last = date(2026, 11, 24)
    return [
        {"date": (last - timedelta(days=day)).isoformat(), "service": name, "cost": cost}
        for day in range(days)
        for name, cost in costs.items()
    ]


async def test_costs_become_a_report_and_the_same_report_twice_counts_once() -> None:
    records = [*rows(40, compute=10.0, storage=1.0), *rows(1, compute=90.0)]
    async with House().client("financial-intelligence") as http:
        await http.post("/costs", json=records)
        stored = (await http.post("/costs", json=records)).json()
        assert (stored["records"], stored["services"]) == (81, 2)
        assert stored["months"] == ["2026-10", "2026-11"]
        report = (await http.get("/reports/2026-11")).json()
        assert (report["total"], report["before"]) == (24 * 11 + 90, 16 * 11)
        assert report["services"][0] == {"service": "compute", "cost": 330.0, "before": 160.0}
        [unusual] = report["anomalies"]
        assert (unusual["day"], unusual["cost"], unusual["expected"]) == ("2026-11-24", 100, 10)
        assert report["forecast"]["total"] == 330
        assert (await http.get("/summary")).json() == report
        assert (await http.get("/anomalies?month=2026-11")).json()["items"] == [unusual]
        text = (await http.get("/reports/2026-11?format=markdown")).text
        assert "| compute | 330.00 | +170.00 |" in text
        # A later delivery of the same day replaces it.
        await http.post("/costs", json=rows(1, compute=10.0))
        assert (await http.get("/summary")).json()["total"] == 24 * 11


async def test_csv_is_read_and_other_types_are_not() -> None:
    async with House().client("financial-intelligence") as http:
        for kind, status in (("text/csv; charset=utf-8", 200), ("text/plain", 415)):
            headers = {"Content-Type": kind}
            answer = await http.post("/costs", content=CUR, headers=headers)
            assert answer.status_code == status
        bad = await http.post("/costs", content=b"\xff", headers={"Content-Type": "text/csv"})
        assert bad.status_code == 422
        assert (await http.get("/reports/2026-13")).status_code == 422
        assert (await http.get("/reports/2026-11?currency=EUR")).json()["total"] == 0


def test_the_month_before_january_is_december() -> None:
    assert (before("2026-01"), before("2026-12")) == ("2025-12", "2026-11")
