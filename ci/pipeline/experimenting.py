"""Experiments with faults, as a command: what is broken, where it may be, and how it ended."""

import validation
from ci import chaos, release
from ci.config import PROTECTED, nearest
from ci.errors import UsageError
from ci.pipeline import environments
from ci.pipeline.arguments import check_number
from ci.pipeline.probing import probing
from ci.report.progress import stage


def require_consent(env: str, *, given: bool) -> None:
    """Raise `UsageError` unless faults may be made in an environment."""
    if env == PROTECTED and not given:
        message = f"chaos breaks things in {env}"
        raise UsageError(message, hint="if you mean it: --yes-production")


def planned(
    context: release.ReleaseContext, experiments: str, agent: str | None, seconds: int
) -> chaos.Plan:
    """Return which experiments are conducted (names separated by commas; empty: all), and on whom.

    Raises:
        UsageError: there is no such experiment or agent.
    """
    names = [name.strip() for name in experiments.split(",")] if experiments else chaos.EXPERIMENTS
    known = [*chaos.EXPERIMENTS, *chaos.NOT_HERE]
    for name in names:
        if name not in known:
            message = f"unknown experiment {name!r}"
            raise UsageError(message, hint=nearest(name, known))
    chosen = context.config.agent(agent) if agent else context.config.agents[0]
    return chaos.Plan(
        experiments=tuple(names), agent=chosen.name, seconds=check_number("seconds", seconds)
    )


async def experiment(context: release.ReleaseContext, plan: chaos.Plan) -> validation.Report:
    """Conduct experiments; faults that a killed process left are undone first.

    Raises:
        ValidationError: a hypothesis was wrong, or a fault could not be undone.
        UndecidedError: something could not be examined.
    """
    async with stage("chaos") as span, probing(context, span.say) as seen:
        await seen.probe.ready()
        report = await chaos.run(seen, plan, span.say)
        span.result = report.counted()
        environments.require_ok(report)
    return report


async def undone(context: release.ReleaseContext) -> chaos.Undone:
    """Undo the faults that a killed process left."""
    async with stage("undo") as span:
        found = await chaos.undo_left(context, span.say)
        return chaos.Undone(environment=context.env.name, faults=tuple(found))
