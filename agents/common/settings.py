"""An agent's settings, read from environment variables at the start."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["person", "agent"]
_SECRETS: dict[Role, str] = {"person": "ACSO_PEOPLE_SECRET", "agent": "ACSO_AGENTS_SECRET"}


class SettingsError(Exception):
    """An environment variable is invalid; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one agent's process; beside each field, its environment variable."""

    agent: str  # ACSO_AGENT, if set, must be the same
    environment: str = "local"  # ACSO_ENVIRONMENT
    version: str = "unknown"  # ACSO_VERSION: of the agent's content
    digest: str = "unknown"  # ACSO_DIGEST: of the image
    # HOST: the address to listen on. The default is loopback, so that no other machine can reach
    # an agent; the image sets it, because a container must listen on all its addresses.
    host: str = "127.0.0.1"
    port: int = 8000  # PORT
    region: str | None = None  # AWS_REGION
    endpoint: str | None = None  # AWS_ENDPOINT_URL: an emulator instead of AWS itself
    state_table: str | None = None  # ACSO_STATE_TABLE; None: state in memory, for this process
    url: str | None = None  # ACSO_URL: of the load balancer, to call other agents
    model: str | None = None  # ACSO_MODEL: of Bedrock; None: rules alone
    # ACSO_PEOPLE_SECRET and ACSO_AGENTS_SECRET: ARNs of the callers' tokens. A role without one
    # has no callers.
    secrets: Mapping[Role, str] = field(default_factory=dict)


def read(agent: str, environ: Mapping[str, str]) -> Settings:
    """Return the settings of `agent`; an empty variable counts as not set.

    Raises `SettingsError` for an invalid port, and if ACSO_AGENT names another agent: answering in
    its place would look healthy and be wrong.
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
        url=known.get("ACSO_URL"),
        model=known.get("ACSO_MODEL"),
        secrets={role: known[name] for role, name in _SECRETS.items() if name in known},
    )


def _port(text: str) -> int:
    # isdecimal alone accepts digits of other scripts, int() alone signs and underscores.
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise SettingsError(f"PORT is {text!r}; it must be a number from 1 to 65535")
    return int(text)
