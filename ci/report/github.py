"""GitHub Actions: annotations, groups in the log, and the job's summary.

Only a process that runs in the job itself can write these. Inside a Dagger engine the runner's
environment variables are not set, and the engine prefixes every line of output.
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

MAX_ANNOTATION: Final = 4000  # characters, below the limit of an annotation
MAX_SUMMARY: Final = 900_000  # bytes, below the limit of a step's summary (1 MiB)
#: Characters to escape in a workflow command's message, and in its properties.
MESSAGE: Final = {"%": "%25", "\r": "%0D", "\n": "%0A"}
PROPERTY: Final = MESSAGE | {":": "%3A", ",": "%2C"}
MARKS: Final = {"ok": "✅", "not examined": "⚠️", "failed": "❌", "cancelled": "🚫", "running": "…"}


def active() -> bool:
    """Return whether this process runs in a job of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def error(title: str, message: str) -> str:
    """Return the workflow command that annotates the run with an error."""
    short = message if len(message) <= MAX_ANNOTATION else message[: MAX_ANNOTATION - 1] + "…"
    return f"::error title={_escaped(title, PROPERTY)}::{_escaped(short, MESSAGE)}"


def group(title: str, text: str) -> str:
    """Return text as a group, which the log shows folded.

    The text may come from others, such as an agent's log: workflow commands in it are disabled.
    """
    token = secrets.token_hex(16)
    lines = [f"::group::{_escaped(title, MESSAGE)}", f"::stop-commands::{token}", text]
    return "\n".join([*lines, f"::{token}::", "::endgroup::"])


def failure(command: str, message: str, hint: str) -> str:
    """Return an error for a job's log: its details as a group, then the annotation."""
    first, _, rest = message.partition("\n")
    folded = [group(first, rest)] if rest else []
    whole = f"{message}\nnext: {hint}" if hint else message
    return "\n".join([*folded, error(f"acso {command}", whole)])


def summary(command: str, spans: Sequence[Span], code: int, text: str) -> str:
    """Return a command's summary in Markdown: exit code, stages, and its result or error."""
    end = f"exit code {code}" if code else "done"
    lines = [f"### acso {command}: {end}", ""]
    if spans:
        lines += ["| | stage | seconds | result |", "| --- | --- | ---: | --- |"]
        lines += [_row(span) for span in spans] + [""]
    if text:
        fence = "`" * (1 + max((len(run) for run in re.findall("`{2,}", text)), default=2))
        lines += [fence + "text", text.rstrip("\n"), fence, ""]
    return "\n".join(lines) + "\n"


def write_summary(command: str, spans: Sequence[Span], code: int, text: str) -> None:
    """Add a command's summary to the job's; if that fails, only print a warning."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not active() or not path:
        return
    written = summary(command, spans, code, text).encode(errors="backslashreplace")[:MAX_SUMMARY]
    try:
        with Path(path).open("ab") as file:
            file.write(written)
    except OSError as problem:
        sys.stderr.write(f"::warning title=acso::the summary cannot be written: {problem}\n")


def _row(span: Span) -> str:
    cells = (MARKS[span.state], span.name, f"{span.seconds:.1f}", span.headline)
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    """Return text as one line with all Markdown escaped, for a table cell."""
    line = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", line)


def _escaped(text: str, characters: dict[str, str]) -> str:
    return "".join(characters.get(character, character) for character in text)
