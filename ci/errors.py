"""Every error a user can meet, each with its own exit code.

The message says what is wrong and where; `hint` says what to do next. `ci.cli.program`
prints both and exits with `exit_code`; nothing else prints errors. Codes 1 and 2 keep their usual
meaning (failure, wrong usage).
"""

from typing import ClassVar


class AcsoError(Exception):
    """Anything that ends a command with a sentence instead of a traceback."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(AcsoError):
    """A wrong argument, environment or agent name."""

    exit_code = 2


class ConfigError(AcsoError):
    """acso.toml cannot be read or says something that is not possible."""

    exit_code = 3


class HostError(AcsoError):
    """Something this machine lacks: a container engine, a base image, disk space, a port."""

    exit_code = 4


class EngineError(AcsoError):
    """The engine that runs the stages could not be used."""

    exit_code = 5


class ContainerEngineError(HostError):
    """No container engine answers on this machine and none could be started."""

    exit_code = 6


class StageError(AcsoError):
    """A quality gate or a build found something; its output is in the message."""

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
        self.action = action  # what the caller may not do, such as iam:GetRole


class WrongAccountError(AwsError):
    """The credentials belong to another account than acso.toml names for the environment."""

    exit_code = 21


class InfrastructureError(AcsoError):
    """A CloudFormation stack could not be brought to what its template says."""

    exit_code = 22


class LockedError(AcsoError):
    """Another release holds the environment."""

    exit_code = 23


class PlanOutdatedError(AcsoError):
    """The environment or the source is no longer what a plan was made of; nothing was changed."""

    exit_code = 25


class VerifyError(AcsoError):
    """Something that a release stands on is missing or wrong; nothing was changed."""

    exit_code = 26


class PromotionError(AcsoError):
    """A release cannot be promoted; nothing was changed."""

    exit_code = 27


class ValidationError(AcsoError):
    """Checks of a running environment failed."""

    exit_code = 30


class TaskFailedError(AcsoError):
    """A one-off task did not end with 0."""

    exit_code = 31


class ExecError(AcsoError):
    """A command cannot be begun in a running task."""

    exit_code = 32


class ReleaseFailedError(AcsoError):
    """A release failed and every service was brought back to what it ran before."""

    exit_code = 40


class RollbackFailedError(AcsoError):
    """A release failed and so did the way back: the environment needs a person."""

    exit_code = 41


class NothingToRollBackError(AcsoError):
    """No earlier validated release of this environment is on record."""

    exit_code = 42


class RolledBackByEcsError(AcsoError):
    """ECS itself gave a deployment up (circuit breaker, alarm) and went back; so did the rest."""

    exit_code = 43


class ReplacedError(AcsoError):
    """Somebody else changed a service during the release: a deployment, its size, its deletion."""

    exit_code = 44


class TimedOutError(AcsoError):
    """A release was not done within its time; every service was brought back."""

    exit_code = 45


class UnhealthyError(AcsoError):
    """There is nothing to change, but what runs does not work."""

    exit_code = 46


class WithdrawnError(AcsoError):
    """The user stopped a release and had every service brought back."""

    exit_code = 47


class TargetGoneError(AcsoError):
    """A release cannot be returned to: a revision that it lists is deregistered."""

    exit_code = 48


class InterruptedReleaseError(AcsoError):
    """The user stopped the command; what it changed so far stays until the next `deploy`."""

    exit_code = 130
