"""Run the agent: `python -m agents.supervisor`."""

from agents.common.server import run

run("agents.supervisor")
