"""Why a task failed, as one of a few causes; which of them end a rollout at once.

Sources: Amazon ECS Developer Guide, "Stopped tasks error codes" and "Stopped task error messages".
"""

from collections import Counter
from collections.abc import Iterable

from ci.aws.ecs import Task

#: Causes that a retry does not fix: the first task that fails for one of them ends a rollout.
PULL = "its image cannot be pulled"
RESOURCES = "its resources cannot be initialised"
MEMORY = "out of memory"
FATAL = frozenset({PULL, RESOURCES, MEMORY})
HEALTH = "its health check fails"
#: Substrings of stop and container reasons, and the cause that each means.
KNOWN = (
    ("CannotPull", PULL),
    ("CannotInspectContainerError", PULL),
    ("ResourceInitializationError", RESOURCES),
    ("OutOfMemory", MEMORY),
)


def failure_cause(task: Task) -> str:
    """Return why a task failed; the same text for all tasks with the same cause."""
    for reason in (task.container_reason, task.stopped_reason):
        for substring, known in KNOWN:
            if substring in reason:
                return known
    if "health check" in task.stopped_reason or (
        task.status != "STOPPED" and task.health == "UNHEALTHY"
    ):
        return HEALTH
    if task.exit_code is not None:
        return f"exit code {task.exit_code}"
    return task.stop_code or task.status


def threshold_reached(failed: Iterable[Task], limit: int) -> bool:
    """Return whether enough tasks failed of one cause to end a rollout, or one of a fatal cause."""
    counted = Counter(map(failure_cause, failed))
    return any(number >= limit or why in FATAL for why, number in counted.items())
