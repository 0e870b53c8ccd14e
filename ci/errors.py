"""All errors that end a command, each with its own exit code.

The message says what failed and on what; `hint` says what to do next. `ci.cli.program` prints
both and exits with `exit_code`; nothing else prints errors. Codes 1 and 2 keep their usual
meaning (failure, wrong usage).
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class AcsoError(Exception):
    """Base class: an error that is shown as a message, without a traceback.

    `details` is what a command found although it failed, such as the results of checks: `--json`
    has it in the error, and `--output` writes it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self, message: str, *, hint: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.details = details


class UsageError(AcsoError):
    """A wrong argument, environment or agent name."""

    exit_code = 2


class ConfigError(AcsoError):
    """acso.toml cannot be read, or a value in it is invalid."""

    exit_code = 3


class HostError(AcsoError):
    """This machine does not have what is needed: a base image, disk space, a free port."""

    exit_code = 4


class EngineError(AcsoError):
    """The engine that runs the stages could not be used."""

    exit_code = 5


class ContainerEngineError(HostError):
    """No container engine answers on this machine, and none could be started."""

    exit_code = 6


class StageError(AcsoError):
    """A quality gate or a build failed; its output is in the message."""

    exit_code = 10


class AwsError(AcsoError):
    """AWS refused or could not be reached; the message names service, operation and code."""

    exit_code = 20

    def __init__(
        self,
        message: str,
        *,
        service: str = "",
        operation: str = "",
        code: str = "",
        hint: str = "",
        action: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.service = service
        self.operation = operation
        self.code = code  # AWS's own error code, such as ResourceNotFoundException
        self.action = action  # the missing permission, such as iam:GetRole


class WrongAccountError(AwsError):
    """The credentials belong to another account than the environment's in acso.toml."""

    exit_code = 21


class InfrastructureError(AcsoError):
    """A CloudFormation stack could not be created, updated or deleted."""

    exit_code = 22


class LockedError(AcsoError):
    """Another process holds the environment's lock."""

    exit_code = 23


class NewerReleaseError(AcsoError):
    """A deploy would undo somebody else's newer release; nothing was changed."""

    exit_code = 24


class PlanOutdatedError(AcsoError):
    """The environment or the source has changed since a plan was saved; nothing was changed."""

    exit_code = 25


class VerifyError(AcsoError):
    """A prerequisite of a release is missing or wrong; nothing was changed."""

    exit_code = 26


class PromotionError(AcsoError):
    """A release cannot be promoted; nothing was changed."""

    exit_code = 27


class ValidationError(AcsoError):
    """Checks of a running environment failed."""

    exit_code = 30


class UndecidedError(AcsoError):
    """No check of a running environment failed, but some could not look."""

    exit_code = 33


class ChaosError(AcsoError):
    """A fault that an experiment made cannot be undone: somebody must repair the environment."""

    exit_code = 35


class TaskFailedError(AcsoError):
    """A one-off task failed."""

    exit_code = 31


class ProbeError(AcsoError):
    """An environment cannot be looked at from here, which says nothing about its agents."""

    exit_code = 34


class ExecError(AcsoError):
    """A command cannot be started in a running task."""

    exit_code = 32


class ReleaseFailedError(AcsoError):
    """A release failed, and every service was rolled back."""

    exit_code = 40


class RollbackFailedError(AcsoError):
    """A release failed, and so did its rollback: somebody must repair the environment."""

    exit_code = 41


class NothingToRollBackError(AcsoError):
    """No earlier validated release of this environment is on record."""

    exit_code = 42


class RolledBackByEcsError(AcsoError):
    """ECS rolled a deployment back (circuit breaker, alarm); all services were rolled back."""

    exit_code = 43


class ReplacedError(AcsoError):
    """Somebody else deployed, scaled or deleted a service during the release."""

    exit_code = 44


class TimedOutError(AcsoError):
    """A release timed out, and every service was rolled back."""

    exit_code = 45


class UnhealthyError(AcsoError):
    """There is nothing to change, but a service is unhealthy or validation failed."""

    exit_code = 46


class WithdrawnError(AcsoError):
    """The user interrupted a release and had every service rolled back."""

    exit_code = 47


class TargetGoneError(AcsoError):
    """A rollback's target has a revision that is deregistered."""

    exit_code = 48


class InterruptedReleaseError(AcsoError):
    """The user interrupted the command; what it changed stays until the next `deploy`."""

    exit_code = 130
