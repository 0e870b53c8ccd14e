"""Run a program in a session, as `dagger run` does."""

import os
import signal
from collections.abc import Sequence

import anyio
from anyio.abc import Process

from ci.engine.options import Options
from ci.engine.server import serve


async def run(options: Options, command: Sequence[str]) -> int:
    """Run a command with the session in its environment; return its exit code.

    SIGINT, SIGTERM and SIGHUP of this process are passed on to the command.

    Raises:
        EngineError: no container engine answers.
        OSError: the command cannot be started.
    """
    async with serve(options) as session:
        environment = {**os.environ, **session.environ()}
        async with await anyio.open_process(
            list(command), stdin=None, stdout=None, stderr=None, env=environment
        ) as process:
            async with anyio.create_task_group() as group:
                group.start_soon(_forward_signals, process)
                code = await process.wait()
                group.cancel_scope.cancel()
            return code if code >= 0 else 128 - code


async def _forward_signals(process: Process) -> None:
    # Under nohup, SIGHUP is ignored.
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    numbers = [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]
    with anyio.open_signal_receiver(*numbers) as signals:
        async for number in signals:
            if process.returncode is None:
                process.send_signal(number)
