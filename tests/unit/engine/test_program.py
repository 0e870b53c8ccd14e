"""`engine run` passes signals on to the command that it runs."""

import signal
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from ci.engine.program import _forward_signals


class Command:
    """A command that runs."""

    returncode = None

    def __init__(self) -> None:
        self.received: list[int] = []

    def send_signal(self, number: int) -> None:
        self.received.append(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_is_passed_on(number: signal.Signals) -> None:
    process: Any = Command()
    before = signal.getsignal(number)
    async with anyio.create_task_group() as group:
        group.start_soon(_forward_signals, process)
        while signal.getsignal(number) is before:
            await anyio.lowlevel.checkpoint()
        signal.raise_signal(number)
        while not process.received:
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert process.received == [number]


async def test_under_nohup_a_closed_terminal_stays_ignored() -> None:
    process: Any = Command()
    other = signal.getsignal(signal.SIGTERM)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_forward_signals, process)
            while signal.getsignal(signal.SIGTERM) is other:
                await anyio.lowlevel.checkpoint()
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            group.cancel_scope.cancel()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert process.received == []
