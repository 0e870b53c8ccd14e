"""The threat hunter: finds signs of attacks in log entries."""
