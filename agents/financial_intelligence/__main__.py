"""Run the agent: `python -m agents.financial_intelligence`."""

from agents.common.server import run

run("agents.financial_intelligence")
