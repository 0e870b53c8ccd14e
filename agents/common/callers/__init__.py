"""Who calls an agent and how often; how an agent calls others."""
