"""Why a task failed, as one of a few causes; which of them end a rollout at once.

Sources: Amazon ECS Developer Guide, "Stopped tasks error codes", "Stopped task error messages" and
"CannotPullContainer task errors".
"""

import re
from collections import Counter
from collections.abc import Iterable

from ci.aws.ecs import Task

#: Causes that a retry does not fix: the first task that fails for one of them ends a rollout.
PULL = "its image cannot be pulled"
RESOURCES = "its resources cannot be initialised"
MEMORY = "out of memory"
FATAL = frozenset({PULL, RESOURCES, MEMORY})
#: Causes that pass: ECS starts another task, which may succeed. They have a threshold of their own.
CAPACITY = "there is no capacity for it"
NETWORK = "its network interface is not ready in time"
SLOW_PULL = "its image cannot be pulled in time"
SLOW_RESOURCES = "its resources cannot be initialised in time"
TRANSIENT = frozenset({CAPACITY, NETWORK, SLOW_PULL, SLOW_RESOURCES})
#: Failures of one such cause that end a rollout: those after which ECS's circuit breaker, too, ends
#: the deployment of a small service. A higher threshold in acso.toml counts instead.
TRANSIENT_FAILURES = 3
#: What the reasons of pulls and of initialisations contain if a service did not answer in time, or
#: refused for too many requests.
IN_TIME = re.compile(
    r"i/o timeout|Client\.Timeout|deadline exceeded|TLS handshake timeout|request canceled"
    r"|context canceled|connection reset|toomanyrequests|Rate exceeded|rate limit|Throttling"
    r"|Service Unavailable|Internal Server Error",
    re.IGNORECASE,
)
PASSING = {PULL: SLOW_PULL, RESOURCES: SLOW_RESOURCES}
HEALTH = "its health check fails"
#: Substrings of stop and container reasons, and the cause that each means.
KNOWN = (
    ("Capacity is unavailable", CAPACITY),
    ("network interface provisioning", NETWORK),
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
                return PASSING.get(known, known) if IN_TIME.search(reason) else known
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
    passing = max(limit, TRANSIENT_FAILURES)
    return any(
        number >= (passing if why in TRANSIENT else limit) or why in FATAL
        for why, number in counted.items()
    )
