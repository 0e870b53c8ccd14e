"""When a service is ready: its health check passes, or else all its ports accept connections."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from ci.engine.errors import EngineError
from ci.engine.healthcheck import Healthcheck
from ci.engine.values import Port

#: Seconds a service may take to listen on its ports.
START_TIMEOUT = 60
#: Seconds between two health checks, and the number of failures after which a service counts as
#: failed, where the health check does not say; as in Dagger.
INTERVAL, RETRIES = 5.0, 3


async def until_listening(address: str, ports: tuple[Port, ...]) -> None:
    """Wait until all TCP ports accept connections.

    Raises:
        EngineError: one does not in time.
    """
    deadline = time.monotonic() + START_TIMEOUT
    wanted = [port for port in ports if port.protocol == "TCP" and not port.skip_healthcheck]
    while not all([await _accepts(address, port) for port in wanted]):
        if time.monotonic() > deadline:
            numbers = ", ".join(str(port.port) for port in wanted)
            raise EngineError(f"the service does not listen on {numbers} after {START_TIMEOUT} s")
        await anyio.sleep(0.05)


async def _accepts(address: str, port: Port) -> bool:
    with anyio.move_on_after(1):
        try:
            stream: Any = await anyio.connect_tcp(address, port.port)
        except OSError:
            return False
        await stream.aclose()
        return True
    return False


async def until_healthy(
    check: Healthcheck, run: Callable[[tuple[str, ...]], Awaitable[EngineError | None]]
) -> None:
    """Run a health check until it passes; `run` returns the error of a command that fails.

    Failures within the start period do not count. The timeout is not applied, as in Dagger.

    Raises:
        EngineError: it failed as often as its retries allow.
    """
    interval = check.seconds("startInterval") or check.seconds("interval") or INTERVAL
    began, failures = time.monotonic(), 0
    while True:
        error = await run(check.command)
        if error is None:
            return
        failures += time.monotonic() - began >= check.seconds("startPeriod")
        if failures >= (check.retries or RETRIES):
            raise error.within("health check errored")
        await anyio.sleep(interval)
