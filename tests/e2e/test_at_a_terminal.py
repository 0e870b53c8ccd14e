"""What a person does at a terminal: complete a line, run Python in a task, press Ctrl-C, leave.

Slow, because it needs the deployed environment of `test_deploy.py`; it changes nothing there.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.checkout import Checkout
from tests.e2e.terminal import Terminal, opened
from tests.local.aws import eventually

pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(900),  # with nothing cached
    pytest.mark.usefixtures("deployed"),
]


@pytest.fixture(scope="module")
def terminal(checkout: Checkout) -> Iterator[Terminal]:
    with opened(checkout) as terminal:
        yield terminal


def test_the_shell_completes_commands_environments_and_releases(terminal: Terminal) -> None:
    assert terminal.types('eval "$(./acso completion bash)"')[0] == 0
    terminal.presses("./acso rollb\t", until="ack ")
    terminal.presses("--env dev\t", until="elopment ")
    terminal.presses("--to 2\t", until=r"\d{3}\.\d\d\.\d\d-")
    terminal.presses("\x03", until="\n")
    assert terminal.ended()[0] == 130


def test_a_command_in_a_running_task_has_the_terminal(terminal: Terminal) -> None:
    terminal.begins("./acso exec --env development --agent supervisor -- python", until=">>> ")
    terminal.presses("print(6 * 7)\r", until=r"\n42\r")
    terminal.shell.send("raise SystemExit(3)\r")
    assert terminal.ended()[0] == 3


def test_what_has_no_end_ends_with_ctrl_c_and_success(terminal: Terminal) -> None:
    terminal.begins("./acso status --env development --watch", until="Ctrl-C ends")
    terminal.shell.send("\x03")
    assert terminal.ended()[0] == 0


def test_a_closed_terminal_ends_a_command_which_cleans_up(
    checkout: Checkout, containers: Callable[[], list[str]]
) -> None:
    before = set(containers())
    program = "import time; print('begun', flush=True); time.sleep(3000)"
    task = f'./acso run-task --env development --agent supervisor -- python -c "{program}"'
    with opened(checkout) as terminal:
        terminal.begins(task, until=r"\nbegun\r")
        assert len(set(containers()) - before) == 1
    eventually(lambda: set(containers()) <= before)
