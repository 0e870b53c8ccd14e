"""Completion of commands, options and values in a shell (set up by `acso completion`)."""

import argparse
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anyio

from ci.cli.session import ROOT, uses_local_aws
from ci.config import FILE, STRATEGIES, Config, load
from ci.errors import AcsoError

#: Seconds to wait for the releases of an environment while a person waits at the shell.
TIMEOUT = 3.0
Values = Callable[[Config, argparse.Namespace], Sequence[str]]


def complete(parser: argparse.ArgumentParser) -> None:
    """Print completions and exit if the shell asks for them."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete  # late: only a shell asks

        argcomplete.autocomplete(parser)


def add(action: argparse.Action, name: str) -> None:
    """Give an option the completion of a parameter's values, if they are known.

    argcomplete looks for an attribute that argparse's class does not declare.
    """
    if (values := VALUES.get(name)) is not None:
        action.completer = _completer(values)  # type: ignore[attr-defined]


def _completer(values: Values) -> Callable[..., list[str]]:
    def complete(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
        try:
            config = load(_source(parsed_args) / FILE)
            return [value for value in values(config, parsed_args) if value.startswith(prefix)]
        except (AcsoError, OSError):  # a shell shows no errors
            return []

    return complete


def _source(options: argparse.Namespace) -> Path:
    return Path(getattr(options, "constructor_source", ROOT))


def _environments(config: Config, _: argparse.Namespace) -> Sequence[str]:
    return list(config.environments)


def _agents(config: Config, _: argparse.Namespace) -> Sequence[str]:
    return [agent.name for agent in config.agents]


def _suites(_: Config, __: argparse.Namespace) -> Sequence[str]:
    from validation.suites import SUITES  # late: imports all checks

    return list(SUITES)


def _strategies(_: Config, __: argparse.Namespace) -> Sequence[str]:
    return STRATEGIES


def _releases(config: Config, options: argparse.Namespace) -> Sequence[str]:
    """Return the ids of the releases of the environment that the command line names so far."""
    name = _typed("--from", "from_", options) or _typed("--env", "env", options)
    if not name or name not in config.environments:
        return []
    found: list[str] = []

    def read() -> None:
        with suppress(Exception):  # a shell shows no errors
            found.extend(anyio.run(_recorded, config, name, options))

    # A thread, because a call to AWS cannot be cancelled; the process does not wait for it.
    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    return [*found]


def _typed(option: str, name: str, options: argparse.Namespace) -> str | None:
    """Return an option's value.

    argparse gives a command's options to the namespace at the end of the line only, and an option
    that waits for its value to be completed ends it early.
    """
    found: str | None = getattr(options, name, None)
    line = os.environ.get("COMP_LINE", "")
    typed = re.search(rf"\s{option}(?:\s+|=)(\S+)\s", line)
    return found or (typed[1] if typed else None)


async def _recorded(config: Config, name: str, options: argparse.Namespace) -> list[str]:
    from ci.aws.session import Aws, Credentials  # late: nothing else here needs AWS
    from ci.aws.target import Target
    from ci.local import embedded_aws
    from ci.pipeline import environments
    from ci.release.records.table import history

    environment = config.environment(name)
    aws = Aws(region=environment.region, endpoint=getattr(options, "constructor_endpoint", None))
    if aws.endpoint is None and uses_local_aws(
        config, name, _typed("--aws", "aws", options) or "auto"
    ):
        running = await embedded_aws.find()
        if running is None:
            return []
        # The embedded AWS accepts any key.
        keys = Credentials(access_key_id="test", secret_access_key="test")  # noqa: S106
        aws = Aws(region=environment.region, endpoint=running.endpoint, credentials=keys)
    context = await environments.existing(Target(aws=aws, config=config, env=environment))
    return [release.id for release in (await history(context)).releases]


#: By the name of the parameter.
VALUES: Mapping[str, Values] = MappingProxyType(
    {
        "env": _environments,
        "from_": _environments,
        "agent": _agents,
        "suite": _suites,
        "strategy": _strategies,
        "release": _releases,
        "release_": _releases,
        "to": _releases,
    }
)
