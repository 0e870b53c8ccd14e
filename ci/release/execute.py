"""Carrying a release out: forward to success, or back as a whole, each step recorded before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio

from ci.common.concurrency import parallel, until
from ci.errors import AcsoError, LockedError
from ci.release.model import ReleaseContext, Say, ServiceRevision, Validate
from ci.release.observe import notifications
from ci.release.observe.failures import TaskFailure, collect
from ci.release.options import OnCancel, ReleaseOptions
from ci.release.outcome import Outcome, OutcomeKind, ServiceResult, outcome_kind
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
class Execution:
    """What every step of a release needs."""

    context: ReleaseContext
    held: Held
    say: Say
    validate: Validate
    options: ReleaseOptions = field(default_factory=ReleaseOptions)
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


async def execute(execution: Execution, release: Release, aims: Sequence[Aim]) -> Outcome:
    """Carry a recorded release out and return how it ended.

    Args:
        execution: where, under which lock, and who listens.
        release: the release, recorded as planned.
        aims: what each service is to run.

    Raises:
        LockedError: another process took the environment over; nothing more is touched.
    """
    began = execution.context.clock.monotonic()
    journal = _Journal(execution, release)
    execution.options.notify(notifications.started(release))
    try:
        end = await until(lambda: _forward(journal, aims), execution.options.stop.asked)
        end = end or await _stopped(journal)
    except anyio.get_cancelled_exc_class():
        with anyio.CancelScope(shield=True), anyio.move_on_after(LAST_WORDS):
            await journal.interrupted()
        raise
    if end is None:
        outcome = replace(_ended(journal, OutcomeKind.INTERRUPTED), why=STOPPED)
    elif end.why is None:
        outcome = _ended(journal, OutcomeKind.DEPLOYED)
    else:
        # From here on nothing stops halfway: an environment between two releases is the one
        # state that nobody wants.
        with anyio.CancelScope(shield=True):
            outcome = await _backward(journal, end)
    return replace(
        outcome, seconds=execution.context.clock.monotonic() - began, notes=execution.notes
    )


async def problems(
    context: ReleaseContext, watched: Watched, goals: Mapping[str, Goal]
) -> tuple[str, tuple[TaskFailure, ...]]:
    """Return why services are not what they should be, with what their tasks left behind."""
    bad = [s for s, verdict in watched.verdicts.items() if verdict.kind is Kind.FAILED]
    texts = [f"agent {goals[s].agent} {_sentence(watched.verdicts[s].text)}" for s in bad]
    found = await parallel(
        lambda s: collect(context, goals[s], watched.verdicts[s], watched.seen.get(s)), bad
    )
    return "; ".join(texts), tuple(failure for group in found for failure in group)


class _Journal:
    """The release's record, written before each step."""

    def __init__(self, execution: Execution, release: Release) -> None:
        self.execution, self.release = execution, release

    async def step(self, state: State, *, why: str = "") -> None:
        now = self.execution.context.clock.now()
        await self.write(advance(self.release, state, now, why=why))

    async def write(self, release: Release) -> None:
        # A write that is begun is finished: what is recorded and what is known here never differ.
        with anyio.CancelScope(shield=True):
            await table.write(self.execution.context, release, self.execution.held.token)
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
    execution = journal.execution
    if journal.release.state is State.SUCCEEDED:
        return _End()  # the stop came too late
    await journal.interrupted()
    env = f"--env {execution.context.environment.name}"
    execution.say(f"interrupted: `acso deploy {env}` goes on, `acso rollback {env}` undoes it")
    back = execution.options.on_cancel is OnCancel.ROLLBACK
    if not back:
        execution.say("stop once more (Ctrl-C) to go back at once")
    if back or await execution.options.stop.asked_again():
        execution.say("going back as asked; this is not stopped halfway")
        return _End(why=STOPPED, stopped=True)
    return None


async def _steps(journal: _Journal, aims: Sequence[Aim]) -> None:
    execution = journal.execution
    await journal.step(State.DEPLOYING)
    aims = await register(execution.context, aims)
    runs = {item.service: item.run for item in aims}
    entries = tuple(replace(e, after=runs.get(e.service, e.after)) for e in journal.release.entries)
    await journal.write(replace(journal.release, entries=entries))
    way = strategy.of(execution.context.environment)
    watched, goals = await way.forward(execution.context, aims, execution.say)
    await _good(execution, watched, goals)
    await journal.step(State.VALIDATING)
    await _prove(execution, goals)
    await journal.step(State.SUCCEEDED)


async def _good(execution: Execution, watched: Watched, goals: Mapping[str, Goal]) -> None:
    """Raise with all that can be found out unless every service is what it should be."""
    if watched.good:
        return
    execution.say("failed; collecting the reasons")
    why, failures = await problems(execution.context, watched, goals)
    causes = tuple(verdict.cause for verdict in watched.verdicts.values() if verdict.cause)
    raise _FailedError(_End(why=why, failures=failures, causes=causes))


async def _prove(execution: Execution, goals: Mapping[str, Goal]) -> None:
    """Validate while watching for the bake time; the first that fails ends the other."""

    async def validate() -> None:
        execution.say("validating")
        report = await execution.validate()
        if not report.ok:
            raise _FailedError(_End(why=f"validation failed: {report.summary()}"))

    async def stay() -> None:
        watched = await bake(execution.context, list(goals.values()), execution.say)
        await _good(execution, watched, goals)

    await parallel(lambda work: work(), (validate, stay))


async def _backward(journal: _Journal, end: _End) -> Outcome:
    """Return every service to what it ran before; records and tells whether that worked."""
    context, say = journal.execution.context, journal.execution.say
    why, failures, problem = end.why or "", end.failures, ""
    watched = Watched(verdicts={}, seen={}, seconds=0.0)
    try:
        kept = replace(journal.release, failures=tuple(item.data() for item in failures))
        say(f"{why.splitlines()[0]}; going back to {kept.base or 'what was before'}")
        await journal.write(advance(kept, State.ROLLING_BACK, context.clock.now(), why=why))
        journal.execution.options.notify(notifications.going_back(journal.release, why))
        watched, goals = await strategy.of(context.environment).back(
            context, journal.release.before, say
        )
        if not watched.good:
            problem, more = await problems(context, watched, goals)
            failures += more
        await _came_back(journal, end, problem)
    except LockedError:
        raise
    except AcsoError as error:
        problem = str(error)
    outcome = _ended(journal, _outcome_kind(journal, end, problem), watched)
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
        ended = replace(journal.release, outcome=str(_outcome_kind(journal, end, problem)))
        await journal.write(
            advance(ended, State.ROLLED_BACK, journal.execution.context.clock.now())
        )


def _outcome_kind(journal: _Journal, end: _End, problem: str) -> OutcomeKind:
    first = not any(journal.release.before.values())
    return outcome_kind(end.causes, first=first, stopped=end.stopped, came_back=not problem)


def _ended(journal: _Journal, kind: OutcomeKind, watched: Watched | None = None) -> Outcome:
    release = journal.release
    bad = {
        service: verdict.text
        for service, verdict in (watched.verdicts if watched else {}).items()
        if verdict.kind is Kind.FAILED
    }
    return Outcome(
        kind=kind,
        environment=release.environment,
        release=release.id,
        services=tuple(
            _result(journal.execution.context, e, kind, bad.get(e.service, ""))
            for e in release.entries
        ),
        seconds=0.0,
        back_on=release.base,
    )


def _result(
    context: ReleaseContext, entry: Entry, kind: OutcomeKind, problem: str
) -> ServiceResult:
    run: ServiceRevision | None = entry.after if kind is OutcomeKind.DEPLOYED else entry.before
    return ServiceResult(
        agent=entry.agent,
        service=entry.service,
        action=entry.action,
        url=context.url(entry.agent),
        run=run,
        problem=problem,
    )


def _sentence(text: str) -> str:
    """Return a verdict's text as it follows "agent NAME"."""
    return text if text.startswith(("does ", "is ", "answers ")) else f"is not well: {text}"
