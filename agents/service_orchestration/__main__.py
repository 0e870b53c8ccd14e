"""Run the agent: `python -m agents.service_orchestration`."""

from agents.common.server import run

run("agents.service_orchestration")
