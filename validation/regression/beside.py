"""Two releases side by side: a task of each agent for both of them, which belong to no service.

They are one-off tasks like those of `run-task`: stopped at the end, also after a failure; if this
process is killed, the next release or `run-task` stops those past their deadline.
"""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio

from ci.aws import ecs, elb
from ci.common.concurrency import parallel
from ci.errors import AwsError
from validation import environment
from validation.model import CheckContext, UnreadableError
from validation.production.inventory import settings
from validation.regression.releases import Releases, runs

#: Seconds that tasks may take to answer, and after which they are past their deadline.
START, LIFE = 90.0, 900
STOP, PAUSE = 20.0, 0.5
REASON = "acso validate --suite performance has ended"
VERSIONS = ("before", "current")


@dataclass(frozen=True, kw_only=True)
class Opponent:
    """A task of one agent, of one of the two releases: its name, its id and its base URL."""

    series: str
    task: str
    url: str


def series(agent: str, version: str) -> str:
    """Return the name of the requests to an agent's task of one of the `VERSIONS`."""
    return f"{agent} {version}"


@asynccontextmanager
async def opponents(context: CheckContext, found: Releases) -> AsyncIterator[list[Opponent]]:
    """Yield tasks of the agents that changed, of both releases, once they answer.

    Raises:
        UnreadableError: they cannot be started, or do not answer.
    """
    started: dict[str, str] = {}
    try:
        yield await _started(context, _requests(context, found, await _networks(context)), started)
    except AwsError as error:
        message = f"the releases cannot run side by side: {error}"
        raise UnreadableError(message) from error
    finally:
        with anyio.move_on_after(STOP, shield=True):
            await parallel(lambda task: _stop(context, task), started)


async def _networks(context: CheckContext) -> dict[str, Any]:
    found = await environment.running(context)
    return {
        agent: settings(service).get("networkConfiguration")
        for agent, service in found.services.items()
    }


def _requests(
    context: CheckContext, found: Releases, networks: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the RunTask requests, by series."""
    sides = zip(VERSIONS, (found.before, found.current), strict=True)
    deadline = int(time.time()) + LIFE
    return {
        series(agent, version): {
            "cluster": context.env.cluster,
            "taskDefinition": runs(release)[agent]["revision"],
            "launchType": "FARGATE",
            "networkConfiguration": networks[agent],
            # As ci.release.observe.one_off_tasks reads it.
            "startedBy": f"acso-run-task/{deadline}/{version}",
        }
        for version, release in sides
        if release is not None
        for agent in found.changed
        if networks.get(agent)
    }


async def _started(
    context: CheckContext, requests: Mapping[str, dict[str, Any]], started: dict[str, str]
) -> list[Opponent]:
    """Start the tasks, adding each to `started` at once, and wait until all answer."""

    async def one(name: str) -> Opponent:
        task = await ecs.run_task(context.aws, requests[name])
        started[task.id] = name
        return Opponent(series=name, task=task.id, url=await _answering(context, name, task.id))

    return await parallel(one, requests)


async def _answering(context: CheckContext, name: str, task: str) -> str:
    """Return the base URL of a task once its agent answers."""
    agent = context.config.agent(name.partition(" ")[0])
    last = "no address"
    with anyio.move_on_after(START):
        while True:
            found = await ecs.tasks(context.aws, context.env.cluster, [task])
            _require_alive(name, found)
            if found[0].status == "RUNNING" and found[0].address:
                url = f"http://{found[0].address}:{agent.port}"
                answer = await elb.get(f"{url}{agent.health_path}")
                if answer.status == 200:
                    return url
                last = str(answer)
            await anyio.sleep(PAUSE)
    raise UnreadableError(f"a task of {name} does not answer within {START:g} s: {last}")


def _require_alive(name: str, found: Sequence[ecs.Task]) -> None:
    if not found:
        raise UnreadableError(f"a task of {name} is gone")
    if found[0].status == "STOPPED":
        why = found[0].container_reason or found[0].stopped_reason
        raise UnreadableError(f"a task of {name} stopped: {why}")


async def _stop(context: CheckContext, task: str) -> None:
    await ecs.stop_task(context.aws, context.env.cluster, task, reason=REASON)
