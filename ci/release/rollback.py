"""Going back by hand: to the last validated release before the current one, or to a named one."""

from dataclasses import replace

from ci.errors import NothingToRollBackError, RollbackFailedError
from ci.release import store
from ci.release.deploy import take_up
from ci.release.execute import Context, execute, problems
from ci.release.lock import Held, under_lock
from ci.release.model import Place, Request, Run, Say, Validate, agents_of
from ci.release.outcome import Ending, Outcome
from ci.release.plan import current
from ci.release.record import (
    Entry,
    History,
    Kind,
    Release,
    State,
    advance,
    begin,
    next_id,
    stamp,
)
from ci.release.rollout import aims_at, take_back


async def rollback(
    place: Place, to: str | None, request: Request, validate: Validate, say: Say
) -> Outcome:
    """Return every service to an earlier validated release, verify and record that.

    A release that an earlier process left unfinished is undone by this: the target is then the
    last validated release; without any, the services that it made are removed.

    Args:
        place: the environment.
        to: id of a validated release; None: the last one before the current one.
        request: who asks; recorded.
        validate: judges the environment once all services are stable.
        say: told of progress, a line at a time.

    Raises:
        NothingToRollBackError: there is no such release.
        UsageError: `to` is not on record as validated.
        LockedError: another process releases here.
    """

    async def work(held: Held) -> Outcome:
        context = Context(place=place, held=held, say=say, validate=validate)
        history = await store.history(place)
        target = history.target(to)
        if target is None and history.unfinished:
            return await _undo(context, history)
        if target is None:
            message = f"{place.env.name} has no validated release before the current one"
            raise NothingToRollBackError(message, hint=f"./acso status --env {place.env.name}")
        say(f"going back to release {target.id}")
        release = await _planned(place, request, history, target, held)
        context = await take_up(context, history, release)
        aims = await aims_at(place, release.after)
        outcome = await execute(context, release, aims)
        if outcome.ending is Ending.DEPLOYED:
            return replace(outcome, ending=Ending.RESTORED, back_on=target.origin)
        return outcome

    return await under_lock(place, "rollback", say, work)


async def _planned(
    place: Place, request: Request, history: History, target: Release, held: Held
) -> Release:
    """Return the release that a rollback is: the target's revisions, and what is there now."""
    now = place.clock.now()
    # An agent added since then has no place in the target: it stays as it is.
    services = dict.fromkeys([*target.after, *agents_of(place.config, place.env)])
    states = await current(place, list(services))
    entries = []
    for service, agent in agents_of(place.config, place.env).items():
        running = states[service].run
        after: Run | None = target.after.get(service, running)
        if after is None:
            continue
        entries.append(
            Entry(
                agent=agent.name,
                service=service,
                action="none" if after == running else "change",
                before=history.before(service, running),
                after=after,
            )
        )
    release = Release(
        id=next_id((item.id for item in history.releases), now),
        environment=place.env.name,
        kind=Kind.ROLLBACK,
        state=State.PLANNED,
        entries=tuple(entries),
        request=request,
        created_at=stamp(now),
        holder=held.holder,
        base=history.current.id if history.current else "",
        origin=target.origin,
        took_over=tuple(item.id for item in history.unfinished),
    )
    return begin(release, now)


async def _undo(context: Context, history: History) -> Outcome:
    """Bring the services back to where they were before the unfinished releases."""
    place, say = context.place, context.say
    began = place.clock.monotonic()
    newest = history.unfinished[0]
    services = {entry.service: entry for item in history.unfinished for entry in item.entries}
    before = {service: history.before(service, None) for service in services}
    watched, goals = await take_back(place, before, say)
    why, failures = await problems(place, watched, goals)
    if why:
        raise RollbackFailedError(why, hint=f"./acso status --env {place.env.name}")
    for item in history.unfinished:
        state = f"stopped while {item.state.replace('_', ' ')} ({item.holder}); undone by rollback"
        ended = advance(item, State.FAILED, place.clock.now(), why=state)
        owner = history.owners.get(item.id, "")
        await store.write(place, ended, context.held.token, took_from=owner)
    return Outcome(
        ending=Ending.UNDONE,
        environment=place.env.name,
        release=newest.id,
        services=(),
        seconds=place.clock.monotonic() - began,
        failures=failures,
    )
