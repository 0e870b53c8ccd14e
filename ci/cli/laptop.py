"""Run the agents on this machine without ECS, started again after every change of their code."""

import os
import signal
import subprocess
import sys

from ci.cli.session import ROOT
from ci.config import FILE, load
from ci.local import container_engine, embedded_aws
from ci.report.progress import stage

#: A usual port of development servers; another one if it is taken.
PREFERRED_PORT = 8000


async def run_agents() -> int:
    """Start the embedded AWS for the agents' state and tokens, and the agents, until Ctrl-C.

    Raises:
        HostError: the embedded AWS cannot be started.
    """
    async with stage("embedded AWS") as span:
        found = await embedded_aws.ensure(await container_engine.ensure(span.say), span.say)
        span.result = found.endpoint
    port = embedded_aws.free_port(["127.0.0.1"], PREFERRED_PORT)
    names = [agent.name for agent in load(ROOT / FILE).agents]
    environ = _without_aws_settings() | found.environ() | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "agents.laptop", str(port), *names]
    # Ctrl-C is for the agents: this process waits for their end.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        agents = subprocess.Popen(  # noqa: ASYNC220 (nothing else runs in this process meanwhile)
            command,
            cwd=ROOT,
            env=environ,
            # It only sets a signal, and this process has no threads that could hold a lock.
            preexec_fn=lambda: signal.signal(signal.SIGINT, before),  # noqa: PLW1509
        )
        try:
            return agents.wait()
        except KeyboardInterrupt:  # SIGTERM, or the terminal is closed
            agents.terminate()
            agents.wait()
            raise
    finally:
        signal.signal(signal.SIGINT, before)


def _without_aws_settings() -> dict[str, str]:
    """Return this process's variables without AWS's, which may point to a real account."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
