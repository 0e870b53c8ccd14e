"""Errors of the engine; the client gets the message and `extensions`."""

from typing import Any

from ci.engine.unsupported import REASONS

#: Lines of a service's output that a message has.
SHOWN_LINES = 20


class EngineError(Exception):
    """A request failed; the message says what, on what, and why."""

    extensions: dict[str, Any] | None = None

    def within(self, what: str) -> "EngineError":
        """Return the same error with what failed because of it in front."""
        error = EngineError(f"{what}: {self}")
        error.extensions = self.extensions
        return error


class NotDirectoryError(EngineError):
    """A file is where a path needs a directory."""


class UnsupportedError(EngineError):
    """A field, argument or value of Dagger's API that this engine does not support."""

    def __init__(self, what: str) -> None:
        because = REASONS.get(what.partition(" ")[0], "")
        super().__init__(
            f"{what} is not supported by the local engine{because and f' ({because})'}; "
            "use a Dagger engine: `dagger run COMMAND` "
            "(docs/engine.md lists what is supported)"
        )


class CacheError(EngineError):
    """The cache directory cannot be written or read: a full disk, missing permissions."""

    def __init__(self, path: object, error: Exception) -> None:
        why = error.strerror if isinstance(error, OSError) else str(error)
        super().__init__(f"the engine's cache {path} cannot be used: {why}")


class ExecFailedError(EngineError):
    """A command ended with an exit code that was not expected."""

    def __init__(self, command: list[str], code: int, stdout: str, stderr: str) -> None:
        super().__init__(f"exit code: {code}")
        self.extensions = {
            "_type": "EXEC_ERROR",
            "cmd": command,
            "exitCode": code,
            "stdout": stdout.removesuffix("\n"),
            "stderr": stderr.removesuffix("\n"),
        }


class ServiceFailedError(EngineError):
    """The process or the health check of a service failed; the message ends with its output."""

    def __init__(self, command: list[str], code: int, stdout: str, stderr: str) -> None:
        lines = [*stdout.splitlines(), *stderr.splitlines()][-SHOWN_LINES:]
        super().__init__("\n".join([f"exit code: {code}", *lines]))
        self.extensions = {
            "_type": "EXEC_ERROR",
            "cmd": command,
            "exitCode": code,
            "stdout": stdout,
            "stderr": stderr,
        }
