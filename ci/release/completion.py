"""The end of a release: its notification, and the removal of what a success leaves unused."""

from dataclasses import replace

from ci.errors import AwsError, ReleaseFailedError
from ci.release import notifications
from ci.release.execute import Execution, complete
from ci.release.observe.one_off_tasks import stop_overdue_tasks
from ci.release.outcome import Outcome
from ci.release.plan.changes import Action
from ci.release.records.release import Release
from ci.release.records.retention import apply_retention
from ci.release.rollout import services


async def finish(execution: Execution, outcome: Outcome, release: Release) -> Outcome:
    """Send the notification of a release's end; clean up if the release succeeded.

    What cannot be removed is a note: the release has succeeded, and the next one tries again.
    """
    execution.options.notify(notifications.ended(outcome))
    if not outcome.ok:
        return outcome
    found = [
        await _remove_services(execution, release),
        await apply_retention(execution.context),
        await _stop_overdue(execution),
    ]
    return replace(outcome, notes=(*outcome.notes, *filter(None, found)))


async def _remove_services(execution: Execution, release: Release) -> str:
    """Remove services of agents that the release does not have, then their infrastructure."""
    context, say = execution.context, execution.say
    try:
        for entry in release.entries:
            if entry.action == Action.REMOVE:
                await services.remove(context, entry.service, say)
    except (AwsError, ReleaseFailedError) as error:
        return f"services that are not needed any more are left: {error}; ./acso deploy retries"
    left = await complete(context, execution.stack, say)
    try:
        await services.settle_counts(context, release.after, say)
    except AwsError as error:
        return f"numbers of tasks could not be set: {error}; ./acso deploy retries"
    return left


async def _stop_overdue(execution: Execution) -> str:
    """Stop one-off tasks past their deadline; return why that failed, "" if it did not."""
    try:
        await stop_overdue_tasks(execution.context, execution.say)
    except AwsError as error:
        return f"one-off tasks past their deadline could not be stopped: {error}"
    return ""
