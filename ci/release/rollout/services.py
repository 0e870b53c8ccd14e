"""Bringing services to revisions: register, create or update in waves, wait, and take back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ci.aws import ecs
from ci.common.concurrency import parallel
from ci.config import Agent
from ci.errors import AwsError, ReleaseFailedError
from ci.release.model import ReleaseContext, Say, ServiceRevision, agents_of
from ci.release.plan import desired as requests
from ci.release.plan.changes import Action, Change, CurrentService, current_services
from ci.release.rollout.verdict import Cause, Goal, Kind, Limits, Verdict
from ci.release.rollout.watch import Teller, Watched, poll, watch

DRAINING_SECONDS = 120.0  # that a deleted service may take to be gone


@dataclass(frozen=True, kw_only=True)
class Aim:
    """One service on its way: what it is to run, and what it takes to get there.

    `request` registers a new revision, which `run` names once that is done.
    """

    agent: Agent
    service: str
    action: Action
    run: ServiceRevision
    found: CurrentService
    request: Mapping[str, Any] | None = None


def aim(change: Change) -> Aim:
    """Return the aim of a planned change."""
    image, found = change.wanted.image, change.current.run
    revision = "" if change.register or found is None else found.revision
    return Aim(
        agent=change.wanted.agent,
        service=change.wanted.service,
        action=change.action,
        run=ServiceRevision(
            revision=revision,
            version=image.version,
            digest=image.digest,
            desired=change.wanted.desired,
        ),
        found=change.current,
        request=change.wanted.request if change.register else None,
    )


async def aims_at(context: ReleaseContext, runs: Mapping[str, ServiceRevision]) -> list[Aim]:
    """Return the aims that bring services to revisions that exist already."""
    agents = agents_of(context.config, context.environment)
    states = await current_services(context, list(runs))
    return [
        Aim(
            agent=agents[service],
            service=service,
            action=_action(states[service], run),
            run=run,
            found=states[service],
        )
        for service, run in runs.items()
    ]


async def register(context: ReleaseContext, aims: Sequence[Aim]) -> list[Aim]:
    """Register the revisions that are new; returns the aims with them."""

    async def one(item: Aim) -> Aim:
        if item.request is None:
            return item
        made = await ecs.register(context.aws, item.request)
        return replace(item, run=replace(item.run, revision=made.revision), request=None)

    return await parallel(one, aims)


async def roll(
    context: ReleaseContext, aims: Sequence[Aim], say: Say
) -> tuple[Watched, dict[str, Goal]]:
    """Start the services wave by wave and watch each wave until it is good or one has failed.

    Returns what was seen last and the goals of the services looked at, by service.
    """
    began = context.clock.monotonic()
    tell = Teller(say)
    goals: dict[str, Goal] = {}
    watched = Watched(verdicts={}, seen={}, seconds=0.0)
    for wave in context.config.waves():
        names = {agent.name for agent in wave}
        mine = [item for item in aims if item.agent.name in names]
        if not mine:
            continue
        started = await parallel(lambda item: start(context, item, say), mine)
        goals |= {goal.service: goal for goal in started}
        left = context.environment.deploy_timeout - (context.clock.monotonic() - began)
        # Earlier waves are looked at again: a service that died since is no success.
        watched = await watch(context, list(goals.values()), limits(context, left), tell)
        if not watched.good:
            break
    return watched, goals


async def bake(context: ReleaseContext, goals: Sequence[Goal], say: Say) -> Watched:
    """Go on watching services that are good, for the environment's bake time.

    A container that dies some seconds after it became healthy is found by this. Ends before that
    if one fails.
    """
    seconds = float(context.environment.bake_time)
    if not seconds:
        return Watched(verdicts={}, seen={}, seconds=0.0)
    say(f"watching for {seconds:g} s whether all stays well")
    patience = limits(context, seconds + context.environment.health_grace)
    return await watch(context, goals, patience, Teller(say), at_least=seconds)


async def start(context: ReleaseContext, item: Aim, say: Say) -> Goal:
    """Create or update one service, or leave it; returns what to watch for."""
    revision = item.run.number
    if item.action is Action.NONE:
        return looked_at(item)
    if item.action is Action.CREATE:
        await _gone(context, item.service)
        say(f"{item.agent.name}: creating its service (revision {revision})")
        request = requests.service(context, item.agent, revision=item.run.revision)
        request["desiredCount"] = item.run.desired
        return _goal(item, await ecs.create_service(context.aws, request))
    say(f"{item.agent.name}: updating its service to revision {revision}")
    request = requests.update(
        context, item.agent, revision=item.run.revision, desired=item.run.desired
    )
    before = item.found.service
    if before and before.revision == item.run.revision and _failed(item.found):
        request["forceNewDeployment"] = True  # nothing else starts a failed deployment again
    return _goal(item, await ecs.update_service(context.aws, request))


async def take_back(
    context: ReleaseContext, before: Mapping[str, ServiceRevision | None], say: Say
) -> tuple[Watched, dict[str, Goal]]:
    """Bring every service back to what it is to return to, all together, and wait for it.

    Services that were made by the release are scaled to 0 and deleted. Nothing is raised for a
    service that does not come back, or that AWS refuses to bring back: the verdicts say so, and
    the others come back all the same.
    """
    refused: dict[str, Verdict] = {}

    async def go(item: Aim) -> Goal:
        try:
            return await start(context, item, say)
        except (AwsError, ReleaseFailedError) as error:
            refused[item.service] = Verdict(kind=Kind.FAILED, text=str(error), cause=Cause.BROKEN)
            return looked_at(item)

    kept = {service: run for service, run in before.items() if run is not None}
    made = [service for service, run in before.items() if run is None]
    aims = await aims_at(context, kept)
    goals = await parallel(go, aims)
    await parallel(lambda service: remove(context, service, say), made)
    moving = [goal for goal in goals if goal.service not in refused]
    patience = limits(context, context.environment.rollback_timeout)
    watched = await watch(context, moving, patience, Teller(say), to_the_end=True)
    watched = replace(watched, verdicts={**watched.verdicts, **refused})
    return watched, {goal.service: goal for goal in goals}


async def remove(context: ReleaseContext, service: str, say: Say) -> None:
    """Scale a service to 0, delete it and wait until it is gone; none there is fine."""
    cluster = context.outputs.cluster
    found = (await ecs.services(context.aws, cluster, [service])).get(service)
    if found is None or found.status == "INACTIVE":
        return
    say(f"removing {service}")
    if found.status == "ACTIVE":
        await ecs.update_service(
            context.aws, {"cluster": cluster, "service": service, "desiredCount": 0}
        )
        await ecs.delete_service(context.aws, cluster, service)
    await _gone(context, service)


def limits(context: ReleaseContext, timeout: float) -> Limits:
    """Return the environment's limits with the seconds that are left."""
    return Limits(
        failures=context.environment.failure_threshold,
        grace=context.environment.health_grace,
        timeout=timeout,
    )


async def _gone(context: ReleaseContext, service: str) -> None:
    """Wait until a service is neither running nor draining: its name is free then."""

    async def look() -> bool | None:
        found = (await ecs.services(context.aws, context.outputs.cluster, [service])).get(service)
        return True if found is None or found.status == "INACTIVE" else None

    if await poll(context, look, DRAINING_SECONDS) is None:
        message = f"service {service} is still draining after {DRAINING_SECONDS:g} s"
        raise ReleaseFailedError(message, hint="look at its tasks in the ECS console")


def _action(found: CurrentService, run: ServiceRevision) -> Action:
    if found.service is None:
        return Action.CREATE
    same = found.service.revision == run.revision and found.service.desired == run.desired
    return Action.NONE if same and not _failed(found) else Action.CHANGE


def _failed(found: CurrentService) -> bool:
    primary = found.service.primary if found.service else None
    return primary is not None and primary.state == "FAILED"


def _goal(item: Aim, service: ecs.Service) -> Goal:
    """Return the goal of a service just created or updated, from the reply's own deployment."""
    primary = service.primary
    known = item.found.service.primary if item.found.service else None
    began = primary is not None and (known is None or known.id != primary.id)
    return Goal(
        agent=item.agent.name,
        service=item.service,
        run=item.run,
        deployment=primary.id if primary else "",
        # The same deployment as before (only its size changed) may have failed long ago.
        since=primary.created_at if primary and began else None,
    )


def looked_at(item: Aim) -> Goal:
    """Return the goal of a service that is not touched."""
    primary = item.found.service.primary if item.found.service else None
    under_way = primary is not None and primary.state == "IN_PROGRESS"
    return Goal(
        agent=item.agent.name,
        service=item.service,
        run=item.run,
        since=primary.created_at if primary and under_way else None,
    )
