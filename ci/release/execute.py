"""Carrying a release out: forward to success, or back as a whole, each step recorded before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio

from ci.common.concurrency import parallel, until
from ci.errors import AcsoError, LockedError
from ci.release.model import Place, Run, Say, Validate
from ci.release.observe import notifications
from ci.release.observe.failures import TaskFailure, collect
from ci.release.options import Manner, OnCancel
from ci.release.outcome import Ending, Outcome, ServiceResult, ending_of
from ci.release.records import table
from ci.release.records.lock import Held
from ci.release.records.release import Entry, Release, State, advance
from ci.release.rollout import strategy
from ci.release.rollout.services import Aim, bake, register
from ci.release.rollout.verdict import Cause, Goal, Kind
from ci.release.rollout.watch import Watched

LAST_WORDS = 10.0  # seconds that the record of an interruption may take
STOPPED = "the user stopped it"


@dataclass(frozen=True, kw_only=True)
class Context:
    """What every step of a release needs."""

    place: Place
    held: Held
    say: Say
    validate: Validate
    manner: Manner = field(default_factory=Manner)
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class _End:
    """How the way forward ended: `why` is None for success; causes are those of services."""

    why: str | None = None
    failures: tuple[TaskFailure, ...] = ()
    causes: tuple[Cause, ...] = ()
    stopped: bool = False


class _FailedError(Exception):
    """A step failed. Ends in the way back, never seen outside."""

    def __init__(self, end: _End) -> None:
        super().__init__(end.why)
        self.end = end


async def execute(context: Context, release: Release, aims: Sequence[Aim]) -> Outcome:
    """Carry a recorded release out and return how it ended.

    Args:
        context: where, under which lock, and who listens.
        release: the release, recorded as planned.
        aims: what each service is to run.

    Raises:
        LockedError: another process took the environment over; nothing more is touched.
    """
    began = context.place.clock.monotonic()
    journal = _Journal(context, release)
    context.manner.notify(notifications.started(release))
    try:
        end = await until(lambda: _forward(journal, aims), context.manner.stop.asked)
        end = end or await _stopped(journal)
    except anyio.get_cancelled_exc_class():
        with anyio.CancelScope(shield=True), anyio.move_on_after(LAST_WORDS):
            await journal.interrupted()
        raise
    if end is None:
        outcome = replace(_ended(journal, Ending.INTERRUPTED), why=STOPPED)
    elif end.why is None:
        outcome = _ended(journal, Ending.DEPLOYED)
    else:
        # From here on nothing stops halfway: an environment between two releases is the one
        # state that nobody wants.
        with anyio.CancelScope(shield=True):
            outcome = await _backward(journal, end)
    return replace(outcome, seconds=context.place.clock.monotonic() - began, notes=context.notes)


async def problems(
    place: Place, watched: Watched, goals: Mapping[str, Goal]
) -> tuple[str, tuple[TaskFailure, ...]]:
    """Return why services are not what they should be, with what their tasks left behind."""
    bad = [s for s, verdict in watched.verdicts.items() if verdict.kind is Kind.FAILED]
    texts = [f"agent {goals[s].agent} {_sentence(watched.verdicts[s].text)}" for s in bad]
    found = await parallel(
        lambda s: collect(place, goals[s], watched.verdicts[s], watched.seen.get(s)), bad
    )
    return "; ".join(texts), tuple(failure for group in found for failure in group)


class _Journal:
    """The release's record, written before each step."""

    def __init__(self, context: Context, release: Release) -> None:
        self.context, self.release = context, release

    async def step(self, state: State, *, why: str = "") -> None:
        now = self.context.place.clock.now()
        await self.write(advance(self.release, state, now, why=why))

    async def write(self, release: Release) -> None:
        # A write that is begun is finished: what is recorded and what is known here never differ.
        with anyio.CancelScope(shield=True):
            await table.write(self.context.place, release, self.context.held.token)
        self.release = release

    async def interrupted(self) -> None:
        if not self.release.finished and self.release.state is not State.INTERRUPTED:
            await self.step(State.INTERRUPTED, why=STOPPED)


async def _forward(journal: _Journal, aims: Sequence[Aim]) -> _End:
    """Go to success; returns how that ended."""
    try:
        await _steps(journal, aims)
    except _FailedError as error:
        return error.end
    except LockedError:
        raise
    except AcsoError as error:
        return _End(why=str(error))
    return _End()


async def _stopped(journal: _Journal) -> _End | None:
    """Record that the user stopped the release; returns None if it is to stay as it is."""
    context = journal.context
    if journal.release.state is State.SUCCEEDED:
        return _End()  # the stop came too late
    await journal.interrupted()
    env = f"--env {context.place.env.name}"
    context.say(f"interrupted: `acso deploy {env}` goes on, `acso rollback {env}` undoes it")
    back = context.manner.on_cancel is OnCancel.ROLLBACK
    if not back:
        context.say("stop once more (Ctrl-C) to go back at once")
    if back or await context.manner.stop.asked_again():
        context.say("going back as asked; this is not stopped halfway")
        return _End(why=STOPPED, stopped=True)
    return None


async def _steps(journal: _Journal, aims: Sequence[Aim]) -> None:
    context = journal.context
    await journal.step(State.DEPLOYING)
    aims = await register(context.place, aims)
    runs = {item.service: item.run for item in aims}
    entries = tuple(replace(e, after=runs.get(e.service, e.after)) for e in journal.release.entries)
    await journal.write(replace(journal.release, entries=entries))
    way = strategy.of(context.place.env)
    watched, goals = await way.forward(context.place, aims, context.say)
    await _good(context, watched, goals)
    await journal.step(State.VALIDATING)
    await _prove(context, goals)
    await journal.step(State.SUCCEEDED)


async def _good(context: Context, watched: Watched, goals: Mapping[str, Goal]) -> None:
    """Raise with all that can be found out unless every service is what it should be."""
    if watched.good:
        return
    context.say("failed; collecting the reasons")
    why, failures = await problems(context.place, watched, goals)
    causes = tuple(verdict.cause for verdict in watched.verdicts.values() if verdict.cause)
    raise _FailedError(_End(why=why, failures=failures, causes=causes))


async def _prove(context: Context, goals: Mapping[str, Goal]) -> None:
    """Validate while watching for the bake time; the first that fails ends the other."""

    async def validate() -> None:
        context.say("validating")
        report = await context.validate()
        if not report.ok:
            raise _FailedError(_End(why=f"validation failed: {report.summary()}"))

    async def stay() -> None:
        watched = await bake(context.place, list(goals.values()), context.say)
        await _good(context, watched, goals)

    await parallel(lambda work: work(), (validate, stay))


async def _backward(journal: _Journal, end: _End) -> Outcome:
    """Return every service to what it ran before; records and tells whether that worked."""
    place, say = journal.context.place, journal.context.say
    why, failures, problem = end.why or "", end.failures, ""
    watched = Watched(verdicts={}, seen={}, seconds=0.0)
    try:
        kept = replace(journal.release, failures=tuple(item.data() for item in failures))
        say(f"{why.splitlines()[0]}; going back to {kept.base or 'what was before'}")
        await journal.write(advance(kept, State.ROLLING_BACK, place.clock.now(), why=why))
        journal.context.manner.notify(notifications.going_back(journal.release, why))
        watched, goals = await strategy.of(place.env).back(place, journal.release.before, say)
        if not watched.good:
            problem, more = await problems(place, watched, goals)
            failures += more
        await _came_back(journal, end, problem)
    except LockedError:
        raise
    except AcsoError as error:
        problem = str(error)
    outcome = _ended(journal, _ending(journal, end, problem), watched)
    return replace(outcome, why=why, failures=failures, way_back=problem)


async def _came_back(journal: _Journal, end: _End, problem: str) -> None:
    """Record the end of the way back.

    One that failed leaves the record unfinished: services are between two releases, and the next
    `deploy` or `rollback` is to take that up.
    """
    if problem:
        why = f"{end.why}; the way back failed: {problem}"
        await journal.write(replace(journal.release, why=why))
    else:
        ended = replace(journal.release, ending=str(_ending(journal, end, problem)))
        await journal.write(advance(ended, State.ROLLED_BACK, journal.context.place.clock.now()))


def _ending(journal: _Journal, end: _End, problem: str) -> Ending:
    first = not any(journal.release.before.values())
    return ending_of(end.causes, first=first, stopped=end.stopped, came_back=not problem)


def _ended(journal: _Journal, ending: Ending, watched: Watched | None = None) -> Outcome:
    release = journal.release
    bad = {
        service: verdict.text
        for service, verdict in (watched.verdicts if watched else {}).items()
        if verdict.kind is Kind.FAILED
    }
    return Outcome(
        ending=ending,
        environment=release.environment,
        release=release.id,
        services=tuple(
            _result(journal.context.place, e, ending, bad.get(e.service, ""))
            for e in release.entries
        ),
        seconds=0.0,
        back_on=release.base,
    )


def _result(place: Place, entry: Entry, ending: Ending, problem: str) -> ServiceResult:
    run: Run | None = entry.after if ending is Ending.DEPLOYED else entry.before
    return ServiceResult(
        agent=entry.agent,
        service=entry.service,
        action=entry.action,
        url=place.url(entry.agent),
        run=run,
        problem=problem,
    )


def _sentence(text: str) -> str:
    """Return a verdict's text as it follows "agent NAME"."""
    return text if text.startswith(("does ", "is ", "answers ")) else f"is not well: {text}"
