"""GitHub Actions: annotations, folded text, and the job's summary.

Only a command that runs in the job itself can write these: inside a Dagger engine the runner's
environment does not exist, and its lines come with the engine's own marks before them.
Source: GitHub Docs, "Workflow commands for GitHub Actions".
"""

import os
import re
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ci.report.progress import Span

ANNOTATION: Final = 4000  # characters, below what an annotation shows
SUMMARY: Final = 900_000  # bytes, below the megabyte that a step's summary may have
#: Characters of a command's message, and those that its properties need besides.
MESSAGE: Final = {"%": "%25", "\r": "%0D", "\n": "%0A"}
PROPERTY: Final = MESSAGE | {":": "%3A", ",": "%2C"}
MARKS: Final = {"ok": "✅", "failed": "❌", "cancelled": "🚫", "running": "…"}


def active() -> bool:
    """Tell whether this process runs in a job of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def error(title: str, message: str) -> str:
    """Return the command that annotates the run with an error."""
    short = message if len(message) <= ANNOTATION else message[: ANNOTATION - 1] + "…"
    return f"::error title={_escaped(title, PROPERTY)}::{_escaped(short, MESSAGE)}"


def group(title: str, text: str) -> str:
    """Return text as a group that is folded in the log.

    What others wrote is in it, such as an agent's last lines: no command among that is obeyed.
    """
    token = secrets.token_hex(16)
    lines = [f"::group::{_escaped(title, MESSAGE)}", f"::stop-commands::{token}", text]
    return "\n".join([*lines, f"::{token}::", "::endgroup::"])


def failure(command: str, message: str, hint: str) -> str:
    """Return how an error is told in a job's log: details folded, then the annotation."""
    first, _, rest = message.partition("\n")
    folded = [group(first, rest)] if rest else []
    whole = f"{message}\nnext: {hint}" if hint else message
    return "\n".join([*folded, error(f"acso {command}", whole)])


def summary(command: str, spans: Sequence[Span], code: int, text: str) -> str:
    """Return the summary of a command as Markdown: its end, its stages, its result or error."""
    end = f"exit code {code}" if code else "done"
    lines = [f"### acso {command}: {end}", ""]
    if spans:
        lines += ["| | stage | seconds | result |", "| --- | --- | ---: | --- |"]
        lines += [_row(span) for span in spans] + [""]
    if text:
        fence = "`" * (1 + max((len(run) for run in re.findall("`{2,}", text)), default=2))
        lines += [fence + "text", text.rstrip("\n"), fence, ""]
    return "\n".join(lines) + "\n"


def summarise(command: str, spans: Sequence[Span], code: int, text: str) -> None:
    """Add a command's summary to the job's; one that cannot be written fails nothing."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not active() or not path:
        return
    written = summary(command, spans, code, text).encode()[:SUMMARY]
    try:
        with Path(path).open("ab") as file:
            file.write(written)
    except OSError as problem:
        sys.stderr.write(f"::warning title=acso::the summary cannot be written: {problem}\n")


def _row(span: Span) -> str:
    cells = (MARKS[span.state], span.name, f"{span.seconds:.1f}", span.result)
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    """Return text that stays in its cell and is no markup."""
    line = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", line)


def _escaped(text: str, characters: dict[str, str]) -> str:
    return "".join(characters.get(character, character) for character in text)
