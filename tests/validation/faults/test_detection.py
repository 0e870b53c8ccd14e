"""Which planted faults the suites find: held against faults that were written before the checks."""

import dataclasses
from collections.abc import Iterable, Mapping

import pytest

from ci.aws.session import EMBEDDED_ACCOUNT
from ci.release import ReleaseContext
from tests.local.releases.environment import World
from tests.validation.faults.fault import Fault, OnEmulator
from tests.validation.faults.planted import FAULTS
from validation import Check, CheckContext, Status, run_checks, smoke
from validation.production import CHECKS

pytestmark = [pytest.mark.docker, pytest.mark.matrix]

#: Faults that no check finds here, and why.
MISSED: Mapping[str, str] = {
    "endpoint-not-in-a-route-table": "network.endpoints: the embedded AWS has no NAT gateways",
    "stale-version": "the stand-ins for agents answer with what they were started with",
    "state-table-missing": "the stand-ins for agents have no state",
}


def impatient(checks: Iterable[Check]) -> list[Check]:
    """Return checks that look once: a planted fault stays until it is repaired."""
    return [dataclasses.replace(check, patience=0, seconds=30) for check in checks]


async def statuses(place: ReleaseContext, checks: list[Check]) -> dict[str, Status]:
    """Return what each check says of an environment now."""
    context = CheckContext(
        aws=place.aws, config=place.config, env=place.env, url=place.outputs.url.rstrip("/")
    )
    report = await run_checks("all", checks, context, EMBEDDED_ACCOUNT)
    return {result.check.id: result.status for result in report.results}


async def found_by(fault: Fault, place: ReleaseContext, checks: list[Check]) -> set[str]:
    """Return the checks that say otherwise while a fault is planted."""
    assert isinstance(fault.planted, OnEmulator)
    before = await statuses(place, checks)
    async with fault.planted.planted(place):
        during = await statuses(place, checks)
    return {
        check
        for check, status in during.items()
        if status is not before[check] and status in (Status.FAIL, Status.NOT_EXAMINED)
    }


async def assert_detection(faults: list[Fault], place: ReleaseContext, checks: list[Check]) -> None:
    """Compare what is found of all faults with what should be, and print it."""
    known = {check.id for check in checks}
    missed: list[str] = []
    wrong: list[str] = []
    alarms: list[str] = []
    right = 0
    for fault in faults:
        found = await found_by(fault, place, checks)
        wanted = set(fault.found_by) & known
        if fault.harmless:
            alarms += [f"{fault.id}: {', '.join(sorted(found))}"] * bool(found)
        elif found & wanted:
            right += 1
        elif wanted and fault.id not in MISSED:
            (wrong if found else missed).append(f"{fault.id}: {', '.join(sorted(found or wanted))}")
    print(
        f"\n{right} found, {len(missed)} missed, {len(wrong)} by another check, {len(alarms)} false"
    )
    print("\n".join([*missed, *(f"other: {text}" for text in wrong), *alarms]))
    assert (missed, wrong, alarms) == ([], [], [])


@pytest.mark.timeout(1200)
async def test_planted_faults_are_found_by_their_checks(released: World) -> None:
    faults = [item for item in FAULTS if isinstance(item.planted, OnEmulator)]
    assert len(faults) >= 40
    await assert_detection(faults, released.context, impatient([*smoke.CHECKS, *CHECKS]))
