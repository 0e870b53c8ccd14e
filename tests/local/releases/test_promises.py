"""What the README promises of releases beside crashes: slow starts, lies, validation, load, kills.

Slow, because containers start and stop.
"""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from ci import release
from ci.release import OutcomeKind
from ci.release.records.release import FINAL_STATES, State
from tests.local.releases.environment import ROOT, World, load
from tests.local.releases.test_release import HUNTER, command, everywhere

pytestmark = pytest.mark.docker
LOAD = 10  # busy processes


@pytest.fixture
async def good(world: World) -> list[release.Image]:
    """The good images, deployed."""
    images = world.images("good")
    outcome = await world.deploy(images)
    assert outcome.ok, outcome.text()
    return images


@pytest.mark.usefixtures("good")
async def test_an_agent_that_takes_seconds_to_listen_is_waited_for(world: World) -> None:
    outcome = await world.deploy(world.images("good", threat_hunter="slow"))
    assert outcome.kind is OutcomeKind.DEPLOYED
    assert await world.versions() == everywhere(world, "good", threat_hunter="slow")


@pytest.mark.usefixtures("good")
async def test_an_agent_that_answers_as_another_version_is_taken_back(world: World) -> None:
    outcome = await world.deploy(world.images("good", threat_hunter="liar"))
    assert outcome.kind is OutcomeKind.ROLLED_BACK
    assert HUNTER in outcome.why
    assert "another" in outcome.why
    assert await world.versions() == everywhere(world, "good")


@pytest.mark.usefixtures("good")
async def test_a_stable_release_that_fails_its_validation_is_taken_back(world: World) -> None:
    outcome = await world.deploy(world.images("good-2"), valid=False)
    assert outcome.kind is OutcomeKind.ROLLED_BACK
    assert "the moon is in the wrong quarter" in outcome.why
    assert await world.versions() == everywhere(world, "good")
    assert (await world.records())[0].state is State.ROLLED_BACK


@pytest.mark.usefixtures("good")
async def test_a_rollout_of_all_services_loses_no_request(world: World) -> None:
    urls = [world.context.url(agent.name) + "/health" for agent in world.context.config.agents]
    async with load(urls) as answers:
        outcome = await world.deploy(world.images("good-3"))
    assert outcome.kind is OutcomeKind.DEPLOYED
    assert await world.versions() == everywhere(world, "good-3")
    assert answers["200"] > 20
    assert set(answers) == {"200"}, answers


@pytest.mark.matrix
@pytest.mark.parametrize("point", range(10))
@pytest.mark.usefixtures("good")
async def test_a_deploy_killed_anywhere_is_all_old_or_all_new_after_the_next_command(
    world: World, point: int
) -> None:
    name = f"good-kill-{point}"
    images = world.images(name)
    kill_after(world, images, lines=4 * point)
    back = point % 2 == 1
    outcome = await (world.rollback() if back else world.deploy(images))
    assert outcome.ok, outcome.text()
    versions = await world.versions()
    assert versions in (everywhere(world, "good"), everywhere(world, name))
    records = await world.records()
    assert all(record.state in FINAL_STATES for record in records)
    current = next(record for record in records if record.state is State.SUCCEEDED)
    assert {entry.agent: run.version for entry in current.entries if (run := entry.after)} == (
        versions
    )


def kill_after(world: World, images: list[release.Image], *, lines: int) -> None:
    """Deploy in a process of its own and kill it after so many lines of progress, or at the end."""
    with subprocess.Popen(
        command(world, images),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        for number, line in enumerate(process.stdout, 1):
            if number >= lines or line.startswith("validating"):
                break
        process.kill()
        process.stdout.read()


@pytest.fixture
def busy() -> Iterator[None]:
    """A machine with ten busy processes."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(LOAD)]
    yield
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.matrix
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("good", "busy")
async def test_twenty_good_deploys_on_a_busy_machine_are_twenty_successes(world: World) -> None:
    outcomes = [await world.deploy(world.images(f"good-{number % 2}")) for number in range(20)]
    assert [outcome.text() for outcome in outcomes if not outcome.ok] == []
