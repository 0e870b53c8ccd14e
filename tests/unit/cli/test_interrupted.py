"""Ctrl-C before the command has begun: no traceback, and with --json still one document."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.json_documents import DOCUMENT

ROOT = Path(__file__).parents[3]
#: Runs ci/__main__.py with a program that is interrupted while it is imported.
SCRIPT = """
import runpy, sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == "ci.cli.program":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
sys.argv = ["acso", *sys.argv[1:]]
runpy.run_path("ci", run_name="__main__")
"""


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_an_early_interrupt_is_exit_code_130(flags: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "doctor", *flags],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 130
    assert done.stderr == "error: interrupted\n  next: run the same command again\n"
    if flags:
        DOCUMENT.validate(json.loads(done.stdout))
    else:
        assert done.stdout == ""
