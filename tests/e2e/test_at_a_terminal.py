"""What a person does at a terminal: complete a line, run Python in a task, press Ctrl-C, leave.

Slow, because it needs the deployed environment of `test_deploy.py`; it changes nothing there.
"""

import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.checkout import PATIENCE, Checkout
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
    checkout: Checkout, containers: Callable[..., list[str]]
) -> None:
    before = set(containers())
    program = "import time; print('begun', flush=True); time.sleep(3000)"
    task = f'./acso run-task --env development --agent supervisor -- python -c "{program}"'
    with opened(checkout) as terminal:
        terminal.begins(task, until=r"\nbegun\r")
        assert len(set(containers()) - before) == 1
    eventually(lambda: set(containers()) <= before)


def test_the_agents_run_without_ecs_and_again_after_a_change(
    terminal: Terminal, checkout: Checkout
) -> None:
    terminal.begins("./acso up --agents", until=r"supervisor +(http\S+)")
    match = terminal.shell.match
    assert isinstance(match, re.Match)
    health = f"{match[1]}/health"
    until_it_says(health, "healthy")
    checkout.edit("agents/common/app.py", lambda text: text.replace('"healthy"', '"well"'))
    try:
        until_it_says(health, "well")
    finally:
        checkout.edit("agents/common/app.py", lambda text: text.replace('"well"', '"healthy"'))
    terminal.shell.send("\x03")
    assert terminal.ended()[0] == 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(health)


def until_it_says(health: str, status: str) -> None:
    """Wait for an agent to answer with a status."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(health, timeout=5) as answer:
                if json.load(answer)["status"] == status:
                    return
        except OSError:  # it does not listen yet, or starts again
            time.sleep(0.1)
    raise AssertionError(f"{health} does not say {status}")
