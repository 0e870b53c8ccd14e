"""Run one agent until it is stopped.

The exit code is 0 after SIGTERM or Ctrl-C, and 1 if the agent could not start. The reason is then
in the last lines of the log, which a release that fails shows.
"""

import importlib
import logging
import os
import signal
import socket
import sys

from agents.common.settings import Settings, read
from agents.common.telemetry import logs

#: Seconds for running requests to finish; less than the 30 s after which ECS kills a task.
GRACE = 20
#: More than the 60 s for which a load balancer reuses a connection, so that it finds none closed.
KEEP_ALIVE = 65

_log = logging.getLogger("agents.server")


def run(package: str) -> None:
    """Serve the agent of a package, whose `api` module has the `router`.

    The agent's own code is imported here too, so that every failure is one JSON log line with its
    traceback. Exits the process: 0 stopped, 1 failed.
    """
    # Before the imports, which take most of the start: a task stopped during them did not fail.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    agent = package.rpartition(".")[2].replace("_", "-")
    logs.configure(agent, os.environ.get("ACSO_VERSION") or Settings.version)
    try:
        _serve(read(agent, os.environ), package)
    except Exception as error:
        _log.critical("%s failed: %s: %s", agent, type(error).__name__, error, exc_info=True)
        sys.exit(1)


def _serve(settings: Settings, package: str) -> None:
    import uvicorn

    from agents.common.app import create

    api = importlib.import_module(f"{package}.api")
    app = create(settings, api.router, background=getattr(api, "background", None))
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
    )
    server = uvicorn.Server(config)

    def stop(*_: object) -> None:
        server.should_exit = True

    # While it serves, uvicorn has its own handlers; it ends by raising the signal again for the
    # previous ones. With the default handlers, the process would then not end with exit code 0.
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    listener = _listen(settings)
    _log.info("listening on %s, port %d", settings.host, settings.port)
    try:
        server.run(sockets=[listener])
    except SystemExit as ended:
        # uvicorn exits with 3 if the application's startup fails, after logging why.
        sys.exit(1 if ended.code else 0)


def _listen(settings: Settings) -> socket.socket:
    """Return the bound socket; raises `OSError` naming the address."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        where = f"{settings.host}, port {settings.port}"
        raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from error
