"""The health check in an image's configuration; durations in Go's notation."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ci.engine.errors import EngineError

_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
#: Names in an image's configuration, by those in the API.
_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "startPeriod": "StartPeriod",
    "startInterval": "StartInterval",
}


def nanoseconds(text: str) -> int:
    """Return the nanoseconds of a duration such as `1m30s`; raises `EngineError`."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise EngineError(f"{text!r} is not a duration such as 30s or 1m30s")
    return int(sum(Decimal(number) * _UNITS[unit] for number, unit in parts))


def duration(value: int) -> str:
    """Return nanoseconds as Go's `Duration.String` does."""
    if value < _UNITS["s"]:
        unit = next((u for u in ("ms", "µs") if value >= _UNITS[u]), "ns")
        return "0s" if value == 0 else f"{value / _UNITS[unit]:.9g}{unit}"
    minutes, rest = divmod(value, _UNITS["m"])
    seconds = f"{rest / _UNITS['s']:.12g}s"
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + seconds


@dataclass(frozen=True, kw_only=True)
class Healthcheck:
    """A command that checks the health of a container."""

    test: tuple[str, ...]  # CMD or CMD-SHELL, then the arguments, as in an image's configuration
    times: tuple[tuple[str, int], ...] = ()  # by name in the API, nanoseconds
    retries: int = 0

    @classmethod
    def from_args(cls, args: Mapping[str, Any]) -> "Healthcheck":
        """Return the health check of withDockerHealthcheck's arguments; raises `EngineError`."""
        if args.get("shell") and len(args["args"]) != 1:
            raise EngineError("withDockerHealthcheck: with `shell`, `args` must be one string")
        if not args["args"]:
            raise EngineError("withDockerHealthcheck: `args` is missing")
        times = tuple((name, nanoseconds(args[name])) for name in _TIMES if args.get(name))
        test = ("CMD-SHELL" if args.get("shell") else "CMD", *args["args"])
        return cls(test=test, times=times, retries=args.get("retries") or 0)

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None) -> "Healthcheck | None":
        """Return the health check of an image's configuration, None if it has none."""
        test = tuple((config or {}).get("Test") or ())
        if config is None or test[:1] not in (("CMD",), ("CMD-SHELL",)):
            return None
        times = tuple((name, config[key]) for name, key in _TIMES.items() if config.get(key))
        return cls(test=test, times=times, retries=config.get("Retries") or 0)

    @property
    def command(self) -> tuple[str, ...]:
        """The command to run."""
        kind, *args = self.test
        return ("/bin/sh", "-c", *args) if kind == "CMD-SHELL" else tuple(args)

    def seconds(self, name: str) -> float:
        """Return a time by its name in the API; 0 if it was not set."""
        return dict(self.times).get(name, 0) / _UNITS["s"]

    def to_config(self) -> dict[str, Any]:
        """Return the health check as part of an image's configuration."""
        times = {_TIMES[name]: value for name, value in self.times}
        retries = {"Retries": self.retries} if self.retries else {}
        return {"Test": list(self.test), **times, **retries}

    def to_api(self) -> dict[str, Any]:
        """Return the health check as the API does; a time that was not set is `0s`."""
        kind, *args = self.test
        times = dict.fromkeys(_TIMES, duration(0)) | {
            name: duration(value) for name, value in self.times
        }
        return {**times, "args": args, "shell": kind == "CMD-SHELL", "retries": self.retries}
