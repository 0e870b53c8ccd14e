"""The supervisor: splits a goal into tasks for the other agents."""
