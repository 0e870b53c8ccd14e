"""Move services to revisions: register, create or update in waves, wait, and restore."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ci.aws import canonical, ecs
from ci.common.concurrency import parallel
from ci.config import Agent
from ci.errors import AwsError, ReleaseFailedError
from ci.release.model import ReleaseContext, Say, ServiceRevision, agents_of
from ci.release.plan import desired as requests
from ci.release.plan.changes import Action, Change, CurrentService, current_services
from ci.release.plan.desired import DesiredService
from ci.release.rollout.verdict import Expectation, FailureCause, Kind, Limits, Verdict
from ci.release.rollout.watch import ProgressReporter, WatchResult, poll, watch

DRAINING_SECONDS = 120.0  # at most, until a deleted service is gone


@dataclass(frozen=True, kw_only=True)
class ServiceUpdate:
    """The update of one service: what it runs now, what it is to run, and the action needed.

    `request` registers a new revision, if one is needed; `run` has its ARN afterwards.
    """

    agent: Agent
    service: str
    action: Action
    run: ServiceRevision
    current: CurrentService
    request: Mapping[str, Any] | None = None


def updates_for(changes: Iterable[Change]) -> list[ServiceUpdate]:
    """Return the updates that carry out planned changes; removals are done after the release."""
    return [_update_for(change, change.desired) for change in changes if change.desired]


def _update_for(change: Change, desired: DesiredService) -> ServiceUpdate:
    image, current = desired.image, change.current.run
    revision = "" if change.register or current is None else current.revision
    return ServiceUpdate(
        agent=desired.agent,
        service=change.service,
        action=change.action,
        run=ServiceRevision(
            revision=revision,
            version=image.version,
            digest=image.digest,
            desired=desired.count,
            settings=_with_creation(desired.arguments, current),
        ),
        current=change.current,
        request=desired.request if change.register else None,
    )


def _with_creation(arguments: str, current: ServiceRevision | None) -> str:
    """Add what only the creation of the service sets, so that a rollback can create it again."""
    now = json.loads(current.settings) if current and current.settings else {}
    kept = {key: now[key] for key in ecs.CREATION if key in now}
    return json.dumps(json.loads(arguments) | kept, sort_keys=True)


async def updates_to(
    context: ReleaseContext, runs: Mapping[str, ServiceRevision]
) -> list[ServiceUpdate]:
    """Return the updates that move services to revisions that already exist."""
    agents = agents_of(context.config, context.env)
    states = await current_services(context, list(runs))
    return [_update_to(context, agents[name], run, states[name]) for name, run in runs.items()]


def _update_to(
    context: ReleaseContext, agent: Agent, run: ServiceRevision, current: CurrentService
) -> ServiceUpdate:
    settings = requests.recorded_settings(context, agent, run.settings)
    # Without recorded settings, a service that runs the revision is left as it is.
    known = json.dumps(settings, sort_keys=True) if run.settings else ""
    run = replace(run, settings=known)
    return ServiceUpdate(
        agent=agent,
        service=context.env.service(agent),
        action=_action(current, run),
        run=run,
        current=current,
    )


async def register(
    context: ReleaseContext, updates: Sequence[ServiceUpdate]
) -> list[ServiceUpdate]:
    """Register the new revisions; return the updates with their ARNs."""

    async def one(item: ServiceUpdate) -> ServiceUpdate:
        if item.request is None:
            return item
        made = await ecs.register(context.aws, item.request)
        return replace(item, run=replace(item.run, revision=made.revision), request=None)

    return await parallel(one, updates)


async def roll_out(
    context: ReleaseContext, updates: Sequence[ServiceUpdate], say: Say
) -> tuple[WatchResult, dict[str, Expectation]]:
    """Update the services wave by wave; watch each wave until all are healthy or one has failed.

    Returns the last result, and the expectations of the services watched, by service.
    """
    began = context.clock.monotonic()
    progress = ProgressReporter(say)
    expectations: dict[str, Expectation] = {}
    result = WatchResult(verdicts={}, snapshots={}, seconds=0.0)
    for mine in _waves(context, updates):
        started = await parallel(lambda item: apply_update(context, item, say), mine)
        expectations |= {expectation.service: expectation for expectation in started}
        left = context.env.deploy_timeout - (context.clock.monotonic() - began)
        # Earlier waves are watched too: one of their services may have failed meanwhile.
        result = await watch(context, list(expectations.values()), limits(context, left), progress)
        if not result.healthy:
            break
    return result, expectations


async def bake(
    context: ReleaseContext, expectations: Sequence[Expectation], say: Say
) -> WatchResult:
    """Watch healthy services for the environment's bake time; returns early if one fails.

    This finds a container that dies some seconds after it became healthy.
    """
    seconds = float(context.env.bake_time)
    if not seconds:
        return WatchResult(verdicts={}, snapshots={}, seconds=0.0)
    say(f"watching the services for {seconds:g} s (bake time)")
    patience = limits(context, seconds + context.env.health_grace)
    return await watch(context, expectations, patience, ProgressReporter(say), at_least=seconds)


async def apply_update(context: ReleaseContext, item: ServiceUpdate, say: Say) -> Expectation:
    """Create or update one service, or leave it as it is; return what to watch for."""
    revision = item.run.number
    if item.action is Action.NONE:
        return unchanged(item)
    if item.action is Action.CREATE:
        await _wait_until_deleted(context, item.service)
        say(f"{item.agent.name}: creating the service (revision {revision})")
        request = requests.service(context, item.agent, revision=item.run.revision)
        request |= {**_settings(context, item), "desiredCount": item.run.desired}
        if "capacityProviderStrategy" in request:
            del request["launchType"]  # ECS accepts one of the two
        return _expectation(item, await ecs.create_service(context.aws, request))
    say(f"{item.agent.name}: updating the service to revision {revision}")
    settings = _settings(context, item)
    request = {
        "cluster": context.outputs.cluster,
        "service": item.service,
        "taskDefinition": item.run.revision,
        "desiredCount": item.run.desired,
        **{key: value for key, value in settings.items() if key in ecs.SETTINGS},
    }
    before = item.current.service
    if before and before.revision == item.run.revision and _failed(item.current):
        request["forceNewDeployment"] = True  # ECS does not retry a failed deployment
    return _expectation(item, await ecs.update_service(context.aws, request))


async def restore(
    context: ReleaseContext, before: Mapping[str, ServiceRevision | None], say: Say
) -> tuple[WatchResult, dict[str, Expectation]]:
    """Return all services to what they ran before, in parallel, and wait for them.

    Services that the release created are scaled to 0 and deleted. A service that cannot be
    restored or deleted raises nothing: its verdict says so, and the others are restored. A service
    whose agent the context does not have is left as it is: no release of it was recorded in full.
    """
    refused: dict[str, Verdict] = {}

    def failed(service: str, error: Exception) -> None:
        refused[service] = Verdict(kind=Kind.FAILED, text=str(error), cause=FailureCause.BROKEN)

    async def go(item: ServiceUpdate) -> Expectation:
        try:
            return await apply_update(context, item, say)
        except (AwsError, ReleaseFailedError) as error:
            failed(item.service, error)
            return unchanged(item)

    async def delete(service: str) -> Expectation:
        try:
            await remove(context, service, say)
        except (AwsError, ReleaseFailedError) as error:
            failed(service, error)
        return _no_service(context, service)

    known = agents_of(context.config, context.env)
    kept = {name: run for name, run in before.items() if run is not None and name in known}
    made = [service for service, run in before.items() if run is None]
    updates = await updates_to(context, kept)
    expectations = await parallel(go, updates)
    removed = await parallel(delete, made)
    moving = [expectation for expectation in expectations if expectation.service not in refused]
    patience = limits(context, context.env.rollback_timeout)
    result = await watch(context, moving, patience, ProgressReporter(say), to_the_end=True)
    result = replace(result, verdicts={**result.verdicts, **refused})
    return result, {item.service: item for item in [*expectations, *removed]}


def _no_service(context: ReleaseContext, service: str) -> Expectation:
    agent = agents_of(context.config, context.env).get(service)
    nothing = ServiceRevision(revision="", version="", digest="", desired=0)
    return Expectation(agent=agent.name if agent else service, service=service, run=nothing)


async def remove(context: ReleaseContext, service: str, say: Say) -> None:
    """Scale a service to 0, delete it and wait until it is gone; no error if it does not exist."""
    cluster = context.outputs.cluster
    current = (await ecs.services(context.aws, cluster, [service])).get(service)
    if current is None or current.status == "INACTIVE":
        return
    say(f"removing {service}")
    if current.status == "ACTIVE":
        await ecs.update_service(
            context.aws, {"cluster": cluster, "service": service, "desiredCount": 0}
        )
        await ecs.delete_service(context.aws, cluster, service)
    await _wait_until_deleted(context, service)


def limits(context: ReleaseContext, timeout: float) -> Limits:
    """Return the environment's limits, with a timeout in seconds."""
    return Limits(
        failures=context.env.failure_threshold,
        grace=context.env.health_grace,
        timeout=timeout,
    )


async def _wait_until_deleted(context: ReleaseContext, service: str) -> None:
    """Wait until a service is neither active nor draining, so that its name can be used again."""

    async def look() -> bool | None:
        current = (await ecs.services(context.aws, context.outputs.cluster, [service])).get(service)
        return True if current is None or current.status == "INACTIVE" else None

    if await poll(context, look, DRAINING_SECONDS) is None:
        message = f"service {service} is still draining after {DRAINING_SECONDS:g} s"
        raise ReleaseFailedError(message, hint="see its tasks in the ECS console")


def _waves(
    context: ReleaseContext, updates: Sequence[ServiceUpdate]
) -> Iterator[list[ServiceUpdate]]:
    for wave in context.config.waves():
        names = {agent.name for agent in wave}
        if mine := [item for item in updates if item.agent.name in names]:
            yield mine


def _settings(context: ReleaseContext, item: ServiceUpdate) -> dict[str, Any]:
    return requests.recorded_settings(context, item.agent, item.run.settings)


def _action(current: CurrentService, run: ServiceRevision) -> Action:
    service = current.service
    if service is None:
        return Action.CREATE
    same = service.revision == run.revision and service.desired == run.desired
    if same and run.settings:
        wanted = canonical.service(json.loads(run.settings) | {"desiredCount": run.desired})
        same = wanted == service.settings
    return Action.NONE if same and not _failed(current) else Action.CHANGE


def _failed(current: CurrentService) -> bool:
    primary = current.service.primary if current.service else None
    return primary is not None and primary.state == "FAILED"


def _expectation(item: ServiceUpdate, service: ecs.Service) -> Expectation:
    """Return the expectation of a service just created or updated, from ECS's response."""
    primary = service.primary
    known = item.current.service.primary if item.current.service else None
    began = primary is not None and (known is None or known.id != primary.id)
    return Expectation(
        agent=item.agent.name,
        service=item.service,
        run=item.run,
        deployment=primary.id if primary else "",
        # If only the count changed, the deployment is the old one: its failures may be old too.
        since=primary.created_at if primary and began else None,
    )


def unchanged(item: ServiceUpdate) -> Expectation:
    """Return the expectation of a service that is not updated."""
    primary = item.current.service.primary if item.current.service else None
    under_way = primary is not None and primary.state == "IN_PROGRESS"
    return Expectation(
        agent=item.agent.name,
        service=item.service,
        run=item.run,
        since=primary.created_at if primary and under_way else None,
    )
