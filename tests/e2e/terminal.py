"""A shell at a terminal, in which a test types as a person does."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pexpect

from tests.e2e.checkout import PATIENCE, Checkout

#: How a prompt begins: the exit code of the command before it.
PROMPT = r"\[exit (\d+)\] "
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")
#: A line is erased, to be written again.
ERASE = "\x1b[2K"


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """A shell that waits for a line, or runs one."""

    shell: "pexpect.spawn[str]"

    def types(self, line: str) -> tuple[int, str]:
        """Type a line; return its exit code and what the terminal showed below it."""
        self.shell.sendline(line)
        return self.ended()

    def begins(self, line: str, until: str) -> None:
        """Type a line; wait until the terminal shows a text below it."""
        self.shell.sendline(line)
        self.shell.expect_exact("\r\n", timeout=PATIENCE)  # the end of the typed line
        self.shell.expect(until, timeout=PATIENCE)

    def ended(self) -> tuple[int, str]:
        """Wait for the prompt; return the exit code before it and what the terminal showed."""
        self.shell.expect(PROMPT, timeout=PATIENCE)
        found = re.fullmatch(PROMPT, str(self.shell.after))
        assert found is not None
        shown = CONTROL.sub("", str(self.shell.before).replace(ERASE, "\n"))
        return int(found[1]), shown.partition("\n")[2]

    def presses(self, keys: str, until: str) -> None:
        """Press keys; wait until the terminal shows a text."""
        self.shell.send(keys)
        self.shell.expect(until, timeout=PATIENCE)


def _listen_to_signals() -> None:
    """Undo what a job in the background inherits: a shell keeps an ignored signal ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):  # Ctrl-C, and a closed terminal
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def opened(checkout: Checkout) -> Iterator[Terminal]:
    """Open a terminal in a checkout; it is closed after the block."""
    shell = pexpect.spawn(
        "bash",
        ["--norc", "--noprofile"],
        cwd=str(checkout.root),
        env={**checkout.environ, "TERM": "xterm", "PS1": "[exit $?] "},
        encoding="utf-8",
        dimensions=(50, 100),
        preexec_fn=_listen_to_signals,
    )
    terminal = Terminal(shell=shell)
    try:
        terminal.ended()
        # Otherwise the shell marks pasted text, also what a test types.
        assert terminal.types("bind 'set enable-bracketed-paste off'; unset HISTFILE")[0] == 0
        yield terminal
    finally:
        shell.close(force=True)
