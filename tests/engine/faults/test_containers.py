"""Containers of steps and services are killed or removed from outside."""

import os
from typing import Any

import anyio
import dagger
import docker
import pytest

from tests.engine.behaviours import Lab
from tests.engine.faults.looking import MINE, seen, until

# docker-py forgets a socket that could not be connected: no fault of what is tested here.
pytestmark = [
    pytest.mark.docker,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
FRESH = os.urandom(4).hex()
#: Containers end while they are listed.
ALL: dict[str, Any] = {"all": True, "ignore_removed": True}


@pytest.mark.parametrize("how", ["kill", "remove"])
async def test_a_step_whose_container_was_killed_fails_and_can_run_again(
    lab: Lab, client: docker.DockerClient, how: str
) -> None:
    before = await lab.sh(f"echo before-{how}{FRESH} > /f").sync()
    step = lab.sh(f"sleep 1.{len(how)}; cat /f", before)

    async def strike() -> None:
        container = await seen(client, f"sleep 1.{len(how)}")
        await anyio.to_thread.run_sync(
            container.kill if how == "kill" else lambda: container.remove(force=True)
        )

    async with anyio.create_task_group() as group:
        group.start_soon(strike)
        with pytest.raises(dagger.QueryError, match="killed or removed from outside"):
            await step.sync()
    assert await step.stdout() == f"before-{how}{FRESH}\n"
    assert (lab.ran(f"before-{how}"), lab.ran(f"sleep 1.{len(how)}")) == (1, 1)


async def test_steps_continue_after_their_idle_containers_were_removed(
    lab: Lab, client: docker.DockerClient
) -> None:
    before = await lab.sh(f"echo {FRESH}-idle > /f").sync()
    assert not await before.exists("/not/there")
    for each in client.containers.list(**ALL, filters=MINE):
        each.remove(force=True)
    assert await before.exists("/etc/hostname")
    assert await lab.sh("cat /f", before).stdout() == f"{FRESH}-idle\n"
    assert await before.file("/f").contents() == f"{FRESH}-idle\n"


async def test_a_service_that_died_starts_again_for_the_next_user(
    lab: Lab, client: docker.DockerClient
) -> None:
    serve = ["python3", "-m", "http.server", "8011"]
    service = lab.base.with_exposed_port(8011).as_service(args=serve)
    user = lab.base.with_service_binding("s", service)
    get = "import urllib.request as r; print(r.urlopen('http://s:8011/etc/hostname').status)"
    for number in ("1", "2"):
        c = user.with_env_variable("N", number + FRESH).with_exec(["python3", "-c", get])
        assert await c.stdout() == "200\n"
        running = await seen(client, "8011")
        running.kill()

        async def removed(name: str = running.id) -> bool:
            return all(each.id != name for each in client.containers.list(**ALL))

        await until(removed)  # the session has seen its end


async def test_the_output_of_a_dead_service_holds_no_secret(lab: Lab) -> None:
    hidden = lab.dag.set_secret("password", "very-secret-word")
    c = lab.base.with_exposed_port(1).with_secret_variable("P", hidden)
    broken = c.as_service(args=["sh", "-c", 'echo "login with $P refused" >&2; exit 4'])
    with pytest.raises(dagger.QueryError, match=r"login with \*\*\* refused"):
        await lab.sh("true", lab.base.with_service_binding("s", broken)).sync()
