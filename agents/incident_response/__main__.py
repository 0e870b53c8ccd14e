"""Run the agent: `python -m agents.incident_response`."""

from agents.common.server import run

run("agents.incident_response")
