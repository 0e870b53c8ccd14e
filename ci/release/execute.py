"""Execute a recorded release: roll out and validate, or roll back; each step is recorded first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio

from ci.aws.cloudformation import DesiredStack
from ci.common.concurrency import parallel, until
from ci.config import Agent
from ci.errors import AcsoError, AwsError, InfrastructureError, LockedError, ProbeError
from ci.release import notifications
from ci.release.model import ReleaseContext, Say, ServiceRevision, Validate
from ci.release.observe.failures import TaskFailure, collect
from ci.release.options import OnCancel, ReleaseOptions
from ci.release.outcome import Outcome, OutcomeKind, ServiceResult, outcome_kind
from ci.release.records import stacks, table
from ci.release.records.lock import HeldLock
from ci.release.records.release import Entry, History, Release, State, advance
from ci.release.rollout import strategy
from ci.release.rollout.services import ServiceUpdate, bake, register, settle_counts
from ci.release.rollout.verdict import Expectation, FailureCause, Kind
from ci.release.rollout.watch import WatchResult

RECORD_SECONDS = 10.0  # to record an interrupt
STOPPED = "the user stopped it"


@dataclass(frozen=True, kw_only=True)
class WayBack:
    """What a release that fails returns to, beside its services: agents, and the stack."""

    agents: tuple[Agent, ...] = ()
    stack: DesiredStack | None = None


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What every step of a release needs; `stack` is the infrastructure that it leaves."""

    context: ReleaseContext
    held: HeldLock
    say: Say
    validate: Validate
    options: ReleaseOptions = field(default_factory=ReleaseOptions)
    notes: tuple[str, ...] = field(default=())
    stack: DesiredStack | None = None
    back: WayBack = field(default_factory=WayBack)

    def noted(self, *notes: str) -> "Execution":
        """Return the same execution with more notes for the outcome."""
        return replace(self, notes=(*self.notes, *notes))

    def reporting(self, *notes: str) -> "Execution":
        """Report notes now, and return the same execution with them."""
        for note in notes:
            self.say(note)
        return self.noted(*notes)


@dataclass(frozen=True, kw_only=True)
class _StepsResult:
    """How the rollout and validation ended: `why` is None for success."""

    why: str | None = None
    failures: tuple[TaskFailure, ...] = ()
    causes: tuple[FailureCause, ...] = ()
    stopped: bool = False


class _StepFailedError(Exception):
    """A step failed; caught in this module, where it starts the rollback."""

    def __init__(self, end: _StepsResult) -> None:
        super().__init__(end.why)
        self.end = end


async def execute(
    execution: Execution, release: Release, updates: Sequence[ServiceUpdate]
) -> Outcome:
    """Execute a recorded release and return how it ended.

    Args:
        execution: the environment, the lock, and where progress goes.
        release: the release, recorded as planned.
        updates: what each service is to run.

    Raises:
        LockedError: another process took over the environment; nothing more was changed.
    """
    began = execution.context.clock.monotonic()
    journal = _Journal(execution, release)
    execution.options.notify(notifications.started(release))
    try:
        end = await until(lambda: _roll_forward(journal, updates), execution.options.stop.asked)
        end = end or await _handle_stop(journal)
    except anyio.get_cancelled_exc_class():
        with anyio.CancelScope(shield=True), anyio.move_on_after(RECORD_SECONDS):
            await journal.interrupted()
        raise
    if end is None:
        outcome = replace(_outcome(journal, OutcomeKind.INTERRUPTED), why=STOPPED)
    elif end.why is None:
        outcome = _outcome(journal, OutcomeKind.DEPLOYED)
    else:
        outcome = await _roll_back_whole(journal, end)
    return replace(
        outcome,
        seconds=execution.context.clock.monotonic() - began,
        notes=(*execution.notes, *outcome.notes),
    )


async def way_back(context: ReleaseContext, history: History) -> WayBack:
    """Return what the next release returns to if it fails: the last stable release's state.

    What its record does not have, because an earlier version wrote it, is returned as it is now.
    """
    known = history.stable
    recorded = await stacks.read(context, known.stack) if known else None
    if recorded is None and context.infrastructure is not None:
        recorded = await context.infrastructure.current()
    agents = {agent.name: agent for agent in context.config.agents}
    agents |= {agent.name: agent for agent in (known.agents if known else ())}
    return WayBack(agents=tuple(agents.values()), stack=recorded)


async def extend(
    context: ReleaseContext, to: DesiredStack | None, say: Say, *, back: bool = False
) -> ReleaseContext:
    """Add the infrastructure that another state needs; return the context with its outputs."""
    if context.infrastructure is None or to is None:
        return context
    outputs = await context.infrastructure.extend(to, say, back=back)
    return replace(context, outputs=outputs)


async def complete(context: ReleaseContext, to: DesiredStack | None, say: Say) -> str:
    """Bring the infrastructure to a state; return why that failed, "" if it did not.

    The services need nothing of what is left, so it is no failure of the release.
    """
    if context.infrastructure is None or to is None:
        return ""
    try:
        await context.infrastructure.complete(to, say)
    except (AwsError, InfrastructureError) as error:
        first = str(error).splitlines()[0]
        return f"infrastructure that is not needed any more is left: {first}; ./acso deploy retries"
    return ""


async def take_over(execution: Execution, history: History, release: Release) -> Execution:
    """Record the release as planned, then close the unfinished releases that it takes over.

    The order matters: a process that dies in between leaves two unfinished releases, never none,
    and both say what to return to.
    """
    context, token = execution.context, execution.held.token
    await stacks.write(context, execution.stack, token)
    await table.write(context, release, token)
    notes = []
    for old in history.unfinished:
        why = f"stopped while {old.state.replace('_', ' ')} ({old.holder}); taken over"
        ended = advance(old, State.FAILED, context.clock.now(), why=f"{why} by {release.id}")
        await table.write(context, ended, token, took_from=history.owners.get(old.id, ""))
        notes.append(f"release {old.id} {why}")
        execution.say(notes[-1])
    return execution.noted(*notes)


async def problems(
    context: ReleaseContext, result: WatchResult, expectations: Mapping[str, Expectation]
) -> tuple[str, tuple[TaskFailure, ...]]:
    """Return why services failed, with the state and last log lines of their tasks."""
    bad = [s for s, verdict in result.verdicts.items() if verdict.kind is Kind.FAILED]
    texts = [f"agent {expectations[s].agent} {_sentence(result.verdicts[s].text)}" for s in bad]
    found = await parallel(
        lambda s: collect(context, expectations[s], result.verdicts[s], result.snapshots.get(s)),
        bad,
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
        # Shielded, so that `self.release` is always what is recorded.
        with anyio.CancelScope(shield=True):
            await table.write(self.execution.context, release, self.execution.held.token)
        self.release = release

    async def interrupted(self) -> None:
        if not self.release.finished and self.release.state is not State.INTERRUPTED:
            await self.step(State.INTERRUPTED, why=STOPPED)


async def _roll_forward(journal: _Journal, updates: Sequence[ServiceUpdate]) -> _StepsResult:
    """Roll out and validate; return how that ended."""
    try:
        await _steps(journal, updates)
    except _StepFailedError as error:
        return error.end
    except LockedError:
        raise
    except ProbeError as error:
        return _StepsResult(why=str(error), causes=(FailureCause.NOT_EXAMINED,))
    except AcsoError as error:
        return _StepsResult(why=str(error))
    return _StepsResult()


async def _handle_stop(journal: _Journal) -> _StepsResult | None:
    """Record that the user stopped the release; return None if it is not to be rolled back."""
    execution = journal.execution
    if journal.release.state is State.SUCCEEDED:
        return _StepsResult()  # the interrupt came too late
    await journal.interrupted()
    env = f"--env {execution.context.env.name}"
    execution.say(f"interrupted: `acso deploy {env}` resumes, `acso rollback {env}` undoes it")
    back = execution.options.on_cancel is OnCancel.ROLLBACK
    if not back:
        execution.say("press Ctrl-C again to roll back now")
    if back or await execution.options.stop.asked_again():
        execution.say("rolling back; this cannot be interrupted")
        return _StepsResult(why=STOPPED, stopped=True)
    return None


async def _steps(journal: _Journal, updates: Sequence[ServiceUpdate]) -> None:
    execution = journal.execution
    await journal.step(State.DEPLOYING)
    updates = await register(execution.context, updates)
    runs = {item.service: item.run for item in updates}
    entries = tuple(replace(e, after=runs.get(e.service, e.after)) for e in journal.release.entries)
    await journal.write(replace(journal.release, entries=entries))
    way = strategy.of(execution.context.env)
    result, expectations = await way.forward(execution.context, updates, execution.say)
    await _require_healthy(execution, result, expectations)
    await journal.step(State.VALIDATING)
    await _validate_and_bake(execution, expectations)
    await journal.step(State.SUCCEEDED)


async def _require_healthy(
    execution: Execution, result: WatchResult, expectations: Mapping[str, Expectation]
) -> None:
    """Raise `_StepFailedError`, with what its tasks reported, unless every service is healthy."""
    if result.healthy:
        return
    execution.say("failed; collecting reasons and logs")
    why, failures = await problems(execution.context, result, expectations)
    causes = tuple(verdict.cause for verdict in result.verdicts.values() if verdict.cause)
    raise _StepFailedError(_StepsResult(why=why, failures=failures, causes=causes))


async def invalid(execution: Execution) -> str:
    """Validate the environment; return why it is not valid, "" if it is."""
    context = execution.context
    seconds = context.env.validation_timeout
    with anyio.move_on_after(seconds):
        report = await execution.validate(context)
        return "" if report.ok else f"validation failed: {report.summary()}"
    return f"validation has no result after {seconds} s"


async def _validate_and_bake(execution: Execution, expectations: Mapping[str, Expectation]) -> None:
    """Validate while watching for the bake time; the first failure cancels the other."""

    async def validate() -> None:
        execution.say("validating")
        if why := await invalid(execution):
            raise _StepFailedError(_StepsResult(why=why))

    async def stay() -> None:
        result = await bake(execution.context, list(expectations.values()), execution.say)
        await _require_healthy(execution, result, expectations)

    await parallel(lambda work: work(), (validate, stay))


async def _roll_back_whole(journal: _Journal, end: _StepsResult) -> Outcome:
    """Roll back without interruption, which would leave services on different releases.

    Raises:
        LockedError: the lock is lost: another process may have taken over the environment.
    """
    execution = journal.execution
    with anyio.CancelScope(shield=True):
        outcome = await until(lambda: _roll_back(journal, end), execution.held.lost.wait)
    if outcome is None:
        env = execution.context.env.name
        message = f"the rollback in {env} stopped: its lock is lost"
        raise LockedError(message, hint=f"./acso status --env {env}")
    return outcome


async def _roll_back(journal: _Journal, end: _StepsResult) -> Outcome:
    """Return every service to what it ran before, and record whether that worked."""
    execution, say = journal.execution, journal.execution.say
    context = execution.context.with_agents(execution.back.agents)
    why, failures, problem, left = end.why or "", end.failures, "", ""
    result = WatchResult(verdicts={}, snapshots={}, seconds=0.0)
    try:
        kept = replace(journal.release, failures=tuple(item.data() for item in failures))
        say(f"{why.splitlines()[0]}; rolling back to {kept.base or 'what ran before'}")
        await journal.write(advance(kept, State.ROLLING_BACK, context.clock.now(), why=why))
        journal.execution.options.notify(notifications.rolling_back(journal.release, why))
        result, expectations = await strategy.of(context.env).back(
            context, journal.release.before, say
        )
        if not result.healthy:
            problem, more = await problems(context, result, expectations)
            failures += more
        else:
            left = await complete(context, execution.back.stack, say)
            await settle_counts(context, journal.release.before, say)
        await _record_rollback(journal, end, problem)
    except LockedError:
        raise
    except AcsoError as error:
        problem = str(error)
    outcome = _outcome(journal, _outcome_kind(journal, end, problem), result)
    notes = (left,) if left else ()
    return replace(outcome, why=why, failures=failures, way_back=problem, notes=notes)


async def _record_rollback(journal: _Journal, end: _StepsResult, problem: str) -> None:
    """Record the end of a rollback.

    A rollback that failed leaves the record unfinished, because services are then on different
    releases: the next `deploy` or `rollback` takes the release over.
    """
    if problem:
        why = f"{end.why}; the rollback failed: {problem}"
        await journal.write(replace(journal.release, why=why))
    else:
        ended = replace(journal.release, outcome=str(_outcome_kind(journal, end, problem)))
        await journal.write(
            advance(ended, State.ROLLED_BACK, journal.execution.context.clock.now())
        )


def _outcome_kind(journal: _Journal, end: _StepsResult, problem: str) -> OutcomeKind:
    first = not any(journal.release.before.values())
    return outcome_kind(end.causes, first=first, stopped=end.stopped, restored=not problem)


def _outcome(journal: _Journal, kind: OutcomeKind, result: WatchResult | None = None) -> Outcome:
    release = journal.release
    bad = {
        service: verdict.text
        for service, verdict in (result.verdicts if result else {}).items()
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
    return text if text.startswith(("does ", "is ", "answers ", "could ")) else f"failed: {text}"
