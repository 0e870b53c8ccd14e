"""A newcomer's first hour: README.md from top to bottom, typed at a terminal.

Slow, because it needs the deployed environment that the tests of `test_deploy.py` use as well; this
file runs before it, and changes nothing there.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from tests.e2e.checkout import PATIENCE, Checkout
from tests.unit.repository.test_command_lines import command_lines

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]  # with nothing cached
README = (Path(__file__).parents[2] / "README.md").read_text()
#: The commands of the README that are typed in another way, or not here, and why.
OTHERWISE = {
    "./acso selftest": "./acso selftest -- --collect-only -q tests/unit/common",  # this is one
    "./acso cache --keep 5GB": "./acso cache --keep 900GB",  # other tests need the cache
    "./acso bench deploys": "./acso bench",  # takes minutes
    "./acso bench deploys --runs 1": "",  # the same
    "./acso engine run -- python my.py": "./acso engine run -- python results/my.py",
    "./acso down": "",  # the tests after this need the environment; the last of them does it
    "./acso promote --from staging --env production": (
        "./acso promote --from staging --env production --aws local"  # there is no account
    ),
    "./acso deploy --env staging": "./acso deploy --env staging --dry-run",  # the same
    "./acso exec --env development --agent supervisor -- python": "",  # a session of its own, below
    "./acso doctor": "COLUMNS=200 ./acso doctor",  # in one line each, so that they can be found
}
#: How each command ends, by the line as typed: exit code, and one line of its output.
ENDS = {
    "./acso deploy --env development": (0, "nothing changed: all 5 services of development run"),
    "./acso selftest -- --collect-only -q tests/unit/common": (0, r"\d+ tests collected"),
    "./acso check": (0, r"✓ typecheck"),
    "./acso plan --env development": (0, "nothing would change in development"),
    "./acso plan --env development --output plan.json": (0, "no resource would change"),
    "./acso deploy --env development --plan plan.json": (0, "next: ./acso status"),
    "./acso verify --env development": (0, r"✓ verify"),
    "./acso status --env development": (0, r"development: release 2\S+-1"),
    "./acso logs --env development": (0, "listening on"),
    "./acso history --env development": (0, "development: 1 release, newest first"),
    "./acso validate --env development": (0, "5 of 5 smoke checks passed"),
    "./acso rollback --env development": (42, "development has no validated release before"),
    "./acso promote --from staging --env production --aws local": (2, "nothing was ever deployed"),
    "./acso run-task --env development --agent supervisor -- python -c 'print(1)'": (0, r"\n1\r"),
    "./acso unlock --env development": (0, "development is not locked"),
    "COLUMNS=200 ./acso doctor": (0, r"ok +embedded AWS +http"),
    "./acso cache --keep 900GB": (0, "removed 0 results"),
    "./acso engine run -- python results/my.py": (0, "hello from a container"),
    "./acso bench": (2, "error: name a benchmark"),
    "./acso deploy --env staging --dry-run": (21, "environment staging has no account"),
    "./acso --help": (0, "exit codes of all commands"),
}
MY_PY = """
import anyio, dagger
from dagger import dag

async def main():
    async with dagger.connection():
        base = dag.container().from_("python:3.11-slim")
        print(await base.with_exec(["echo", "hello from a container"]).stdout(), end="")

anyio.run(main)
"""


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """A shell at a terminal, in the checkout."""

    shell: "pexpect.spawn[str]"

    def types(self, line: str) -> tuple[int, str]:
        """Type a line; return its exit code and what the terminal showed."""
        self.shell.sendline(line)
        return self.reads()

    def reads(self) -> tuple[int, str]:
        """Wait for the prompt; return the exit code before it and what the terminal showed."""
        self.shell.expect(r"\[exit (\d+)\] ", timeout=PATIENCE)
        assert self.shell.match is not None
        assert not isinstance(self.shell.match, type)
        return int(self.shell.match[1]), str(self.shell.before)


@pytest.fixture(scope="module")
def terminal(checkout: Checkout) -> Iterator[Terminal]:
    path = f"{checkout.root}/.venv/bin:{checkout.environ['PATH']}"
    shell = pexpect.spawn(
        "bash",
        ["--norc", "--noprofile"],
        cwd=str(checkout.root),
        env={**checkout.environ, "PATH": path, "TERM": "xterm", "PS1": "[exit $?] "},
        encoding="utf-8",
        echo=False,
        dimensions=(50, 100),
        timeout=60,
    )
    mine = checkout.root / "results" / "my.py"  # a folder that is in no source
    mine.parent.mkdir()
    mine.write_text(MY_PY)
    found = Terminal(shell=shell)
    found.reads()
    found.types("bind 'set enable-bracketed-paste off'")
    yield found
    shell.close(force=True)
    (checkout.root / "plan.json").unlink()


@pytest.mark.usefixtures("deployed")
def test_every_command_of_the_readme_ends_as_the_newcomer_reads(terminal: Terminal) -> None:
    typed = [OTHERWISE.get(line, line) for line in command_lines(README)]
    assert {line for line in typed if line} == set(ENDS)
    for line in filter(None, typed):
        code, shown = terminal.types(line)
        expected, text = ENDS[line]
        assert code == expected, f"{line}: {shown}"
        assert re.search(text, shown), f"{line}: {shown}"
        assert "Traceback" not in shown


@pytest.mark.usefixtures("deployed")
def test_a_command_in_a_running_task_has_the_terminal(terminal: Terminal) -> None:
    terminal.shell.sendline("./acso exec --env development --agent supervisor -- python")
    terminal.shell.expect(">>> ", timeout=PATIENCE)
    terminal.shell.sendline("print(6 * 7)")
    terminal.shell.expect("42")
    terminal.shell.sendline("raise SystemExit(3)")
    assert terminal.reads()[0] == 3


@pytest.mark.usefixtures("deployed")
def test_the_shell_completes_commands_and_releases_on_record(terminal: Terminal) -> None:
    assert terminal.types('eval "$(./acso completion bash)"')[0] == 0
    terminal.shell.send("./acso rollb\t--env dev\t--to 2\t")
    terminal.shell.expect(r"rollback --env development --to \d{4}\.\d\d\.\d\d-1", timeout=PATIENCE)
    terminal.shell.sendintr()
    assert terminal.reads()[0] == 130


@pytest.mark.usefixtures("deployed")
def test_what_has_no_end_ends_with_ctrl_c_and_success(terminal: Terminal) -> None:
    terminal.shell.sendline("./acso status --env development --watch")
    terminal.shell.expect("Ctrl-C ends", timeout=PATIENCE)
    terminal.shell.sendintr()
    assert terminal.reads()[0] == 0
