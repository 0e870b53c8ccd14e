"""Carrying a release out: forward to success, or back as a whole, each step recorded before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio

from ci.errors import AcsoError, LockedError
from ci.release import store
from ci.release.lock import Held
from ci.release.model import Place, Run, Say, Validate
from ci.release.outcome import Ending, Outcome, ServiceResult
from ci.release.parallel import parallel
from ci.release.reasons import TaskFailure, collect
from ci.release.record import Entry, Release, State, advance
from ci.release.rollout import Aim, register, roll, take_back
from ci.release.verdict import Goal, Kind
from ci.release.watch import Watched

LAST_WORDS = 10.0  # seconds that the record of an interruption may take


@dataclass(frozen=True, kw_only=True)
class Context:
    """What every step of a release needs."""

    place: Place
    held: Held
    say: Say
    validate: Validate
    notes: tuple[str, ...] = field(default=())


class _FailedError(Exception):
    """A step failed: why, and the tasks that say more. Ends in the way back, never seen outside."""

    def __init__(self, why: str, failures: Sequence[TaskFailure] = ()) -> None:
        super().__init__(why)
        self.why, self.failures = why, tuple(failures)


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
    try:
        why, failures = await _forward(journal, aims)
    except LockedError:
        raise
    except anyio.get_cancelled_exc_class():
        with anyio.CancelScope(shield=True), anyio.move_on_after(LAST_WORDS):
            await journal.step(State.INTERRUPTED, why="the user stopped it")
        raise
    if why is None:
        outcome = _ended(journal, Ending.DEPLOYED)
    else:
        # From here on nothing stops halfway: an environment between two releases is the one
        # state that nobody wants.
        with anyio.CancelScope(shield=True):
            outcome = await _backward(journal, why, failures)
    return replace(outcome, seconds=context.place.clock.monotonic() - began, notes=context.notes)


async def problems(
    place: Place, watched: Watched, goals: Mapping[str, Goal]
) -> tuple[str, tuple[TaskFailure, ...]]:
    """Return why services are not what they should be, with what their tasks left behind."""
    bad = [s for s, verdict in watched.verdicts.items() if verdict.kind is Kind.FAILED]
    texts = [f"agent {goals[s].agent} {_sentence(watched.verdicts[s].text)}" for s in bad]
    found = await parallel(
        lambda s: collect(place, goals[s], watched.verdicts[s], watched.seen[s]), bad
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
        await store.write(self.context.place, release, self.context.held.token)
        self.release = release


async def _forward(
    journal: _Journal, aims: Sequence[Aim]
) -> tuple[str | None, tuple[TaskFailure, ...]]:
    """Go to success; returns why that failed (None if it did not) and what its tasks left."""
    try:
        await _steps(journal, aims)
    except _FailedError as error:
        return error.why, error.failures
    except LockedError:
        raise
    except AcsoError as error:
        return str(error), ()
    return None, ()


async def _steps(journal: _Journal, aims: Sequence[Aim]) -> None:
    context = journal.context
    await journal.step(State.DEPLOYING)
    aims = await register(context.place, aims)
    runs = {item.service: item.run for item in aims}
    entries = tuple(replace(e, after=runs.get(e.service, e.after)) for e in journal.release.entries)
    await journal.write(replace(journal.release, entries=entries))
    watched, goals = await roll(context.place, aims, context.say)
    if not watched.good:
        context.say("failed; collecting the reasons")
        raise _FailedError(*await problems(context.place, watched, goals))
    await journal.step(State.VALIDATING)
    context.say("validating")
    report = await context.validate()
    if not report.ok:
        message = f"validation failed: {report.summary()}"
        raise _FailedError(message)
    await journal.step(State.SUCCEEDED)


async def _backward(journal: _Journal, why: str, failures: tuple[TaskFailure, ...]) -> Outcome:
    """Return every service to what it ran before; records and tells whether that worked."""
    place, say = journal.context.place, journal.context.say
    problem = ""
    watched = Watched(verdicts={}, seen={}, seconds=0.0)
    try:
        kept = replace(journal.release, failures=tuple(item.data() for item in failures))
        say(f"{why.splitlines()[0]}; going back to {kept.base or 'what was before'}")
        await journal.write(advance(kept, State.ROLLING_BACK, place.clock.now(), why=why))
        watched, goals = await take_back(place, journal.release.before, say)
        if not watched.good:
            problem, more = await problems(place, watched, goals)
            failures += more
        await journal.step(State.FAILED if problem else State.ROLLED_BACK)
    except LockedError:
        raise
    except AcsoError as error:
        # The record stays unfinished: the next `deploy` or `rollback` takes it up.
        problem = str(error)
    first = not any(journal.release.before.values())
    ending = Ending.REMOVED if first else Ending.ROLLED_BACK
    outcome = _ended(journal, Ending.ROLLBACK_FAILED if problem else ending, watched)
    return replace(outcome, why=why, failures=failures, way_back=problem)


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
