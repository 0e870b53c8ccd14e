"""The workflow of this repository, and its pipeline step as a runner of GitHub executes it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
WORKFLOW = ROOT / ".github" / "workflows" / "pipeline.yml"
EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
TOKEN = re.compile(r"\s*(==|!=|&&|\|\||'(?:[^']|'')*'|[a-z_]+(?:\.[a-z_]+)*)")
REPOSITORY = "o/acso"
COMMIT = "abcd" * 10


def workflow() -> dict[str, Any]:
    """Return the workflow; YAML 1.1 reads its key `on` as true."""
    loaded: dict[Any, Any] = yaml.safe_load(WORKFLOW.read_text())
    return {"on" if key is True else key: value for key, value in loaded.items()}


def job() -> dict[str, Any]:
    """Return the workflow's only job."""
    (found,) = workflow()["jobs"].values()
    assert isinstance(found, dict)
    return found


def step() -> dict[str, Any]:
    """Return the step that calls the pipeline."""
    (found,) = (item for item in job()["steps"] if item["name"] == "Pipeline")
    assert isinstance(found, dict)
    return found


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happened in the repository: GitHub's name of it, and the full ref."""

    name: str
    ref: str
    actor: str = "ann"
    payload: Mapping[str, Any] = field(default_factory=dict)

    @property
    def github(self) -> dict[str, str]:
        """The `github` context, as far as the workflow uses it."""
        return {"github.event_name": self.name, "github.ref": self.ref}

    def environ(self, folder: Path) -> dict[str, str]:
        """Return the variables that a runner sets."""
        file = folder / "event.json"
        file.write_text(json.dumps(self.payload))
        return {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTOR": self.actor,
            "GITHUB_EVENT_NAME": self.name,
            "GITHUB_EVENT_PATH": str(file),
            "GITHUB_REF": self.ref,
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_SHA": COMMIT,
        }

    @property
    def environment(self) -> str:
        """The GitHub environment that the job runs for; empty for none."""
        return filled(job().get("environment", ""), self.github)

    @property
    def subject(self) -> str:
        """The subject of the job's identity tokens.

        Source: GitHub Docs, "OpenID Connect reference", "Example subject claims".
        """
        context = f"environment:{self.environment}" if self.environment else f"ref:{self.ref}"
        return f"repo:{REPOSITORY}:{context}"


def run(
    event: Event, folder: Path, environ: Mapping[str, str], *, cwd: Path = ROOT
) -> "subprocess.CompletedProcess[str]":
    """Execute the pipeline step's command, with a stand-in first on PATH as its `dagger`.

    The step's action (dagger/dagger-for-github v8.4.1, action.yml, "assemble" and "exec") puts its
    arguments on one line, into single quotes once, and then, after its flags and verb, into a
    script of bash, which expands the variables.

    Args:
        event: what happened.
        folder: for the event's file and the stand-in.
        environ: variables besides those of a runner.
        cwd: the checkout.
    """
    given = {name: filled(str(value), event.github) for name, value in step()["with"].items()}
    assert set(given) == {"version", "verb", "args"}, "an input that is not handled here"
    arguments = given["args"].replace("\\\n", " ").replace("\n", " ")
    assert "'" not in arguments, "the action puts its arguments into single quotes"
    script = folder / "step.sh"
    script.write_text(f"dagger --progress plain {given['verb']} {arguments}\n")
    path = f"{stand_in(folder)}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
        cwd=cwd,
        env={**os.environ, **event.environ(folder), **environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate()
        except BaseException:  # the test took too long, or the tests are being stopped
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def stand_in(folder: Path) -> Path:
    """Write the program `dagger` (`tests.unit.github.cli`) into a folder; return the folder."""
    programs = folder / "bin"
    programs.mkdir()
    program = programs / "dagger"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.unit.github.cli "$@"\n')
    program.chmod(0o755)
    return programs


def filled(text: str, context: Mapping[str, str]) -> str:
    """Return a text of the workflow with its expressions evaluated."""

    def value(found: re.Match[str]) -> str:
        result = evaluate(found[1], context)
        return result if isinstance(result, str) else str(result).lower()

    return EXPRESSION.sub(value, str(text))


def evaluate(expression: str, context: Mapping[str, str]) -> str | bool:
    """Evaluate an expression: names, texts, `==`, `!=`, `&&` and `||`; anything else fails.

    Source: GitHub Docs, "Evaluate expressions in workflows and actions", "Operators".
    """
    tokens = list(_tokens(expression))
    result = _any_of(tokens, context)
    assert not tokens, f"not understood: {expression}"
    return result


def _tokens(expression: str) -> Iterator[str]:
    rest = expression.strip()
    while rest:
        found = TOKEN.match(rest)
        assert found, f"not understood: {rest}"
        yield found[1]
        rest = rest[found.end() :].strip()


def _any_of(tokens: list[str], context: Mapping[str, str]) -> str | bool:
    result = _all_of(tokens, context)
    while tokens and tokens[0] == "||":
        tokens.pop(0)
        other = _all_of(tokens, context)
        result = result or other
    return result


def _all_of(tokens: list[str], context: Mapping[str, str]) -> str | bool:
    result = _compared(tokens, context)
    while tokens and tokens[0] == "&&":
        tokens.pop(0)
        other = _compared(tokens, context)
        result = other if result else result
    return result


def _compared(tokens: list[str], context: Mapping[str, str]) -> str | bool:
    left = _value(tokens.pop(0), context)
    if tokens and tokens[0] in ("==", "!="):
        equal = tokens.pop(0) == "=="
        # GitHub ignores case when it compares texts.
        return (left.lower() == _value(tokens.pop(0), context).lower()) is equal
    return left


def _value(token: str, context: Mapping[str, str]) -> str:
    if token.startswith("'"):
        return token[1:-1].replace("''", "'")
    assert token in context, f"unknown name: {token}"
    return context[token]
