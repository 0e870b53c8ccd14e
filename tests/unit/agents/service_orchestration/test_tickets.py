"""Tickets, their clocks in business hours, and service tasks."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.service_orchestration.logic import kind_of
from agents.service_orchestration.sla import add, elapsed
from tests.unit.agents.house import AGENT, House

BERLIN, NEW_YORK, UTC_ZONE = (
    ZoneInfo("Europe/Berlin"),
    ZoneInfo("America/New_York"),
    ZoneInfo("UTC"),
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "hours", "zone", "end"),
    [
        ("2026-11-24T12:00", 2, UTC_ZONE, "2026-11-24T14:00"),
        ("2026-11-24T12:00", 6, UTC_ZONE, "2026-11-24T18:00"),
        ("2026-11-24T17:00", 2, UTC_ZONE, "2026-11-25T09:00"),
        ("2026-11-24T20:00", 1, UTC_ZONE, "2026-11-25T09:00"),
        ("2026-11-24T03:00", 1, UTC_ZONE, "2026-11-24T09:00"),
        ("2026-11-27T17:00", 2, UTC_ZONE, "2026-11-30T09:00"),  # over a weekend
        ("2026-11-28T12:00", 1, UTC_ZONE, "2026-11-30T09:00"),  # on a Saturday
        ("2026-11-24T07:00", 1, BERLIN, "2026-11-24T08:00"),  # it opens at 7 in UTC
        ("2026-11-24T12:00", 1, NEW_YORK, "2026-11-24T14:00"),  # it opens at 13 in UTC
        # The clocks change on Sunday, 29 March: it opens at 6 in UTC on Monday.
        ("2026-03-27T16:30", 1, BERLIN, "2026-03-30T06:30"),
        ("2026-11-24T08:00", 100, UTC_ZONE, "2026-12-07T18:00"),
    ],
)
def test_a_clock_runs_in_business_hours_of_the_clients_zone(
    start: str, hours: int, zone: ZoneInfo, end: str
) -> None:
    assert add(utc(start), timedelta(hours=hours), zone) == utc(end)


@given(
    start=st.integers(0, 3 * 365 * 24 * 60).map(
        lambda number: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    ),
    minutes=st.integers(1, 12_000),
    zone=st.sampled_from((BERLIN, NEW_YORK, UTC_ZONE, ZoneInfo("Asia/Kolkata"))),
)
def test_what_a_clock_adds_is_what_has_elapsed(
    start: datetime, minutes: int, zone: ZoneInfo
) -> None:
    end = add(start, timedelta(minutes=minutes), zone)
    assert elapsed(start, end, zone) == timedelta(minutes=minutes)
    local = end.astimezone(zone)
    assert local.weekday() < 5
    assert 8 <= local.hour + local.minute / 60 <= 18


async def opened(http: Any, **fields: Any) -> dict[str, Any]:
    answer = await http.post("/tickets", json={"title": "The report is slow", **fields})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize(
    ("fields", "response", "resolution"),
    [
        # Tuesday at noon. Silver, medium: 4 and 32 hours of business.
        ({}, "2026-11-24T16:00", "2026-11-27T14:00"),
        ({"client": "enterprise"}, "2026-11-24T13:00", "2026-11-24T20:00"),  # platinum: always
        ({"urgency": 0.9}, "2026-11-24T12:30", "2026-11-24T16:00"),  # critical: always, and gold
        ({"zone": "America/New_York"}, "2026-11-24T17:00", "2026-11-27T15:00"),
    ],
)
async def test_a_ticket_has_the_deadlines_of_its_level_and_zone(
    fields: dict[str, Any], response: str, resolution: str
) -> None:
    async with House().client("service-orchestration") as http:
        ticket = await opened(http, **fields)
    assert datetime.fromisoformat(ticket["first_response_due"]) == utc(response)
    assert datetime.fromisoformat(ticket["resolution_due"]) == utc(resolution)


async def test_a_clock_that_ran_out_escalates_once_at_any_later_look_by_any_copy() -> None:
    house = House()
    async with house.client("service-orchestration") as http:
        ticket = await opened(http)
        path = f"/tickets/{ticket['id']}"
        house.clock.advance(4 * 3600)
        assert (await http.get(path)).json()["escalations"] == []
        house.clock.advance(1)
        async with house.client("service-orchestration", **AGENT) as copy:
            [listed] = (await copy.get("/tickets")).json()["items"]
        [escalation] = listed["escalations"]
        assert escalation["clock"] == "first_response"
        assert escalation["due"] == ticket["first_response_due"]
        house.clock.advance(60)
        assert (await http.get(path)).json() == listed
        answered = (await http.post(f"{path}/response")).json()
        assert answered["status"] == "answered"
        house.clock.advance(7 * 86_400)
        resolved = (await http.post(f"{path}/resolution")).json()
        assert [item["clock"] for item in resolved["escalations"]] == [
            "first_response",
            "resolution",
        ]
        assert (await http.post(f"{path}/resolution")).json() == resolved


async def test_a_ticket_that_was_answered_in_time_is_not_escalated_later() -> None:
    house = House()
    async with house.client("service-orchestration") as http:
        ticket = await opened(http)
        await http.post(f"/tickets/{ticket['id']}/resolution")
        house.clock.advance(30 * 86_400)
        assert (await http.get(f"/tickets/{ticket['id']}")).json()["escalations"] == []
        assert (await http.get("/tickets/none")).status_code == 404


@pytest.mark.parametrize("path", ["/tickets", "/tasks"])
async def test_the_same_request_twice_has_one_effect(path: str) -> None:
    bodies: dict[str, Any] = {
        "/tickets": {"title": "Printer"},
        "/tasks": {"description": "Reset the password of carol"},
    }
    async with House().client("service-orchestration") as http:
        headers = {"Idempotency-Key": "k"}
        answers = [await http.post(path, json=bodies[path], headers=headers) for _ in "ab"]
        assert [answer.status_code for answer in answers] == [201, 200]
        assert answers[0].json() == answers[1].json()
        assert len((await http.get(path)).json()["items"]) == 1


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Reset the password", "password_reset"),
        ("Deploy patches", "patch_deployment"),
        ("Install an editor", "software_installation"),
        ("Access to the archive", "access_provisioning"),
        ("A new account", "account_creation"),
        ("Make tea", "manual"),
    ],
)
def test_a_description_gives_the_kind_of_task(text: str, kind: str) -> None:
    assert kind_of(text) == kind


async def test_an_unknown_zone_is_refused() -> None:
    async with House().client("service-orchestration") as http:
        for zone in ("Mars/Olympus", "../../etc/passwd", ""):
            answer = await http.post("/tickets", json={"title": "x", "zone": zone})
            assert answer.status_code == 422
