"""The supervisor: takes a goal apart into tasks for the other agents."""
