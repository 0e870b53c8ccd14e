"""The end of a command that has nothing to change: check that what runs works."""

from collections.abc import Sequence

from ci.release.execute import Execution, complete, invalid, problems
from ci.release.observe.crash_loops import Examined
from ci.release.outcome import Outcome, OutcomeKind, ServiceResult
from ci.release.rollout.services import ServiceUpdate, limits, unchanged
from ci.release.rollout.verdict import FailureCause
from ci.release.rollout.watch import ProgressReporter, watch


async def check_unchanged(
    execution: Execution, found: Examined, updates: Sequence[ServiceUpdate]
) -> Outcome:
    """Check that the services work although nothing is to be changed; no release is recorded."""
    context, current = execution.context, found.history.current
    left = await complete(context, execution.stack, execution.say)
    began = context.clock.monotonic()
    watched = [unchanged(context, item) for item in updates]
    expectations = {expectation.service: expectation for expectation in watched}
    patience = limits(context, context.env.health_grace)
    result = await watch(context, list(expectations.values()), patience, ProgressReporter(_ignore))
    why, failures = await problems(context, result, expectations)
    causes = {verdict.cause for verdict in result.verdicts.values() if verdict.cause}
    why = why or found.looping or await invalid(execution)
    return Outcome(
        kind=_kind(why, blind=causes == {FailureCause.NOT_EXAMINED}),
        environment=context.env.name,
        release=current.id if current else "",
        services=tuple(
            ServiceResult(
                agent=item.agent.name,
                service=item.service,
                action=str(item.action),
                url=context.url(item.agent.name),
                run=item.run,
            )
            for item in updates
        ),
        seconds=context.clock.monotonic() - began,
        why=why,
        failures=failures,
        notes=(*execution.notes, *([left] * bool(left))),
    )


def _kind(why: str, *, blind: bool) -> OutcomeKind:
    if not why:
        return OutcomeKind.NOTHING_TO_DO
    return OutcomeKind.UNCHECKED if blind else OutcomeKind.UNHEALTHY


def _ignore(line: str) -> None:
    """Report no progress: the outcome says that nothing changed."""
