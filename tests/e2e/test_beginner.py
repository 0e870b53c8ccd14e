"""A newcomer's first hour: README.md from top to bottom, typed at a terminal.

Slow, because it needs the deployed environment of `test_deploy.py`, which runs after this file. An
agent is edited as there, deployed and rolled back, so that the environment is left as it was.
`-rP` shows each line with its exit code and one line of its output.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.checkout import Checkout
from tests.e2e.terminal import Terminal, opened
from tests.unit.repository.test_command_lines import command_lines

pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(1200),  # with nothing cached
    pytest.mark.usefixtures("deployed"),
]
README = (Path(__file__).parents[2] / "README.md").read_text()


@dataclass(frozen=True)
class Step:
    """How a command ends: exit code, and one line of its output.

    `typed` replaces the README's line: "" if it is typed elsewhere.
    """

    code: int
    line: str
    typed: str | None = None


#: By the README's line, in its order.
STEPS: Mapping[str, Step] = {
    "./acso deploy --env development": Step(0, "nothing changed: all 5 services of development"),
    # This test is one of the selftest's.
    "./acso selftest": Step(
        0, r"\d+ tests collected", "./acso selftest -- --collect-only -q tests/unit/common"
    ),
    "./acso check": Step(0, "typecheck"),
    "./acso plan --env development": Step(
        2,
        "threat-hunter +change",
        r"printf '\n# edited\n' >> agents/threat_hunter/logic.py; ./acso plan --env development",
    ),
    "./acso plan --env development --output plan.json": Step(2, "threat-hunter +change"),
    "./acso deploy --env development --plan plan.json": Step(
        0, r"release \S+ is live in development: 1 of 5 services rolled"
    ),
    "./acso bootstrap --env staging": Step(21, "error: environment staging has no account"),
    "./acso verify --env development": Step(0, r"development: \d+ of \d+ passed"),
    "./acso status --env development": Step(0, r"development: release 2\S+-\d+$"),
    "./acso logs --env development": Step(0, "listening on"),
    "./acso history --env development": Step(0, r"development: \d+ releases, newest first"),
    # tests/local/releases/test_validation.py runs the other suites.
    "./acso validate --env development --suite integration": Step(
        0, "smoke checks passed", "./acso validate --env development"
    ),
    # tests/local/releases/test_chaos.py conducts it.
    "./acso chaos --env development --experiment stop-task": Step(0, "", ""),
    "./acso rollback --env development": Step(0, r"development is back on release 2\S+-\d+ "),
    "./acso promote --from staging --env production": Step(
        21, "error: environment production has no account"
    ),
    "./acso run-task --env development --agent supervisor -- python -c 'print(1)'": Step(0, "^1$"),
    # test_at_a_terminal.py types it: a session within the session.
    "./acso exec --env development --agent supervisor -- python": Step(0, "", ""),
    "./acso unlock --env development": Step(0, "development is not locked"),
    "./acso token --env development": Step(0, "^[0-9A-Za-z_-]{32,}$"),
    "./acso rotate-tokens --env development": Step(0, "new tokens in development for"),
    # test_at_a_terminal.py types it.
    "./acso up --agents": Step(0, "", ""),
    "./acso doctor": Step(0, "^ok +embedded AWS"),
    # Other tests need the cache.
    "./acso cache --keep 5GB": Step(0, "removed 0 results", "./acso cache --keep 900GB"),
    # Other tests need the environment; the last of them types it.
    "./acso down": Step(0, "", ""),
    "./acso engine run -- python my.py": Step(
        0, "^hello from a container$", "./acso engine run -- .venv/bin/python results/my.py"
    ),
    # They take minutes.
    "./acso bench deploys": Step(2, "error: name a benchmark", "./acso bench"),
    "./acso --help": Step(0, "exit codes of all commands"),
    "./acso deploy --env staging": Step(21, "error: environment staging has no account"),
    "./acso bench deploys --runs 1": Step(0, "", ""),
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


@pytest.fixture
def terminal(checkout: Checkout) -> Iterator[Terminal]:
    """A terminal in the checkout, whose sources are as before at the end."""
    program = checkout.root / "results" / "my.py"  # a folder that is in no source
    program.parent.mkdir(exist_ok=True)
    program.write_text(MY_PY)
    with opened(checkout) as terminal:
        yield terminal
        assert terminal.types("git checkout --quiet . && git clean --quiet --force")[0] == 0
    program.unlink()


def test_every_command_of_the_readme_ends_as_the_newcomer_reads(terminal: Terminal) -> None:
    assert list(STEPS) == list(dict.fromkeys(command_lines(README)))
    for written, step in STEPS.items():
        line = written if step.typed is None else step.typed
        if not line:
            continue
        code, shown = terminal.types(line)
        found = re.search(f"(?m)^.*{step.line}.*$", shown)
        assert (code, found is not None) == (step.code, True), f"{line}: {code}\n{shown}"
        assert "Traceback" not in shown
        print(f"[{code:>2}] {line}\n     {found[0] if found else ''}")
