"""Why a stopped task failed, as one of few causes: what counts together, and what counts at once.

Sources: Amazon ECS Developer Guide, "Stopped tasks error codes" and "Stopped task error messages".
"""

from collections import Counter
from collections.abc import Iterable

from ci.aws.ecs import Task

#: What a second try does not mend; each ends a rollout with the first task that it befalls.
PULL = "its image cannot be pulled"
RESOURCES = "its resources cannot be initialised"
MEMORY = "out of memory"
FATAL = frozenset({PULL, RESOURCES, MEMORY})
HEALTH = "its health check fails"
#: Beginnings of stop and container reasons, each with the cause that it means.
KNOWN = (
    ("CannotPull", PULL),
    ("CannotInspectContainerError", PULL),
    ("ResourceInitializationError", RESOURCES),
    ("OutOfMemory", MEMORY),
)


def cause(task: Task) -> str:
    """Return why a task failed, in the words that all tasks of the same cause share."""
    for told in (task.container_reason, task.stopped_reason):
        for beginning, known in KNOWN:
            if beginning in told:
                return known
    if "health check" in task.stopped_reason or (
        task.status != "STOPPED" and task.health == "UNHEALTHY"
    ):
        return HEALTH
    if task.exit_code is not None:
        return f"exit code {task.exit_code}"
    return task.stop_code or task.status


def too_many(failed: Iterable[Task], limit: int) -> bool:
    """Tell whether a rollout is over: as many of one cause as the limit, or one that is fatal."""
    counted = Counter(map(cause, failed))
    return any(number >= limit or why in FATAL for why, number in counted.items())
