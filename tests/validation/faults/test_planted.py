"""Each fault of the embedded AWS is seen in it while it is planted, and gone after its repair."""

from typing import Any

import pytest

from ci.release import ReleaseContext
from tests.local.releases.environment import World
from tests.validation.faults.fault import Fault, OnEmulator
from tests.validation.faults.planted import FAULTS

pytestmark = pytest.mark.docker


def needing(*needs: str) -> list[Any]:
    return [
        pytest.param(item, id=item.id)
        for item in FAULTS
        if isinstance(item.planted, OnEmulator) and item.planted.needs in needs
    ]


async def assert_planted_and_repaired(fault: Fault, place: ReleaseContext) -> None:
    planted = fault.planted
    assert isinstance(planted, OnEmulator)
    before = await planted.read(place)
    assert not planted.shows(before)
    async with planted.planted(place):
        during = await planted.read(place)
        assert planted.shows(during), during
    after = await planted.read(place)
    assert not planted.shows(after), after


@pytest.mark.parametrize("fault", needing("stack"))
async def test_a_fault_of_the_stack_is_planted_and_repaired(
    fault: Fault, place: ReleaseContext
) -> None:
    planted = fault.planted
    assert isinstance(planted, OnEmulator)
    before = await planted.read(place)
    await assert_planted_and_repaired(fault, place)
    assert await planted.read(place) == before


async def test_a_fault_is_repaired_after_a_failure(place: ReleaseContext) -> None:
    (fault,) = (item for item in FAULTS if item.id == "key-disabled")
    assert isinstance(fault.planted, OnEmulator)
    with pytest.raises(ZeroDivisionError):
        async with fault.planted.planted(place):
            raise ZeroDivisionError
    assert not fault.planted.shows(await fault.planted.read(place))


@pytest.mark.matrix  # rollouts: 3 s a fault
@pytest.mark.parametrize("fault", needing("services", "releases"))
async def test_a_fault_of_services_is_planted_and_repaired(fault: Fault, released: World) -> None:
    await assert_planted_and_repaired(fault, released.context)
