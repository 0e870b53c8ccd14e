"""An agent's settings, read from its environment once, at the start."""

from collections.abc import Mapping
from dataclasses import dataclass


class SettingsError(Exception):
    """A variable of the environment cannot be used; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one agent's process was told."""

    agent: str
    environment: str = "local"
    version: str = "unknown"
    digest: str = "unknown"  # of the image; a process cannot find out its own
    host: str = "127.0.0.1"
    port: int = 8000
    region: str | None = None
    endpoint: str | None = None  # instead of AWS itself: an emulator
    state_table: str | None = None


def read(agent: str, environ: Mapping[str, str]) -> Settings:
    """Return the settings of `agent`; an empty variable counts as one that is not set.

    Raises `SettingsError` for a port that is none, and for an environment meant for another agent:
    answering in its place would look healthy and be wrong.
    """
    known = {name: value for name, value in environ.items() if value}
    meant = known.get("ACSO_AGENT", agent)
    if meant != agent:
        raise SettingsError(f"ACSO_AGENT is {meant!r}, but this program is {agent!r}: wrong image?")
    return Settings(
        agent=agent,
        environment=known.get("ACSO_ENVIRONMENT", Settings.environment),
        version=known.get("ACSO_VERSION", Settings.version),
        digest=known.get("ACSO_DIGEST", Settings.digest),
        host=known.get("HOST", Settings.host),
        port=_port(known.get("PORT", str(Settings.port))),
        region=known.get("AWS_REGION"),
        endpoint=known.get("AWS_ENDPOINT_URL"),
        state_table=known.get("ACSO_STATE_TABLE"),
    )


def _port(text: str) -> int:
    # isdecimal alone accepts digits of other scripts, int() alone signs and underscores.
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise SettingsError(f"PORT is {text!r}; it must be a number from 1 to 65535")
    return int(text)
