"""Run the agent: `python -m agents.threat_hunter`."""

from agents.common.server import run

run("agents.threat_hunter")
