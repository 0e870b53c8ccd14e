"""Completion knows commands, options and values."""

import argparse
import os
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from ci.cli import completion
from ci.cli.completion import VALUES
from ci.config import load

ROOT = Path(__file__).parents[3]
CONFIG = load(ROOT / "acso.toml")


def completed(line: str) -> list[str]:
    """Return what a shell offers at the end of a line, as bash asks for it."""
    script = (
        "import os, runpy, sys\n"
        "sys.argv = ['acso']\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from ci.cli.program import main\n"
        "main([])"
    )
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": "/dev/stdout",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    return [word.strip() for word in done.stdout.splitlines()]


def test_a_shell_gets_environments_and_agents() -> None:
    assert completed("acso deploy --env st") == ["staging"]
    found = completed("acso logs --env staging --agent ")
    assert found == [agent.name for agent in CONFIG.agents]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("env", "production"),
        ("from_", "staging"),
        ("agent", "supervisor"),
        ("suite", "smoke"),
        ("strategy", "rolling"),
    ],
)
def test_values_are_those_of_acso_toml_and_the_code(name: str, value: str) -> None:
    assert value in VALUES[name](CONFIG, argparse.Namespace())


def test_releases_are_those_on_record_of_the_named_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def recorded(_: object, name: str, __: object) -> list[str]:
        return [f"{name}-release"]

    monkeypatch.setattr(completion, "_recorded", recorded)
    assert VALUES["to"](CONFIG, argparse.Namespace(env="staging")) == ["staging-release"]
    given = argparse.Namespace(from_="staging", env="production")
    assert VALUES["release_"](CONFIG, given) == ["staging-release"]
    assert VALUES["release"](CONFIG, argparse.Namespace()) == []
    assert VALUES["release"](CONFIG, argparse.Namespace(env="nosuch")) == []


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("acso rollback --env staging --to ", "staging"),
        ("acso history --env=staging --release ", "staging"),
        ("acso promote --from staging --env production --release ", "staging"),
    ],
)
def test_the_environment_is_read_from_the_line_that_is_typed(
    line: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def recorded(_: object, name: str, __: object) -> list[str]:
        return [f"{name}-release"]

    monkeypatch.setattr(completion, "_recorded", recorded)
    monkeypatch.setenv("COMP_LINE", line)
    # What argcomplete has: the value of the last option is missing, so the line was not read.
    assert VALUES["to"](CONFIG, argparse.Namespace(command=None)) == [f"{name}-release"]


def test_an_aws_that_does_not_answer_offers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    async def recorded(*_: object) -> list[str]:
        await anyio.to_thread.run_sync(answered.wait)
        return ["too late"]

    monkeypatch.setattr(completion, "_recorded", recorded)
    monkeypatch.setattr(completion, "TIMEOUT", 0.01)
    assert VALUES["to"](CONFIG, argparse.Namespace(env="staging")) == []
    answered.set()


def test_a_failure_offers_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def recorded(*_: object) -> list[str]:
        raise OSError

    monkeypatch.setattr(completion, "_recorded", recorded)
    assert VALUES["to"](CONFIG, argparse.Namespace(env="staging")) == []
    action = argparse.Action(["--env"], "env")
    completion.add(action, "env")
    elsewhere = argparse.Namespace(constructor_source=str(tmp_path))
    assert action.completer("", elsewhere) == []  # type: ignore[attr-defined]
