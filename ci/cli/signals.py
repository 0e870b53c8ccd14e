"""Signals that end a command as Ctrl-C does: it is cancelled, cleans up and exits with 130."""

import signal


def handle() -> None:
    """Let SIGTERM, and SIGHUP when the terminal is closed, end the command."""
    signal.signal(signal.SIGTERM, lambda *_: _interrupt())
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup it is ignored
        signal.signal(signal.SIGHUP, lambda *_: _hang_up())


def _hang_up() -> None:
    # The system and the shell both send it; two would be a second Ctrl-C, which rolls back.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _interrupt()


def _interrupt() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a job in the background of a script
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)
