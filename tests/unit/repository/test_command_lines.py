"""Every command line of the documents runs, from top to bottom, and ends as it should.

What would start containers is replaced (`tests.unit.cli.dry`); tests/e2e runs the deployments.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.cli.help import EXAMPLES
from tests.unit.cli.dry import dry, run
from tests.unit.repository.conftest import documents

BLOCK = re.compile(r"^```.*?\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(\./acso [^`]+)`")
#: A word that the reader replaces; it occurs within a sentence only.
PLACEHOLDER = re.compile(r"\b(NAME|COMMAND|ARGUMENTS|SECONDS|FILE)\b")


def command_lines(text: str) -> Iterator[str]:
    """Return all command lines of blocks, and those within sentences that are complete."""
    for block in BLOCK.findall(text):
        for line in block.splitlines():
            if line.strip().startswith("./acso "):
                yield line.partition(" # ")[0].strip()
    for line in INLINE.findall(BLOCK.sub("", text)):
        complete = len(line.split()) > 3 or line.split()[1] in ("--help", "doctor", "check")
        if complete and not PLACEHOLDER.search(line):
            yield line


@pytest.fixture
def with_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK", "https://example.org")


@pytest.mark.usefixtures("with_webhook")
def test_every_command_line_of_a_document_runs(tmp_path: Path) -> None:
    seen: set[str] = set()
    for document in documents():
        folder = tmp_path / document.stem
        folder.mkdir(exist_ok=True)
        with dry(folder):
            for line in command_lines(document.read_text()):
                ended = run(shlex.split(line)[1:])
                where = f"{document.name}: {line}"
                assert (ended.code, "error:" in ended.err) == (0, False), f"{where}: {ended.err}"
                seen.add(line.partition(" ")[2].split()[0])
    assert {"deploy", "selftest", "engine", "bench", "cache", "run-task", "logs"} <= seen


@pytest.mark.parametrize("command", EXAMPLES)
def test_the_example_of_a_command_s_help_runs(command: str, tmp_path: Path) -> None:
    with dry(tmp_path):
        shown = run([command, "--help"]).out
        (example,) = re.findall(r"(?m)^example:\n  (.*)\Z", shown.rstrip())
        words = shlex.split(example)
        assert words[:2] == ["acso", command]
        assert run(words[1:]).code == 0
